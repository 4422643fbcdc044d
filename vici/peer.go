package vici

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"cygnet/vici/failure"
	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
	"cygnet/vici/salist"
	"cygnet/vici/session"

	"github.com/cenkalti/backoff/v5"
)

// peer is what is wanted for a peer and how far that is done. Its entry goes when there is nothing
// left to remember.
type peer struct {
	Key
	want      Want
	up        *Peer // as reported; nil: not secured
	upSince   time.Time
	reason    string    // why its SA ends, from an event; "": not known
	moved     bool      // an SA with it ends because this end's address changed
	closed    time.Time // when this end last closed its SAs
	ambiguous bool      // it was logged that several routers share its address

	connection peerstate.Connection
	dialling   peerstate.Dialling
	failure    peerstate.Failure // the last one
	duplicates peerstate.Duplicates

	deadTimer bool         // a timer runs after which SAs that it lost are closed
	withheld  *withholding // its SA is not reported yet; nil: none is withheld
	renewal   *renewal     // the check of its SAs after a stall; nil: there is none

	attempt      *attempt  // while dialling is Attempting
	left         time.Time // when an attempt was left, with which charon goes on; zero: none was
	pause        *pause    // while dialling is Paused
	dialledSince time.Time // since when this end dials it; zero: it does not
	// its port at its NAT, from its SA when charon was lost; 0: not known
	port        uint16
	silentSince time.Time       // when its silence was last reported, or dialledSince
	cause       *failure.Reason // why the attempt fails; nil: not known
	backoff     backoff.ExponentialBackOff
	waited      bool // an attempt has waited since the start, or since waits began anew
}

// nextWait returns the wait before the next attempt: each time longer, up to a limit.
func (p *peer) nextWait() time.Duration {
	p.waited = true
	return p.backoff.NextBackOff()
}

// resetWaits has the waits before attempts begin anew with the shortest.
func (p *peer) resetWaits() {
	p.waited = false
	p.backoff.Reset()
}

// pause is the wait before a peer's next attempt. A timer compares its address to learn whether it
// still holds.
type pause struct{ length time.Duration }

// linkLost drops what belonged to the link that ended.
func (p *peer) linkLost() {
	p.connection.On(peerstate.Ended)
	p.dialling.On(peerstate.LinkLost)
	p.failure.On(peerstate.Forget)
	p.duplicates.On(peerstate.Reset)
	p.deadTimer = false
	p.attempt, p.pause, p.withheld, p.renewal = nil, nil, nil, nil
	p.left, p.dialledSince = time.Time{}, time.Time{}
	p.resetWaits()
}

// want sets what is wanted for a peer; see [Client.Want].
func (r *reconciler) want(k Key, w Want) {
	k.NBMA = k.NBMA.Unmap()
	if r.peers[k] == nil && w == None {
		return
	}
	p := r.peer(k)
	p.want = w
	if !w.dials() {
		if w == None {
			r.dialler.leave(p, peerstate.Cancel)
			r.withholder.release(p, p.withheld)
		} else {
			if p.attempt != nil {
				p.left = time.Now()
			}
			r.dialler.leave(p, peerstate.Leave)
		}
		p.failure.On(peerstate.Forget)
		p.dialledSince = time.Time{}
		p.resetWaits()
	}
	r.step(p)
}

// close closes the SAs with a peer; see [Client.Close].
func (r *reconciler) close(k Key) {
	k.NBMA = k.NBMA.Unmap()
	p := r.peer(k)
	p.connection.On(peerstate.Close)
	r.dialler.leave(p, peerstate.Stop)
	r.step(p)
}

// evaluate compares what was reported about a peer with the table, reports what changed, and takes
// the next step.
func (r *reconciler) evaluate(k Key) {
	if !r.synced || r.profiles[k.Interface] == nil {
		return
	}
	p := r.peer(k)
	sa := r.securing(k)
	switch {
	case sa != nil:
		r.secured(p, sa)
	case p.withheld != nil:
		p.withheld = nil
		if p.want.dials() {
			r.dialler.fail(p, failure.Ended, cmp.Or(p.reason, "the SA ended"))
		}
	case p.up != nil:
		r.lost(p)
	}
	r.step(p)
}

// secured notes that sa protects traffic with a peer, and reports that, or what has changed about
// it.
func (r *reconciler) secured(p *peer, sa *SA) {
	dialled := p.attempt != nil
	if dialled && r.settings.secured != nil {
		r.settings.secured(time.Since(p.attempt.started))
	}
	r.dialler.leave(p, peerstate.Secured)
	p.failure.On(peerstate.Forget)
	p.reason, p.moved, p.dialledSince, p.port = "", false, time.Time{}, 0
	if sa.RemoteNAT {
		p.port = sa.RemotePort
	}
	left := !p.left.IsZero() && time.Since(p.left) < r.times.withhold
	p.left = time.Time{}
	if r.withholder.withholds(p, dialled || left) {
		return
	}
	info := r.info(p.Key, sa)
	if p.up != nil && p.up.Equal(info) {
		return
	}
	if p.up == nil {
		p.upSince = time.Now()
	}
	p.up = &info
	r.emit(Up{info})
}

// lost reports that a peer has lost its last SA, and has it dialled again after a pause.
func (r *reconciler) lost(p *peer) {
	reason := cmp.Or(p.reason, "the SA ended")
	if time.Since(p.closed) < r.times.attempt {
		reason = "closed by this end"
	}
	r.renewals.endRenewal(p) // it is dialled like any other from now on
	p.up, p.reason, p.port = nil, "", 0
	r.emit(Down{p.Key, reason})
	wait := r.times.redial
	switch {
	case p.moved: // the peer has nothing to do with it
	case time.Since(p.upSince) >= r.times.lasting:
		p.resetWaits()
	case !p.waited:
		p.nextWait()
	default:
		wait = p.nextWait()
	}
	p.moved = false
	r.dialler.pauseFor(p, wait)
}

// info returns what is reported about a peer whose traffic sa protects.
func (r *reconciler) info(k Key, sa *SA) Peer {
	info := peerOf(sa)
	if g := r.protecting(k); g.BehindOneNAT() {
		info.SharedWith = g.OthersThan(info.Identity)
		info.Separating = r.sharing.separates(k)
		info.Inseparable = !info.Separating && r.sharing.addresses[k] != nil
	}
	return info
}

// step starts the next thing to do for a peer, if there is any. Only one job at a time is about a
// peer, since jobs run on several sessions at once.
func (r *reconciler) step(p *peer) {
	if !r.synced || r.peers[p.Key] != p {
		return
	}
	applied := r.profiles[p.Interface]
	switch peerstate.Next(p.connection, p.dialling, peerstate.Facts{
		Wanted:  p.want != None,
		Dialled: p.want.dials() && p.Mark == 0,
		Profile: applied != nil,
		Ready:   applied != nil && applied.loaded,
		Secured: p.up != nil,
		HasSA:   len(r.index.SAs(p.Key)) > 0,
	}) {
	case peerstate.CloseSAs:
		r.closePeer(p)
	case peerstate.UnloadIt:
		r.unload(p)
	case peerstate.Dial:
		r.dialler.queue(p)
	case peerstate.Drop:
		delete(r.peers, p.Key)
	}
}

// closePeer terminates all SAs with a peer, half-open ones included, and unloads its connection.
func (r *reconciler) closePeer(p *peer) {
	name := profile.ConnectionName(p.Interface, p.NBMA)
	var ids []uint32
	for _, sa := range r.index.SAs(p.Key) {
		ids = append(ids, sa.ID)
	}
	p.connection.On(peerstate.CloseBegun)
	p.closed = time.Now()
	command, dialled := r.times.command, p.NBMA.IsValid() // a peer with a mark is never dialled
	r.do(func(ctx context.Context, s *session.Session) error {
		if !dialled {
			return s.TerminateAll(ctx, command, ids)
		}
		if err := s.UnloadConnection(ctx, command, name); err != nil {
			return err
		}
		open, err := salist.List(ctx, s, command, "ike", name)
		if err != nil {
			return err
		}
		for _, sa := range open {
			if !slices.Contains(ids, sa.ID) && sa.Interface == p.Interface &&
				sa.RemoteHost == p.NBMA {
				ids = append(ids, sa.ID)
			}
		}
		return s.TerminateAll(ctx, command, ids)
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		if err != nil {
			r.log.Warn("closing a peer's SAs failed", slog.Any("peer", p.Key),
				slog.Any("error", err))
		}
		p.connection.On(peerstate.Closed)
		r.step(p)
	})
}

// unload unloads a peer's connection. It also ends an attempt that was under way when the peer
// stopped being wanted: the attempt would make an SA that nobody wants.
func (r *reconciler) unload(p *peer) {
	name, command := profile.ConnectionName(p.Interface, p.NBMA), r.times.command
	cancelled := p.dialling == peerstate.Cancelled
	p.connection.On(peerstate.Unload)
	p.dialling.On(peerstate.Swept)
	r.do(func(ctx context.Context, s *session.Session) error {
		if err := s.UnloadConnection(ctx, command, name); err != nil || !cancelled {
			return err
		}
		return endHalfOpen(ctx, s, command, name)
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		p.connection.On(peerstate.Unloaded)
		r.step(p)
	})
}

// endHalfOpen terminates the IKE_SAs of a connection that this end is still negotiating.
func endHalfOpen(
	ctx context.Context, s *session.Session, timeout time.Duration, connection string,
) error {
	found, err := salist.List(ctx, s, timeout, "ike", connection)
	if err != nil {
		return err
	}
	var errs []error
	for _, sa := range found {
		if sa.HalfOpen() {
			errs = append(errs, s.Terminate(ctx, timeout, sa.ID, 0))
		}
	}
	return errors.Join(errs...)
}
