package resolution

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/packet"
)

// admissible decides whether the answer for a shortcut may be installed. It returns the prefix to
// install, which is the answered prefix, narrowed if that makes it harmless. It also returns the
// route beneath the shortcut, or else an objection.
func (rq *Requester) admissible(
	s *Shortcut, cie *packet.CIE, nbma netip.Addr,
) (netip.Prefix, event.Route, objection.Objection) {
	prefix, ok := cie.PrefixOf(s.dest)
	if !ok {
		return overlay.HostPrefix(s.dest), event.Route{}, objection.New(
			objection.Malformed,
			"it has an impossible prefix length",
		)
	}
	if o := rq.objectToRouter(cie, nbma); o.Raised() {
		return prefix, event.Route{}, o
	}
	if rq.Peers.Shared(rq.Peers.ByNBMA[nbma]) {
		return prefix, event.Route{}, peers.SharedAddress
	}
	if rq.Server.BehindClient(nbma) {
		return prefix, event.Route{}, objection.New(
			objection.UnderlayInside,
			"its NBMA address is inside a prefix that a client registered",
		)
	}
	way, err := rq.Neighbors.PathTo(s.dest)
	if err != neighbors.PathOK && err != neighbors.PathNoBinding {
		return prefix, event.Route{}, objection.New(
			objection.NotBehindTunnel,
			"the destination is not behind the tunnel any more",
		)
	}
	prefix = rq.Table().Narrow(s.dest, prefix, way.Route.Prefix)
	if rq.InOverlay(s.dest) || s.dest == cie.Protocol {
		prefix = overlay.HostPrefix(
			s.dest,
		) // within the overlay, each address is a router of its own
	}
	if rq.Neighbors.HasHostRoute(prefix, cie.Protocol) {
		return prefix, event.Route{}, objection.New(
			objection.RouterKnownHere,
			"its destination is a router that is known here",
		)
	}
	if rq.Server.Parts.AnnouncedIn(prefix) != nil {
		return prefix, event.Route{}, objection.New(
			objection.HidesAnnounced,
			"a client has registered this very prefix",
		)
	}
	if o := rq.Prefixes.ObjectToPrefix(prefix, nbma); o.Raised() {
		return prefix, event.Route{}, o
	}
	return prefix, way.Route, objection.Objection{}
}

// objectToRouter objects to an answer that names an impossible next hop, or one that is known at
// another NBMA address.
func (rq *Requester) objectToRouter(cie *packet.CIE, nbma netip.Addr) objection.Objection {
	nextHop := cie.Protocol
	switch {
	case time.Duration(cie.HoldingTime)*time.Second < server.LeastHolding:
		return objection.New(objection.Malformed, "its holding time is too short")
	case !rq.ClientAddress(nextHop):
		return objection.New(
			objection.WrongAddress,
			"its next hop is not another router of the overlay",
		)
	case !rq.Client.PeerAddress(nbma):
		return objection.New(objection.OtherNBMA, "its NBMA address is ours or impossible")
	}
	n := rq.Neighbors.ByProtocol[nextHop]
	if n == nil || n.NBMA == nbma {
		return objection.Objection{}
	}
	if n.Best().Rank < neighbors.RankShortcut {
		return objection.New(
			objection.AddressKnownOther,
			"its next hop is known at another NBMA address: "+rq.Peers.Outer(n.NBMA).String(),
		)
	}
	return objection.Objection{}
}

// StillLed reports whether a shortcut may stay after a change of the routes: the route that led to
// it is the same, and no more specific route has come beneath that.
func (rq *Requester) StillLed(s *Shortcut) bool {
	way, err := rq.Neighbors.PathTo(s.dest)
	if !s.Led.Prefix.IsValid() { // restored
		if err == neighbors.PathElsewhere && way.Route.Prefix.Bits() >= s.Prefix.Bits() {
			return false
		}
		if err != neighbors.PathOK && err != neighbors.PathNoBinding {
			return true // the mirror may not be complete yet: see endUnconfirmed
		}
		s.Led = way.Route
		if s.State == report.ShortcutUp {
			rq.WantRoute(s)
		}
	}
	switch {
	case err != neighbors.PathOK && err != neighbors.PathNoBinding:
		return false
	case way.Route.Prefix != s.Led.Prefix || way.Route.NextHop != s.Led.NextHop:
		return false
	case s.State == report.ShortcutResolving:
		return true
	}
	return rq.Table().Narrow(s.dest, s.Prefix, way.Route.Prefix) == s.Prefix
}
