package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/packet"
)

// admissible says whether what was answered may be installed, and for which prefix: where narrowing the answer makes it harmless, it is
// narrowed. It returns the route beneath, or an objection.
func (e *Engine) admissible(s *shortcut, cie *packet.CIE, nbma netip.Addr) (netip.Prefix, Route, string) {
	ifc := s.ifc
	prefix, ok := cie.PrefixOf(s.dest)
	if !ok {
		return hostPrefix(s.dest), Route{}, "it has an impossible prefix length"
	}
	if objection := ifc.objectToRouter(cie, nbma); objection != "" {
		return prefix, Route{}, objection
	}
	if ifc.shared(ifc.peers[nbma]) {
		return prefix, Route{}, sharedAddress
	}
	if e.behindClient(ifc, nbma) {
		return prefix, Route{}, "its NBMA address is inside a prefix that a client registered"
	}
	way, err := e.pathTo(ifc, s.dest)
	if err != pathOK && err != pathNoBinding {
		return prefix, Route{}, "the destination is not behind the tunnel any more"
	}
	prefix = e.table(ifc).Narrow(s.dest, prefix, way.route.Prefix)
	if ifc.inOverlay(s.dest) || s.dest == cie.Protocol {
		prefix = hostPrefix(s.dest) // in the overlay every address is a router of its own
	}
	if ifc.hasHostRoute(prefix, cie.Protocol) {
		return prefix, Route{}, "its destination is a router that is known here"
	}
	if e.announcedIn(ifc.cfg.Table, prefix) != nil {
		return prefix, Route{}, "a client has registered this very prefix"
	}
	if objection := e.objectToPrefix(ifc, prefix, nbma); objection != "" {
		return prefix, Route{}, objection
	}
	return prefix, way.route, ""
}

// objectToRouter objects to answers that name an impossible next hop.
func (ifc *iface) objectToRouter(cie *packet.CIE, nbma netip.Addr) string {
	nextHop := cie.Protocol
	switch {
	case time.Duration(cie.HoldingTime)*time.Second < leastHolding:
		return "its holding time is too short"
	case !ifc.clientAddress(nextHop):
		return "its next hop is not another router of the overlay"
	case !ifc.peerAddress(nbma):
		return "its NBMA address is ours or impossible"
	}
	n := ifc.neighbors[nextHop]
	if n == nil || n.nbma == nbma {
		return ""
	}
	if n.best().rank < rankShortcut {
		return "its next hop is known at another NBMA address: " + ifc.real(n.nbma).String()
	}
	return ""
}

// objectToPrefix objects to prefixes that hide what the tunnels themselves rest on.
func (e *Engine) objectToPrefix(ifc *iface, prefix netip.Prefix, nbma netip.Addr) string {
	if prefix.Bits() < leastBits(prefix.Addr()) {
		return "it is for the default route, or nearly"
	}
	if a := ifc.real(nbma); prefix.Contains(a) {
		return "it covers the NBMA address " + a.String()
	}
	for _, other := range e.interfaces() {
		if prefix.Contains(other.overlay()) {
			return "it covers our own overlay address"
		}
		if a := other.underlayInside(prefix); a.IsValid() {
			return "it covers the NBMA address " + a.String()
		}
	}
	return ""
}

// leastBits is the shortest prefix length that is not for half the world.
func leastBits(a netip.Addr) int {
	if a.Is4() {
		return 8
	}
	return 16
}

// stillLed says whether the route that led to a shortcut is the same, and nothing more specific has come beneath it.
func (e *Engine) stillLed(s *shortcut) bool {
	way, err := e.pathTo(s.ifc, s.dest)
	if !s.led.Prefix.IsValid() { // restored
		if err == pathElsewhere && way.route.Prefix.Bits() >= s.prefix.Bits() {
			return false
		}
		if err != pathOK && err != pathNoBinding {
			return true // the mirror may not be filled yet: see endUnconfirmed
		}
		s.led = way.route
		if s.state == ShortcutUp {
			e.wantRoute(s)
		}
	}
	switch {
	case err != pathOK && err != pathNoBinding:
		return false
	case way.route.Prefix != s.led.Prefix || way.route.NextHop != s.led.NextHop:
		return false
	case s.state == ShortcutResolving:
		return true
	}
	return e.table(s.ifc).Narrow(s.dest, s.prefix, way.route.Prefix) == s.prefix
}
