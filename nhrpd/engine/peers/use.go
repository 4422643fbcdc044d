package peers

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
)

// The engine asks for the peers' use (when data last passed) at intervals of at least pollLeast and
// at most pollMost. It asks only while silence may end something: an idle shortcut, or an SA by
// CloseSilent.
const (
	pollLeast = time.Second
	pollMost  = 30 * time.Second
)

// StartPoll starts the timer that asks for the peers' use, unless it runs already.
func (ps *Table) StartPoll() {
	if ps.poll.IsSet() || ps.Left {
		return
	}
	if ps.poll.Run == nil {
		ps.poll.Run = ps.pollUse
	}
	ps.Timers.Set(&ps.poll, ps.Now.Add(min(max(ps.Config.IdleTime/4, pollLeast), pollMost)))
}

// StopPoll stops the timer that asks for the peers' use.
func (ps *Table) StopPoll() { ps.Timers.Stop(&ps.poll) }

// RestartPoll starts the timer that asks for the peers' use anew, after the idle time may have
// changed. It leaves the timer stopped if nothing needs it.
func (ps *Table) RestartPoll() {
	ps.StopPoll()
	if ps.needsUse() {
		ps.StartPoll()
	}
}

// pollUse asks for the peers' use and starts the timer again, for as long as something needs it.
func (ps *Table) pollUse() {
	if ps.needsUse() {
		ps.ReadUse()
		ps.StartPoll()
	}
}

// needsUse reports whether silence may end a shortcut or an SA.
func (ps *Table) needsUse() bool {
	if ps.parts.UsesShortcuts() {
		return true
	}
	for _, p := range ps.ByNBMA {
		if p.Closable() {
			return true
		}
	}
	return false
}

// ReadUse asks for the peers' use; the event Used brings it.
func (ps *Table) ReadUse() {
	ps.Out.ReadUse = append(ps.Out.ReadUse, ps.Config.Name)
}

// CloseSilent closes an SA for which there is no reason but given answers (see Closable), once no
// data has passed in either direction for the idle time. The router that initiated the SA closes
// it; the other one waits twice as long.
func (ps *Table) CloseSilent(p *Peer) {
	idle := ps.Config.IdleTime
	silent := ps.Now.Sub(overlay.Later(overlay.Later(p.In, p.Out), p.Since))
	if silent < idle {
		return
	}
	for len(p.Refs) > 0 { // releasing a reference takes it off the list
		if p.Refs[0].Owner.InUse() {
			return
		}
		ps.Release(p.Refs[0])
	}
	if !p.IKE.Initiator {
		idle *= 2
	}
	if silent >= idle {
		ps.ClosePeer(p, "nobody used it for "+idle.String())
	}
}

// ClosePeer closes the SA with a peer. If something wants the peer again later, strongSwan makes a
// new SA.
func (ps *Table) ClosePeer(p *Peer, reason string) {
	ps.Notice(output.Notice{
		Kind:     output.NoticePeerClosed,
		NBMA:     p.NBMA,
		Identity: p.IKE.Identity,
		Reason:   reason,
	})
	for owner := range p.owners() {
		owner.PeerClosed()
	}
	p.Secured, p.Since = false, ps.Now
	ps.routeTo(p, netip.Addr{})
	ps.parts.EndAdmission(p.NBMA)
	ps.Out.Closed = append(ps.Out.Closed, ps.keyOf(p))
	ps.reviseSecurity(p)
}
