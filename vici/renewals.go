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
//	      └─ not answered ── dial the peer beside the SA ── new SA ── report Renewed
//
// The rekeying comes first because it loses no packet. A new SA beside one that both ends have
// does: its responder sends through it a moment before its initiator has it.
//
// The SA from before the stall never wins against the new one. It is closed ten seconds later, like
// every SA that the peer has lost.
//
// outdated.go has the second reason to dial a peer beside its SA.

// stall is a time in which charon answered nothing.
type stall struct {
	began   time.Time
	silence time.Duration // 0: there was none
}

// renewal is the check of a peer's SAs from before a stall, or the replacement of outdated ones.
type renewal struct {
	place    bool // it has a place among the attempts in their first seconds
	outdated bool // it replaces outdated SAs
	lost     bool // the peer may have lost its SA, with what it knew about this end
}

// renewals check peers after a stall, and dial those that do not prove that they still have an SA.
// They also replace outdated SAs.
type renewals struct {
	*table
	sharing  *sharing
	places   *places
	stall    stall           // the longest one whose effects were not checked yet
	outlived map[uint32]bool // SAs from before a stall that the peer may have given up
	queue    []*peer         // to be dialled beside such an SA when there is room
	step     func(*peer)     // takes the next step for a peer
	inspect  func(*SA)       // closes an SA that must not stay
}

// linkLost drops the checks of the link that ended.
func (rs *renewals) linkLost() {
	rs.queue = nil
	clear(rs.outlived)
}

// stalled notes a stall that has ended.
func (rs *renewals) stalled(began time.Time, silence time.Duration) {
	if rs.stall.silence < silence {
		rs.stall = stall{began, silence}
	}
	if rs.synced {
		rs.checkAfterStall()
	}
}

// checkAfterStall checks the wanted peers after a stall that was longer than dpd_delay: by then a
// peer has begun to ask. How long it goes on asking is its own setting.
func (rs *renewals) checkAfterStall() {
	s := rs.stall
	rs.stall = stall{}
	if s.silence == 0 {
		return
	}
	checked := 0
	for _, first := range []bool{true, false} {
		for k, p := range rs.peers {
			applied := rs.profiles[k.Interface]
			if first != (p.want == InitiateFirst) || p.want == None || p.up == nil ||
				p.renewal != nil ||
				applied == nil || s.silence <= applied.DeadPeerDelay() {
				continue
			}
			if rs.checkPeer(p, applied, s.began) {
				checked++
			}
		}
	}
	if checked > 0 {
		rs.log.Warn("charon stood still: asking the peers whether they still have their SAs",
			slog.Duration("for", s.silence.Round(time.Second)), slog.Int("peers", checked))
	}
}

// checkPeer makes a peer prove that it still has an SA from before the stall. It reports whether
// there is such an SA.
func (rs *renewals) checkPeer(p *peer, applied *appliedProfile, began time.Time) bool {
	var outlived *SA
	fresh := false
	for _, sa := range rs.index.SAs(p.Key) {
		switch {
		case !applied.Accepts(sa) || rs.ending[sa.ID]:
		case sa.Established.After(began):
			fresh = true
		default:
			rs.outlived[sa.ID] = true
			if outlived == nil || sa.ID > outlived.ID {
				outlived = sa
			}
		}
	}
	if outlived == nil {
		return false
	}
	if fresh { // the peer dialled before charon's first answer came
		rs.emit(Renewed{*p.up})
		return true
	}
	n := &renewal{lost: true}
	p.renewal = n
	id := outlived.ID
	rs.do(func(ctx context.Context, s *session.Session) error {
		return s.Rekey(ctx, rs.times.command, "ike-id", id)
	}, func(err error) {
		if rs.fatal(err) {
			return
		}
		if refused := (*session.CommandError)(nil); errors.As(err, &refused) {
			rs.log.Debug("rekeying failed", slog.Any("peer", p.Key), slog.Any("error", err))
		}
		rs.after(rs.times.proof, func() { rs.renew(p, n) })
	})
	return true
}

// proven notes that a peer has answered on an SA, and so has it.
func (rs *renewals) proven(id uint32, k Key) {
	if !rs.outlived[id] {
		return
	}
	delete(rs.outlived, id)
	if p := rs.peers[k]; p != nil {
		rs.endRenewal(p)
	}
}

// renew queues a peer that did not answer, to be dialled. Routers that share an address are not
// dialled, since the address does not name one of them.
func (rs *renewals) renew(p *peer, n *renewal) {
	if p.renewal != n {
		return
	}
	if p.Mark != 0 || rs.sharing.addresses[p.Key] != nil || rs.protecting(p.Key).BehindOneNAT() {
		rs.endRenewal(p)
		return
	}
	rs.queue = append(rs.queue, p)
	rs.places.dispatch()
}

// forget forgets an SA that has ended.
func (rs *renewals) forget(sa *SA) {
	delete(rs.outlived, sa.ID)
	if applied := rs.profiles[sa.Interface]; applied != nil {
		delete(applied.outdated, sa.ID)
	}
}

// old reports whether an SA must not win against a newer one of its peer: the peer may have given
// it up, or the profile does not allow it any more.
func (rs *renewals) old(sa *SA) bool {
	applied := rs.profiles[sa.Interface]
	return rs.outlived[sa.ID] || applied != nil && applied.outdated[sa.ID]
}

// dispatch dials peers beside their SAs while there is room.
func (rs *renewals) dispatch() {
	for len(rs.queue) > 0 && rs.places.free() {
		p := rs.queue[0]
		rs.queue = rs.queue[1:]
		n, applied := p.renewal, rs.profiles[p.Interface]
		switch {
		case n == nil || n.place || rs.peers[p.Key] != p:
		case applied == nil || p.want == None || p.up == nil || p.connection.ToClose(),
			n.outdated && applied.refusal != "":
			rs.endRenewal(p)
		case p.connection.Busy() || !applied.loaded:
			rs.after(rs.times.withholdPoll, func() { rs.renew(p, n) })
		default:
			rs.dialBeside(p, n, applied)
		}
	}
}

// dialBeside makes charon dial a peer although it has an SA with it.
func (rs *renewals) dialBeside(p *peer, n *renewal, applied *appliedProfile) {
	n.place = true
	p.connection.On(peerstate.Use)
	rs.places.taken++
	name, command := profile.ConnectionName(p.Interface, p.NBMA), rs.times.command
	conn, connErr := applied.newConnection(p.NBMA, false)
	if connErr == nil && p.port != 0 {
		connErr = profile.DialThroughNAT(conn, name, p.port)
	}
	if connErr == nil {
		connErr = profile.DialAnew(conn, name)
	}
	rs.do(func(ctx context.Context, s *session.Session) error {
		if connErr != nil {
			return connErr
		}
		return s.Initiate(ctx, command, name, applied.ChildName(), conn)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		if rs.fatal(err) {
			return
		}
		if err != nil && !strings.Contains(err.Error(), "existing duplicate") {
			rs.log.Warn("dialling a peer beside its SA failed", slog.Any("peer", p.Key),
				slog.Any("error", err))
		}
		rs.step(p)
	})
	rs.after(rs.times.firstCheck, func() { rs.freePlace(n) })
	patience := rs.times.attempt
	if n.outdated {
		patience = rs.times.outdated
	}
	rs.after(patience, func() { rs.abandonRenewal(p, n, name) })
}

// abandonRenewal ends a renewal that made no SA. Dead peer detection will find the SA from before a
// stall.
func (rs *renewals) abandonRenewal(p *peer, n *renewal, name string) {
	if p.renewal != n {
		return
	}
	rs.endRenewal(p)
	if p.attempt != nil || p.connection.Busy() {
		return
	}
	p.connection.On(peerstate.Clear)
	rs.do(func(ctx context.Context, s *session.Session) error {
		return endHalfOpen(ctx, s, rs.times.command, name)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		if !rs.fatal(err) {
			rs.step(p)
		}
	})
}

// endRenewal ends the renewal of a peer, if there is one.
func (rs *renewals) endRenewal(p *peer) {
	if n := p.renewal; n != nil {
		p.renewal = nil
		rs.freePlace(n)
		if n.outdated {
			rs.after(rs.times.duplicate, func() { rs.closeOutdated(p.Interface) })
		}
	}
}

// freePlace frees a renewal's place among the attempts in their first seconds.
func (rs *renewals) freePlace(n *renewal) {
	if n.place {
		n.place = false
		rs.places.taken--
		rs.places.dispatch()
	}
}

// renewed ends the renewal of a peer that has a new SA, whoever dialled. It reports the new SA if
// the peer may have lost the one before.
func (rs *renewals) renewed(sa *SA) {
	p := rs.peers[sa.Key()]
	applied := rs.profiles[sa.Interface]
	if p == nil || p.renewal == nil || p.up == nil || applied == nil || rs.old(sa) ||
		!applied.Accepts(sa) {
		return
	}
	lost := p.renewal.lost
	rs.endRenewal(p)
	if lost {
		rs.emit(Renewed{*p.up})
	}
}

// withoutOld leaves out the old SAs whose identity has a newer one: they must not win against it.
func (rs *renewals) withoutOld(sas []*SA, good func(*SA) bool) []*SA {
	return slices.DeleteFunc(slices.Clone(sas), func(sa *SA) bool {
		return rs.old(sa) && slices.ContainsFunc(sas, func(o *SA) bool {
			return o.RemoteID == sa.RemoteID && !rs.old(o) && good(o)
		})
	})
}
