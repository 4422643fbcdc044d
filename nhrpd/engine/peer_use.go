package engine

import (
	"net/netip"
	"slices"
	"time"
)

// The engine asks for the peers' use (when data last passed) at intervals of at least pollLeast and
// at most pollMost. It asks only while silence may end something: an idle shortcut, or an SA by
// closeSilent.
const (
	pollLeast = time.Second
	pollMost  = 30 * time.Second
)

// startPoll starts the timer that asks for the peers' use, unless it runs already.
func (e *Engine) startPoll(ifc *iface) {
	if ifc.poll.IsSet() || ifc.left {
		return
	}
	e.timers.Set(&ifc.poll, e.now.Add(min(max(ifc.cfg.IdleTime/4, pollLeast), pollMost)))
}

// pollUse asks for the peers' use and starts the timer again, for as long as something needs it.
func (e *Engine) pollUse(ifc *iface) {
	if ifc.needsUse() {
		e.readUse(ifc)
		e.startPoll(ifc)
	}
}

// needsUse reports whether silence may end a shortcut or an SA.
func (ifc *iface) needsUse() bool {
	for _, s := range ifc.shortcuts {
		if s.state == ShortcutUp {
			return true
		}
	}
	for _, p := range ifc.peers {
		if p.closable() {
			return true
		}
	}
	return false
}

// readUse asks for the peers' use; the event Used brings it.
func (e *Engine) readUse(ifc *iface) {
	e.out.ReadUse = append(e.out.ReadUse, ifc.cfg.Name)
}

// used handles the event that tells when data last passed. What has been idle for too long ends:
// shortcuts first, then the references of answers, then SAs.
func (e *Engine) used(ifc *iface, peers []PeerUse) {
	if ifc.left {
		return
	}
	for _, u := range peers {
		if p := ifc.peers[u.NBMA]; p != nil {
			p.in, p.out = later(p.in, u.In), later(p.out, u.Out)
		}
	}
	due := func(s *shortcut) bool {
		if s.state != ShortcutUp {
			return false
		}
		if p := s.ref.peer; p != nil {
			s.used = later(s.used, p.out)
		}
		return e.idle(s) || e.refreshDue(s)
	}
	for _, s := range inOrderIf(ifc.shortcuts, byPrefix, due) {
		e.reviewShortcut(s)
	}
	for _, p := range inOrderIf(ifc.peers, byAddr, (*peer).closable) {
		if p.closable() {
			e.closeSilent(p)
		}
	}
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// closeSilent closes an SA that only given answers keep, once no data has passed in either
// direction for the idle time. The router that initiated the SA closes it; the other one waits
// twice as long.
func (e *Engine) closeSilent(p *peer) {
	idle := p.ifc.cfg.IdleTime
	silent := e.now.Sub(later(later(p.in, p.out), p.since))
	if silent < idle {
		return
	}
	for len(p.refs) > 0 {
		if p.refs[0].owner.inUse() {
			return
		}
		e.release(p.refs[0])
	}
	if !p.ike.Initiator {
		idle *= 2
	}
	if silent >= idle {
		e.closePeer(p, "nobody used it for "+idle.String())
	}
}

// closePeer closes the SA with a peer. If something wants the peer again later, strongSwan makes a
// new SA.
func (e *Engine) closePeer(p *peer, reason string) {
	e.notice(p.ifc, Notice{
		Kind:     NoticePeerClosed,
		NBMA:     p.nbma,
		Identity: p.ike.Identity,
		Reason:   reason,
	})
	for _, c := range slices.Clone(p.refs) {
		c.owner.peerClosed(e)
	}
	p.secured, p.since = false, e.now
	e.lead(p, netip.Addr{})
	e.endAdmission(p.ifc, p.nbma)
	e.out.Closed = append(e.out.Closed, PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma})
	e.reviseSecurity(p)
}
