package engine

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// shortcut is a way past the hub. It begins as a question for such a way (ShortcutResolving),
// becomes an answer that waits for an SA (ShortcutSecuring), and then a route (ShortcutUp).
type shortcut struct {
	unaffected

	ifc      *iface
	dest     netip.Addr   // the destination that was asked for
	source   netip.Addr   // the source of the packet that led to the question; zero: restored
	prefix   netip.Prefix // what was answered; before the answer, dest as a host prefix
	nextHop  netip.Addr   // overlay address of the router that the shortcut leads to
	nbma     netip.Addr   // NBMA address of that router
	identity string       // of the next hop, while the shortcut is up; empty: not known
	answerer netip.Addr   // overlay address of the router that answered, by what the answer says
	state    ShortcutState
	led      Route // the route beneath; zero: restored, and the mirror has none yet
	restored bool  // from before a restart, and not confirmed since
	missed   bool  // no route led to dest: the kernel missed the neighbour

	asking    bool // a request is out
	requestID uint32
	attempts  int        // how often the request was repeated
	via       netip.Addr // the NBMA address that the request went to
	sentNBMA  netip.Addr // the source NBMA address in the request

	indicated time.Time     // when the traffic indication or the miss came
	resolved  time.Duration // how long the answer then took
	since     time.Time     // when the present state began
	answered  time.Time     // when the last answer came
	refresh   time.Time     // when the question is asked again, if the shortcut is in use
	expires   time.Time     // when the holding time of the answer is over
	used      time.Time     // when data last went out on the shortcut

	ref       peerRef
	neighbor  neighborClaim
	admission admission
	routed    bool         // the route to prefix is wanted
	ask       timers.Timer // repeats the request
	step      timers.Timer // moves the state on
}

const (
	responderDials = time.Second      // how long this router waits for the responder to dial
	securingTime   = 30 * time.Second // how long an answer waits for the SA
)

// newShortcut makes a shortcut in the state ShortcutResolving; the caller asks for it.
func (e *Engine) newShortcut(ifc *iface, dest netip.Addr, prefix netip.Prefix) *shortcut {
	s := &shortcut{ifc: ifc, dest: dest, prefix: prefix, since: e.now}
	s.ref.owner = s
	s.ask.Run = func() { e.askAgain(s) }
	s.step.Run = func() { e.shortcutDue(s) }
	ifc.shortcuts[prefix] = s
	return s
}

// covering returns the most specific shortcut, or question for one, whose prefix contains an
// address. It returns nil if there is none.
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

// secure waits for the SA with the next hop, or installs the shortcut if the SA is up already.
func (e *Engine) secure(s *shortcut) {
	ifc := s.ifc
	s.state, s.since = ShortcutSecuring, e.now
	secured := ifc.secured(s.nbma)
	// A router behind NAT dials itself. Otherwise the responder dials, and did so before it
	// answered.
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

// install asks the kernel for the neighbour of the next hop, then for the route.
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
	n := Notice{
		Kind:     NoticeShortcutUp,
		Prefix:   s.prefix,
		NextHop:  s.nextHop,
		NBMA:     s.nbma,
		Identity: p.ike.Identity,
		Resolved: s.resolved,
		Took:     e.now.Sub(s.indicated),
	}
	if ifc.cfg.Protected {
		n.Secured = max(p.since.Sub(s.indicated), 0)
	}
	e.notice(ifc, n)
}

// needsRoute reports whether packets need a route to find the next hop. Packets to the next hop
// itself need none. Where the overlay is on the link, they find its neighbour without a route;
// elsewhere the neighbour has a host route of its own. The exception is a next hop on the link
// whose packets another route leads to a gateway.
func (s *shortcut) needsRoute() bool {
	return s.prefix != hostPrefix(s.nextHop) || s.led.NextHop.IsValid() && s.ifc.onLink(s.nextHop)
}

// wantRoute asks the kernel for the shortcut's route, if packets need one.
func (e *Engine) wantRoute(s *shortcut) {
	if !s.routed && s.needsRoute() {
		s.routed = true
		e.out.Routes = append(e.out.Routes, RouteChange{
			Interface: s.ifc.cfg.Name,
			Prefix:    s.prefix,
			NextHop:   s.nextHop,
		})
	}
}

// withdraw takes back what the kernel was asked for: the route goes before the neighbour.
func (e *Engine) withdraw(s *shortcut) {
	if s.routed {
		s.routed = false
		e.out.Routes = append(e.out.Routes, RouteChange{
			Interface: s.ifc.cfg.Name,
			Prefix:    s.prefix,
			NextHop:   s.nextHop,
			Delete:    true,
		})
	}
	e.dropNeighbor(&s.neighbor)
}

// scheduleShortcut sets the timer to the time to ask again, or to the end of the shortcut once that
// time has passed.
func (e *Engine) scheduleShortcut(s *shortcut) {
	at := s.expires
	if e.now.Before(s.refresh) {
		at = s.refresh
	}
	e.timers.Set(&s.step, at)
}

// shortcutDue takes the next step of a shortcut when its timer ends.
func (e *Engine) shortcutDue(s *shortcut) {
	switch {
	case s.state == ShortcutSecuring && e.now.Before(s.since.Add(securingTime)):
		e.refer(&s.ref, e.peerAt(s.ifc, s.nbma), reasonResolution, true)
		e.timers.Set(&s.step, s.since.Add(securingTime))
	case s.state == ShortcutSecuring:
		e.unresolve(
			s, "no SA with the router that it leads to could be had; the traffic stays on the hub",
		)
	case !e.now.Before(s.expires):
		e.endShortcut(s, "its holding time is over")
	default:
		e.readUse(s.ifc)
		e.scheduleShortcut(s)
	}
}

// endShortcut ends a shortcut, or the question for one, and logs why. Traffic goes through the hub
// again.
func (e *Engine) endShortcut(s *shortcut, reason string) {
	ifc := s.ifc
	n := Notice{
		Kind:    NoticeShortcutDown,
		Prefix:  s.prefix,
		NextHop: s.nextHop,
		NBMA:    s.nbma,
		Reason:  reason,
	}
	if s.state != ShortcutUp {
		n.Kind = NoticeUnresolved
	}
	e.notice(ifc, n)
	e.removeShortcut(s)
}

// removeShortcut forgets a shortcut, or the question for one, and takes back all that it asked for.
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

// peerSecured installs a shortcut that waited for the SA, and asks again for one that is up. It
// ends a shortcut whose next hop shares its address with others or turns out to be another router.
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
			e.askFor(s) // if the peer is the next hop, its answer comes through its SA
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
		// The SA is new. If this router is behind NAT, the SA may come from another outer address,
		// and the next hop takes data only from the address that the last question named.
		e.askFor(s)
	}
}

// peerLost ends a shortcut. If only the strongSwan here was restarted, the kernel's SA goes on, and
// so does the shortcut until the peer is lost for good.
func (s *shortcut) peerLost(e *Engine, reason string) {
	if s.state == ShortcutUp && !s.ref.peer.unlisted {
		e.endShortcut(s, "the SA with its next hop went: "+reason)
	}
}

// peerLostForGood ends the shortcut.
func (s *shortcut) peerLostForGood(e *Engine) {
	s.peerLost(e, "strongSwan was restarted, and the peer cannot be reached")
}

// peerBarred ends the shortcut. Several routers behind one NAT address may have been told apart
// since the shortcut came up, and then the router that it led to may be gone from there.
func (s *shortcut) peerBarred(e *Engine, why string) {
	if s.state == ShortcutUp {
		e.endShortcut(s, why)
	}
}

// rulesChanged ends the shortcut if the rules no longer allow a direct path to its next hop.
func (s *shortcut) rulesChanged(e *Engine, p *peer) {
	if o := s.ifc.objectToPath(p.nbma, s.nextHop); o.Raised() {
		e.endShortcut(s, o.Text)
	}
}

// peerMoved follows the next hop to its new address. If that address lies inside the shortcut's own
// prefix, the shortcut ends.
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

// peerJoined ends the shortcut if several routers share its next hop's address now.
func (s *shortcut) peerJoined(e *Engine) { s.peerSecured(e) }

// peerDoubtful ends a young shortcut: the answer may have been that of the other router that turned
// out to be at the address.
func (s *shortcut) peerDoubtful(e *Engine) bool {
	if s.state == ShortcutUp && e.now.Sub(s.since) < maxDoubt {
		e.endShortcut(
			s,
			"another router came to its next hop's address behind NAT: who answered is not certain",
		)
	}
	return false
}

// markGone ends the shortcut: nothing can be sent to its next hop, and the hub has another way.
func (s *shortcut) markGone(e *Engine, _ *peer, _ map[netip.Addr]*peer) {
	e.endShortcut(s, "strongSwan was restarted, and the SA with its next hop went")
}

// router returns the next hop's overlay address once the shortcut is up.
func (s *shortcut) router() netip.Addr {
	if s.state != ShortcutUp {
		return netip.Addr{}
	}
	return s.nextHop
}

// reviewShortcut ends an idle shortcut, or asks again for one that is used, once it is known when
// data last passed.
func (e *Engine) reviewShortcut(s *shortcut) {
	switch {
	case e.idle(s):
		e.endShortcut(s, fmt.Sprintf("not used for %s", s.ifc.cfg.IdleTime))
	case e.refreshDue(s):
		e.askFor(s)
	}
}

// idle reports whether no data went out on a shortcut for the idle time.
func (e *Engine) idle(s *shortcut) bool {
	return e.now.Sub(later(s.since, s.used)) >= s.ifc.cfg.IdleTime
}

// refreshDue reports whether it is time to ask again for a shortcut, and the shortcut was used
// since the last answer.
func (e *Engine) refreshDue(s *shortcut) bool {
	return !s.asking && !e.now.Before(s.refresh) && s.used.After(s.answered)
}
