package vici

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// A charon that stands still (stopped, swapped out, its machine overloaded) answers no peer. A peer
// with strongSwan 6.0 runs dead peer detection although it gets ESP, and gives up its SA. charon
// here and the kernel still have that SA. charon would learn of the loss only by its own dead peer
// detection.
//
// So the client measures how long charon leaves VICI requests unanswered; it sends at least one
// every ten seconds. After more than dpd_delay it checks each wanted peer:
//
//	rekey the IKE_SA ── answered in time ──────────── the peer has its SA: nothing else happens
//	      │
//	      └─ not answered ── dial the peer beside the SA ── new SA ── tell the consumer: Renewed
//
// The rekeying comes first because it loses no packet. A new SA beside one that both ends have
// does: its responder sends through it a moment before its initiator has it.
//
// The SA from before the stall never wins against the new one. It is closed ten seconds later, like
// every SA that the peer has lost.

// stall is a time in which charon answered nothing.
type stall struct {
	began   time.Time
	silence time.Duration // 0: there was none
}

// renewal is the check of a peer's SAs from before a stall.
type renewal struct {
	place bool // it has a place among the attempts in their first seconds
}

// stalled notes a stall that has ended.
func (r *reconciler) stalled(began time.Time, silence time.Duration) {
	if r.stall.silence < silence {
		r.stall = stall{began, silence}
	}
	if r.synced {
		r.checkAfterStall()
	}
}

// checkAfterStall checks the wanted peers after a stall that was longer than dpd_delay: by then a
// peer has begun to ask. How long it goes on asking is its own setting.
func (r *reconciler) checkAfterStall() {
	s := r.stall
	r.stall = stall{}
	if s.silence == 0 {
		return
	}
	checked := 0
	for _, first := range []bool{true, false} {
		for k, p := range r.peers {
			applied := r.profiles[k.Interface]
			if first != (p.want == InitiateFirst) || p.want == None || p.up == nil ||
				p.renewal != nil ||
				applied == nil || s.silence <= applied.DeadPeerDelay() {
				continue
			}
			if r.checkPeer(p, applied, s.began) {
				checked++
			}
		}
	}
	if checked > 0 {
		r.log.Warn("charon stood still: asking the peers whether they still have their SAs",
			slog.Duration("for", s.silence.Round(time.Second)), slog.Int("peers", checked))
	}
}

// checkPeer makes a peer prove that it still has an SA from before the stall. It reports whether
// there is such an SA.
func (r *reconciler) checkPeer(p *peer, applied *appliedProfile, began time.Time) bool {
	var outlived *SA
	fresh := false
	for _, sa := range r.index.SAs(p.Key) {
		switch {
		case !applied.Accepts(sa) || r.ending[sa.ID]:
		case sa.Established.After(began):
			fresh = true
		default:
			r.outlived[sa.ID] = true
			if outlived == nil || sa.ID > outlived.ID {
				outlived = sa
			}
		}
	}
	if outlived == nil {
		return false
	}
	if fresh { // the peer dialled before charon's first answer came
		r.emit(Renewed{*p.up})
		return true
	}
	n := &renewal{}
	p.renewal = n
	id := outlived.ID
	r.do(func(ctx context.Context, s *session.Session) error {
		return s.Rekey(ctx, r.times.command, "ike-id", id)
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		if refused := (*session.CommandError)(nil); errors.As(err, &refused) {
			r.log.Debug("rekeying failed", slog.Any("peer", p.Key), slog.Any("error", err))
		}
		r.after(r.times.proof, func() { r.renew(p, n) })
	})
	return true
}

// proven notes that a peer has answered on an SA, and so has it.
func (r *reconciler) proven(id uint32, k Key) {
	if !r.outlived[id] {
		return
	}
	delete(r.outlived, id)
	if p := r.peers[k]; p != nil {
		r.endRenewal(p)
	}
}

// renew queues a peer that did not answer, to be dialled. Routers that share an address are not
// dialled, since the address does not name one of them.
func (r *reconciler) renew(p *peer, n *renewal) {
	if p.renewal != n {
		return
	}
	if p.Mark != 0 || r.shared[p.Key] != nil || r.protecting(p.Key).BehindOneNAT() {
		r.endRenewal(p)
		return
	}
	r.renewals = append(r.renewals, p)
	r.dispatch()
}

// dispatchRenewals dials peers beside their SAs while there is room.
func (r *reconciler) dispatchRenewals() {
	for len(r.renewals) > 0 && r.starting < r.inFlight {
		p := r.renewals[0]
		r.renewals = r.renewals[1:]
		n, applied := p.renewal, r.profiles[p.Interface]
		switch {
		case n == nil || n.place || r.peers[p.Key] != p:
		case applied == nil || p.want == None || p.up == nil || p.connection.ToClose():
			r.endRenewal(p)
		case p.connection.Busy() || !applied.loaded:
			r.after(r.times.withholdPoll, func() { r.renew(p, n) })
		default:
			r.dialBeside(p, n, applied)
		}
	}
}

// dialBeside makes charon dial a peer although it has an SA with it.
func (r *reconciler) dialBeside(p *peer, n *renewal, applied *appliedProfile) {
	n.place = true
	p.connection.On(peerstate.Use)
	r.starting++
	name, command := profile.ConnectionName(p.Interface, p.NBMA), r.times.command
	conn, connErr := applied.newConnection(p.NBMA, false)
	if connErr == nil && p.port != 0 {
		connErr = profile.DialThroughNAT(conn, name, p.port)
	}
	if connErr == nil {
		connErr = profile.DialAnew(conn, name)
	}
	r.do(func(ctx context.Context, s *session.Session) error {
		if connErr != nil {
			return connErr
		}
		return s.Initiate(ctx, command, name, profile.ChildName, conn)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		if r.fatal(err) {
			return
		}
		if err != nil && !strings.Contains(err.Error(), "existing duplicate") {
			r.log.Warn("dialling a peer after charon stood still failed", slog.Any("peer", p.Key),
				slog.Any("error", err))
		}
		r.step(p)
	})
	r.after(r.times.firstCheck, func() { r.freePlace(n) })
	r.after(r.times.attempt, func() { r.abandonRenewal(p, n, name) })
}

// abandonRenewal ends a renewal that the peer did not answer. Dead peer detection will find the SA
// from before the stall.
func (r *reconciler) abandonRenewal(p *peer, n *renewal, name string) {
	if p.renewal != n {
		return
	}
	r.endRenewal(p)
	if p.attempt != nil || p.connection.Busy() {
		return
	}
	p.connection.On(peerstate.Clear)
	r.do(func(ctx context.Context, s *session.Session) error {
		return endHalfOpen(ctx, s, r.times.command, name)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		if !r.fatal(err) {
			r.step(p)
		}
	})
}

// endRenewal ends the check of a peer, if there is one.
func (r *reconciler) endRenewal(p *peer) {
	if n := p.renewal; n != nil {
		p.renewal = nil
		r.freePlace(n)
	}
}

// freePlace frees a renewal's place among the attempts in their first seconds.
func (r *reconciler) freePlace(n *renewal) {
	if n.place {
		n.place = false
		r.starting--
		r.dispatch()
	}
}

// renewed ends the check of a peer that has a new SA, whoever dialled, and reports it.
func (r *reconciler) renewed(sa *SA) {
	p := r.peers[sa.Key()]
	applied := r.profiles[sa.Interface]
	if p == nil || p.renewal == nil || p.up == nil || applied == nil || r.outlived[sa.ID] ||
		!applied.Accepts(sa) {
		return
	}
	r.endRenewal(p)
	r.emit(Renewed{*p.up})
}

// withoutOutlived leaves out the SAs from before a stall whose identity has a newer one. The peer
// may have given them up, so they must not win against the newer one.
func (r *reconciler) withoutOutlived(sas []*SA, good func(*SA) bool) []*SA {
	return slices.DeleteFunc(slices.Clone(sas), func(sa *SA) bool {
		return r.outlived[sa.ID] && slices.ContainsFunc(sas, func(o *SA) bool {
			return o.RemoteID == sa.RemoteID && !r.outlived[o.ID] && good(o)
		})
	})
}
