package engine

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// shortcut is a way past the hub: first the question for it, then the answer that waits for an SA,
// then a route.
type shortcut struct {
	unaffected

	ifc      *iface
	dest     netip.Addr   // asked for
	source   netip.Addr   // of the packet that led to it; zero: restored
	prefix   netip.Prefix // what was answered; the host before
	nextHop  netip.Addr
	nbma     netip.Addr
	identity string     // of the next hop, while the shortcut is up; empty: not known
	answerer netip.Addr // overlay address of who answered, when that is not the next hop
	state    ShortcutState
	led      Route // the route beneath; zero: restored, and the mirror has none yet
	restored bool  // from before a restart, and not confirmed since
	missed   bool  // no route led to it: the kernel missed the neighbour

	asking    bool // a request is out
	requestID uint32
	attempts  int
	via       netip.Addr // where the request went
	sentNBMA  netip.Addr // its source address

	indicated time.Time     // the traffic indication came
	resolved  time.Duration // from it to the answer
	since     time.Time     // of the state
	answered  time.Time
	refresh   time.Time // when it is asked for again, if it is used
	expires   time.Time
	used      time.Time // last, outgoing

	ref       peerRef
	neighbor  neighborClaim
	admission admission
	routed    bool
	ask       timers.Timer // when the request is repeated
	step      timers.Timer // when the state has to move on
}

const (
	responderDials = time.Second      // how long we leave it to the responder to dial
	securingTime   = 30 * time.Second // how long an answer waits for the SA
)

func (e *Engine) newShortcut(ifc *iface, dest netip.Addr, prefix netip.Prefix) *shortcut {
	s := &shortcut{ifc: ifc, dest: dest, prefix: prefix, since: e.now}
	s.ref.owner = s
	s.ask.Run = func() { e.askAgain(s) }
	s.step.Run = func() { e.shortcutDue(s) }
	ifc.shortcuts[prefix] = s
	return s
}

// covering finds the most specific shortcut, or question for one, that an address is in.
func (ifc *iface) covering(addr netip.Addr) *shortcut {
	for bits := addr.BitLen(); bits > 0; bits-- {
		if p, err := addr.Prefix(bits); err == nil && ifc.shortcuts[p] != nil {
			return ifc.shortcuts[p]
		}
	}
	return nil
}

// saidBy reports whether the shortcut rests on the word of the router with that overlay address.
func (s *shortcut) saidBy(protocol netip.Addr) bool {
	return protocol == s.nextHop || protocol == s.answerer
}

// secure waits for the SA with the next hop, or goes on if it is there.
func (e *Engine) secure(s *shortcut) {
	ifc := s.ifc
	s.state, s.since = ShortcutSecuring, e.now
	secured := ifc.secured(s.nbma)
	// Behind NAT it is for us to dial; else the responder does, and has done so before it answered.
	dial := !secured && ifc.behindNAT()
	e.refer(&s.ref, e.peerAt(ifc, s.nbma), reasonResolution, dial)
	e.admit(&s.admission, ifc, s.nbma, admittedAs{})
	if secured {
		e.install(s)
		return
	}
	wait := securingTime
	if !dial {
		wait = responderDials
	}
	e.timers.Set(&s.step, e.now.Add(wait))
}

// install wants the neighbour, then the route.
func (e *Engine) install(s *shortcut) {
	ifc := s.ifc
	p := e.peerAt(ifc, s.nbma)
	if o := ifc.objectToPath(s.nbma, s.nextHop); o.Raised() {
		e.deny(s, s.prefix, s.nextHop, s.nbma, o)
		e.closeUnwanted(p, o.Text)
		return
	}
	e.refer(&s.ref, p, reasonShortcut, s.ref.dial)
	s.state, s.since, s.identity = ShortcutUp, e.now, p.ike.Identity
	e.wantNeighbor(&s.neighbor, ifc, rankShortcut, s.nextHop, s.nbma)
	if r := ifc.relays[s.nextHop]; r != nil {
		e.dropRelay(r)
	}
	e.wantRoute(s)
	e.scheduleShortcut(s)
	e.startPoll(ifc)
	n := Notice{Kind: NoticeShortcutUp, Prefix: s.prefix, NextHop: s.nextHop, NBMA: s.nbma, Identity: p.ike.Identity,
		Resolved: s.resolved, Took: e.now.Sub(s.indicated)}
	if ifc.cfg.Protected {
		n.Secured = max(p.since.Sub(s.indicated), 0)
	}
	e.notice(ifc, n)
}

// needsRoute reports whether packets need a route to find the next hop. Those to the next hop itself
// find its neighbour without one, where the overlay is on the link, and by the neighbour's own host
// route where it is not.
func (s *shortcut) needsRoute() bool {
	return s.prefix != hostPrefix(s.nextHop) || s.led.NextHop.IsValid() && s.ifc.onLink(s.nextHop)
}

func (e *Engine) wantRoute(s *shortcut) {
	if !s.routed && s.needsRoute() {
		s.routed = true
		e.out.Routes = append(e.out.Routes, RouteChange{Interface: s.ifc.cfg.Name, Prefix: s.prefix, NextHop: s.nextHop})
	}
}

// withdraw takes back what the kernel was to have: the route goes before the neighbour.
func (e *Engine) withdraw(s *shortcut) {
	if s.routed {
		s.routed = false
		e.out.Routes = append(e.out.Routes,
			RouteChange{Interface: s.ifc.cfg.Name, Prefix: s.prefix, NextHop: s.nextHop, Delete: true})
	}
	e.dropNeighbor(&s.neighbor)
}

// scheduleShortcut sets the time to ask again, or to end.
func (e *Engine) scheduleShortcut(s *shortcut) {
	at := s.expires
	if e.now.Before(s.refresh) {
		at = s.refresh
	}
	e.timers.Set(&s.step, at)
}

// shortcutDue moves on what waited long enough.
func (e *Engine) shortcutDue(s *shortcut) {
	switch {
	case s.state == ShortcutSecuring && e.now.Before(s.since.Add(securingTime)):
		e.refer(&s.ref, e.peerAt(s.ifc, s.nbma), reasonResolution, true)
		e.timers.Set(&s.step, s.since.Add(securingTime))
	case s.state == ShortcutSecuring:
		e.unresolve(s, "no SA with the router that it leads to could be had; the traffic stays on the hub")
	case !e.now.Before(s.expires):
		e.endShortcut(s, "its holding time is over")
	default:
		e.readUse(s.ifc)
		e.scheduleShortcut(s)
	}
}

// endShortcut forgets a shortcut or the question for one. Traffic goes through the hub again.
func (e *Engine) endShortcut(s *shortcut, reason string) {
	ifc := s.ifc
	n := Notice{Kind: NoticeShortcutDown, Prefix: s.prefix, NextHop: s.nextHop, NBMA: s.nbma, Reason: reason}
	if s.state != ShortcutUp {
		n.Kind = NoticeUnresolved
	}
	e.notice(ifc, n)
	e.removeShortcut(s)
}

func (e *Engine) removeShortcut(s *shortcut) {
	e.withdraw(s)
	e.endAsking(s)
	e.timers.Stop(&s.step)
	if s.ifc.shortcuts[s.prefix] == s {
		delete(s.ifc.shortcuts, s.prefix)
	}
	if n := s.ifc.neighbors[s.dest]; s.missed && n != nil {
		e.reviseHostRoute(s.ifc, s.dest, n)
	}
	e.dismiss(&s.admission)
	e.release(&s.ref)
}

// peerSecured installs what waited for the SA.
func (s *shortcut) peerSecured(e *Engine) {
	switch shared := s.ifc.shared(s.ref.peer); {
	case shared && s.state == ShortcutSecuring:
		e.unresolve(s, sharedAddress.Text)
		return
	case shared && s.state == ShortcutUp:
		e.endShortcut(s, sharedAddress.Text)
		return
	case s.state == ShortcutSecuring && s.ref.peer.mayBeElse(s.nextHop):
		if !s.asking {
			e.askFor(s) // if it is the one, the answer comes through its SA
		}
		return
	case s.state == ShortcutSecuring:
		e.install(s)
		return
	case s.state == ShortcutUp:
		if o := s.ifc.objectToPath(s.nbma, s.nextHop); o.Raised() {
			e.endShortcut(s, o.Text)
			return
		}
	}
	switch identity := s.ref.peer.ike.Identity; {
	case !s.restored || identity == "":
	case s.identity != "" && !s.ref.peer.ike.isOneOf(s.identity):
		e.endShortcut(s, "another identity has its next hop's NBMA address now: "+identity)
		return
	default:
		s.restored = false
	}
	if s.state == ShortcutUp && !s.asking && s.ifc.confirmed {
		e.askFor(s) // the SA is a new one: behind NAT it may come from another address than the one that the next hop takes data from
	}
}

// peerLost ends a shortcut. When only strongSwan was restarted, the kernel's SA goes on, and so
// does the shortcut until the peer is lost for good.
func (s *shortcut) peerLost(e *Engine, reason string) {
	if s.state == ShortcutUp && !s.ref.peer.unlisted {
		e.endShortcut(s, "the SA with its next hop went: "+reason)
	}
}

func (s *shortcut) peerLostForGood(e *Engine) {
	s.peerLost(e, "strongSwan was restarted, and the peer cannot be reached")
}

// peerBarred ends the shortcut. Routers behind one NAT address may have been told apart by now, and
// the one that this led to is gone.
func (s *shortcut) peerBarred(e *Engine, why string) {
	if s.state == ShortcutUp {
		e.endShortcut(s, why)
	}
}

// rulesChanged ends the shortcut if there is to be no direct path to its next hop any more.
func (s *shortcut) rulesChanged(e *Engine, p *peer) {
	if o := s.ifc.objectToPath(p.nbma, s.nextHop); o.Raised() {
		e.endShortcut(s, o.Text)
	}
}

// peerMoved follows the next hop, unless it moved to where only the shortcut leads.
func (s *shortcut) peerMoved(e *Engine, to *peer, _ netip.Addr) {
	if s.prefix.Contains(to.ifc.real(to.nbma)) {
		e.endShortcut(s, "its next hop moved into the prefix that it leads to")
		return
	}
	s.nbma = to.nbma
	e.admit(&s.admission, s.ifc, s.nbma, s.admission.as)
	e.refer(&s.ref, to, s.ref.kind, s.ref.dial)
	if s.state == ShortcutUp {
		e.wantNeighbor(&s.neighbor, s.ifc, rankShortcut, s.nextHop, s.nbma)
	}
}

// peerJoined ends a shortcut to an address that several routers share now.
func (s *shortcut) peerJoined(e *Engine) { s.peerSecured(e) }

// peerDoubtful ends a shortcut that another router's answer may have led to.
func (s *shortcut) peerDoubtful(e *Engine) bool {
	if s.state == ShortcutUp && e.now.Sub(s.since) < maxDoubt {
		e.endShortcut(s, "another router came to its next hop's address behind NAT: who answered is not certain")
	}
	return false
}

// markGone ends the shortcut: nothing can be sent to its next hop, and the hub has another way.
func (s *shortcut) markGone(e *Engine, _ *peer, _ map[netip.Addr]*peer) {
	e.endShortcut(s, "strongSwan was restarted, and the SA with its next hop went")
}

func (s *shortcut) router() netip.Addr {
	if s.state != ShortcutUp {
		return netip.Addr{}
	}
	return s.nextHop
}

// reviewShortcut looks at a shortcut once its use is known.
func (e *Engine) reviewShortcut(s *shortcut) {
	switch {
	case e.idle(s):
		e.endShortcut(s, fmt.Sprintf("not used for %s", s.ifc.cfg.IdleTime))
	case e.refreshDue(s):
		e.askFor(s)
	}
}

// idle reports whether a shortcut was not used for the idle time.
func (e *Engine) idle(s *shortcut) bool {
	return e.now.Sub(later(s.since, s.used)) >= s.ifc.cfg.IdleTime
}

// refreshDue reports whether a shortcut that is used is to be asked for again.
func (e *Engine) refreshDue(s *shortcut) bool {
	return !s.asking && !e.now.Before(s.refresh) && s.used.After(s.answered)
}
