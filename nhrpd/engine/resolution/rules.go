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
// covering route, or else an objection.
func (rq *Requester) admissible(
	s *Shortcut, cie *packet.CIE, nbma netip.Addr,
) (netip.Prefix, event.Route, objection.Objection) {
	prefix, ok := cie.PrefixOf(s.dest)
	if !ok {
		return overlay.HostPrefix(s.dest), event.Route{},
			objection.New(objection.Malformed, "it has an impossible prefix length")
	}
	if o := rq.objectToNextHop(cie, nbma); o.Raised() {
		return prefix, event.Route{}, o
	}
	way, err := rq.Neighbors.PathTo(s.dest)
	if err != neighbors.PathOK && err != neighbors.PathNoBinding {
		return prefix, event.Route{}, objection.New(
			objection.NotBehindTunnel, "the destination is not behind the tunnel any more")
	}
	prefix = rq.Table().Narrow(s.dest, prefix, way.Route.Prefix)
	if rq.InOverlay(s.dest) || s.dest == cie.Protocol {
		// Within the overlay, each address is a router of its own.
		prefix = overlay.HostPrefix(s.dest)
	}
	if o := rq.objectToPrefix(prefix, cie.Protocol, nbma); o.Raised() {
		return prefix, event.Route{}, o
	}
	return prefix, way.Route, objection.Objection{}
}

// objectToPrefix objects to a shortcut to prefix by a next hop at an NBMA address, if the prefix
// hides what is known here in another way.
func (rq *Requester) objectToPrefix(
	prefix netip.Prefix, nextHop, nbma netip.Addr,
) objection.Objection {
	switch {
	case rq.Neighbors.HasHostRoute(prefix, nextHop):
		return objection.New(
			objection.RouterKnownHere, "its destination is a router that is known here")
	case rq.Server.Parts.AnnouncedIn(prefix) != nil:
		return objection.New(
			objection.HidesAnnounced, "a client has registered this very prefix")
	}
	return rq.Prefixes.ObjectToPrefix(prefix, nbma)
}

// objectToNextHop objects to an answer whose next hop is impossible, is known at another NBMA
// address, or cannot be reached at its NBMA address.
func (rq *Requester) objectToNextHop(cie *packet.CIE, nbma netip.Addr) objection.Objection {
	nextHop := cie.Protocol
	switch {
	case time.Duration(cie.HoldingTime)*time.Second < server.LeastHolding:
		return objection.New(objection.Malformed, "its holding time is too short")
	case !rq.ClientAddress(nextHop):
		return objection.New(
			objection.WrongAddress, "its next hop is not another router of the overlay")
	case !rq.Client.PeerAddress(nbma):
		return objection.New(objection.OtherNBMA, "its NBMA address is ours or impossible")
	}
	known, rank, ok := rq.Neighbors.Lookup(nextHop)
	if ok && known != nbma && rank < neighbors.RankShortcut {
		return objection.New(
			objection.AddressKnownOther,
			"its next hop is known at another NBMA address: "+rq.Peers.Outer(known).String(),
		)
	}
	switch {
	case rq.Peers.Shared(rq.Peers.ByNBMA[nbma]):
		return peers.SharedAddress
	case rq.Server.BehindClient(nbma):
		return objection.New(
			objection.UnderlayInside,
			"its NBMA address is inside a prefix that a client registered",
		)
	}
	return objection.Objection{}
}

// StillCovered reports whether a shortcut may stay after a change of the routes: its covering route
// is the same, and no route between that one and the shortcut has come.
func (rq *Requester) StillCovered(s *Shortcut) bool {
	way, err := rq.Neighbors.PathTo(s.dest)
	byTunnel := err == neighbors.PathOK || err == neighbors.PathNoBinding
	if !s.CoveringRoute.Prefix.IsValid() { // restored
		if !byTunnel {
			// The mirror may lack the covering route only because it is not complete yet. The
			// engine ends a shortcut that no route covers in time, if the route does not come.
			return err != neighbors.PathElsewhere || way.Route.Prefix.Bits() < s.Prefix.Bits()
		}
		s.CoveringRoute = way.Route
		if s.State == report.ShortcutUp {
			rq.WantRoute(s)
		}
	}
	switch {
	case !byTunnel:
		return false
	case way.Route.Prefix != s.CoveringRoute.Prefix || way.Route.NextHop != s.CoveringRoute.NextHop:
		return false
	case s.State == report.ShortcutResolving:
		return true
	}
	return rq.Table().Narrow(s.dest, s.Prefix, way.Route.Prefix) == s.Prefix
}
