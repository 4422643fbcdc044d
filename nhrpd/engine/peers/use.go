package peers

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/timers"
)

// The engine asks for the peers' use (when data last passed) at intervals of at least pollLeast and
// at most pollMost. It asks only while silence may end something: an idle shortcut, or an SA by
// CloseSilent.
const (
	pollLeast = time.Second
	pollMost  = 30 * time.Second
)

// UsePoll asks for the peers' use at intervals.
type UsePoll struct {
	*overlay.Interface
	Directory

	parts Parts
	timer timers.Timer
}

// Start starts the timer that asks for the peers' use, unless it runs already.
func (up *UsePoll) Start() {
	if up.timer.IsSet() || up.Left {
		return
	}
	if up.timer.Run == nil {
		up.timer.Run = up.due
	}
	up.Timers.Set(&up.timer, up.Now.Add(min(max(up.Config.IdleTime/4, pollLeast), pollMost)))
}

// Stop stops the timer that asks for the peers' use.
func (up *UsePoll) Stop() { up.Timers.Stop(&up.timer) }

// Restart starts the timer that asks for the peers' use anew, after the idle time may have changed.
// It leaves the timer stopped if nothing needs it.
func (up *UsePoll) Restart() {
	up.Stop()
	if up.needsUse() {
		up.Start()
	}
}

// due asks for the peers' use and starts the timer again, for as long as something needs it.
func (up *UsePoll) due() {
	if up.needsUse() {
		up.ReadUse()
		up.Start()
	}
}

// needsUse reports whether silence may end a shortcut or an SA.
func (up *UsePoll) needsUse() bool {
	if up.parts.UsesShortcuts() {
		return true
	}
	for _, p := range up.ByID {
		if p.Closable() {
			return true
		}
	}
	return false
}

// ReadUse asks for the peers' use; the event Used brings it.
func (up *UsePoll) ReadUse() {
	up.Out.ReadUse = append(up.Out.ReadUse, up.Config.Name)
}

// CloseSilent closes an SA for which there is no reason but given answers (see Closable), once no
// data has passed in either direction for the idle time. The router that initiated the SA closes
// it; the other one waits twice as long. While another interface of the group needs the SA, it
// stays.
func (ps *Table) CloseSilent(p *Peer) {
	if p.silent() < ps.Config.IdleTime {
		return
	}
	for len(p.Refs) > 0 { // releasing a reference takes it off the list
		if p.Refs[0].Owner.InUse() {
			return
		}
		ps.Release(p.Refs[0])
	}
	if p.unused() && !ps.NeededElsewhere(p) {
		ps.ClosePeer(p, "nobody used it for "+p.idleTime().String())
	}
}

// ClosePeer closes the SA with a peer. If something wants the peer again later, strongSwan makes a
// new SA.
//
// While another interface of the group needs the SA, the SA stays. ClosePeer then ends only what
// this interface had of the peer. An interface that leaves forgets the SA as well.
func (ps *Table) ClosePeer(p *Peer, reason string) {
	needed := ps.NeededElsewhere(p)
	if needed && !ps.Left {
		for owner := range p.owners() {
			owner.PeerClosed()
		}
		ps.parts.EndAdmission(p.ID)
		return
	}
	if !needed {
		ps.Out.Closed = append(ps.Out.Closed, ps.keyOf(p))
		for q := range ps.Elsewhere(p) {
			if q.Closable() {
				q.table.releaseAll(q)
			}
			if q.Secured {
				q.table.closeHere(q, reason)
			}
		}
	}
	ps.closeHere(p, reason)
}

// releaseAll releases all references to a peer.
func (ps *Table) releaseAll(p *Peer) {
	for len(p.Refs) > 0 {
		ps.Release(p.Refs[0])
	}
}

// closeHere takes note that this router closes the SA with a peer.
func (ps *Table) closeHere(p *Peer, reason string) {
	ps.Notice(output.Notice{
		Kind:     output.NoticePeerClosed,
		Peer:     p.ID,
		Identity: p.IKE.Identity,
		Reason:   reason,
	})
	for owner := range p.owners() {
		owner.PeerClosed()
	}
	p.Secured, p.Since = false, ps.Now
	ps.routeTo(p, netip.Addr{})
	ps.parts.EndAdmission(p.ID)
	ps.reviseSecurity(p)
}
