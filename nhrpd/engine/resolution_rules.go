package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// admissible decides whether the answer for a shortcut may be installed. It returns the prefix to
// install, which is the answered prefix, narrowed if that makes it harmless. It also returns the
// route beneath the shortcut, or else an objection.
func (e *Engine) admissible(
	s *shortcut, cie *packet.CIE, nbma netip.Addr,
) (netip.Prefix, Route, objection.Objection) {
	ifc := s.ifc
	prefix, ok := cie.PrefixOf(s.dest)
	if !ok {
		return hostPrefix(s.dest), Route{}, objection.New(
			objection.Malformed,
			"it has an impossible prefix length",
		)
	}
	if o := ifc.objectToRouter(cie, nbma); o.Raised() {
		return prefix, Route{}, o
	}
	if ifc.shared(ifc.peers[nbma]) {
		return prefix, Route{}, sharedAddress
	}
	if e.behindClient(ifc, nbma) {
		return prefix, Route{}, objection.New(
			objection.UnderlayInside,
			"its NBMA address is inside a prefix that a client registered",
		)
	}
	way, err := e.pathTo(ifc, s.dest)
	if err != pathOK && err != pathNoBinding {
		return prefix, Route{}, objection.New(
			objection.NotBehindTunnel,
			"the destination is not behind the tunnel any more",
		)
	}
	prefix = e.table(ifc).Narrow(s.dest, prefix, way.route.Prefix)
	if ifc.inOverlay(s.dest) || s.dest == cie.Protocol {
		prefix = hostPrefix(s.dest) // within the overlay, each address is a router of its own
	}
	if ifc.hasHostRoute(prefix, cie.Protocol) {
		return prefix, Route{}, objection.New(
			objection.RouterKnownHere,
			"its destination is a router that is known here",
		)
	}
	if e.announcedIn(ifc.cfg.Table, prefix) != nil {
		return prefix, Route{}, objection.New(
			objection.HidesAnnounced,
			"a client has registered this very prefix",
		)
	}
	if o := e.objectToPrefix(ifc, prefix, nbma); o.Raised() {
		return prefix, Route{}, o
	}
	return prefix, way.route, objection.Objection{}
}

// objectToRouter objects to an answer that names an impossible next hop, or one that is known at
// another NBMA address.
func (ifc *iface) objectToRouter(cie *packet.CIE, nbma netip.Addr) objection.Objection {
	nextHop := cie.Protocol
	switch {
	case time.Duration(cie.HoldingTime)*time.Second < leastHolding:
		return objection.New(objection.Malformed, "its holding time is too short")
	case !ifc.clientAddress(nextHop):
		return objection.New(
			objection.WrongAddress,
			"its next hop is not another router of the overlay",
		)
	case !ifc.peerAddress(nbma):
		return objection.New(objection.OtherNBMA, "its NBMA address is ours or impossible")
	}
	n := ifc.neighbors[nextHop]
	if n == nil || n.nbma == nbma {
		return objection.Objection{}
	}
	if n.best().rank < rankShortcut {
		return objection.New(
			objection.AddressKnownOther,
			"its next hop is known at another NBMA address: "+ifc.real(n.nbma).String(),
		)
	}
	return objection.Objection{}
}

// stillLed reports whether a shortcut may stay after a change of the routes: the route that led to
// it is the same, and no more specific route has come beneath that.
func (e *Engine) stillLed(s *shortcut) bool {
	way, err := e.pathTo(s.ifc, s.dest)
	if !s.led.Prefix.IsValid() { // restored
		if err == pathElsewhere && way.route.Prefix.Bits() >= s.prefix.Bits() {
			return false
		}
		if err != pathOK && err != pathNoBinding {
			return true // the mirror may not be complete yet: see endUnconfirmed
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
