package engine

import (
	"net/netip"
	"slices"
	"time"
)

// closeSilent and the end of idle shortcuts need to know when data last passed. That is asked for
// at intervals, and only while something may end by it.
const (
	pollLeast = time.Second
	pollMost  = 30 * time.Second
)

func (e *Engine) startPoll(ifc *iface) {
	if ifc.poll.IsSet() || ifc.left {
		return
	}
	e.timers.Set(&ifc.poll, e.now.Add(min(max(ifc.cfg.IdleTime/4, pollLeast), pollMost)))
}

func (e *Engine) pollUse(ifc *iface) {
	if ifc.needsUse() {
		e.readUse(ifc)
		e.startPoll(ifc)
	}
}

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

func (e *Engine) readUse(ifc *iface) {
	e.out.ReadUse = append(e.out.ReadUse, ifc.cfg.Name)
}

// used takes the times that data last passed, and ends what nobody uses: shortcuts first, then the
// references of answers, then SAs.
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

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// closeSilent closes an SA that nobody needs any more: that has no other reason than answers
// given, and that was silent in both directions for the idle time. Who initiated it closes it, the
// other end only after twice that time.
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

// closePeer ends the SA with a peer. Whoever wants the peer again gets a new one.
func (e *Engine) closePeer(p *peer, reason string) {
	e.notice(p.ifc, Notice{Kind: NoticePeerClosed, NBMA: p.nbma, Identity: p.ike.Identity, Reason: reason})
	for _, c := range slices.Clone(p.refs) {
		c.owner.peerClosed(e)
	}
	p.secured, p.since = false, e.now
	e.lead(p, netip.Addr{})
	e.endAdmission(p.ifc, p.nbma)
	e.out.Closed = append(e.out.Closed, PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma})
	e.reviseSecurity(p)
}
