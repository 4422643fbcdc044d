package resolution

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/packet"
)

// admissible decides whether the answer for a shortcut may be installed. It returns the prefix to
// install, which is the answered prefix, narrowed if that makes it harmless. It also returns the
// covering route, or else an objection.
func (rq *Requester) admissible(
	s *Shortcut, cie *packet.CIE, peer peerid.ID,
) (netip.Prefix, event.Route, objection.Objection) {
	prefix, ok := cie.PrefixOf(s.dest)
	if !ok {
		return overlay.HostPrefix(s.dest), event.Route{},
			objection.New(objection.Malformed, "it has an impossible prefix length")
	}
	if o := rq.objectToNextHop(cie, peer); o.Raised() {
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
	if o := rq.objectToPrefix(prefix, cie.Protocol, peer); o.Raised() {
		return prefix, event.Route{}, o
	}
	return prefix, way.Route, objection.Objection{}
}

// objectToPrefix objects to a shortcut to prefix by a next hop at an NBMA address, if the prefix
// hides what is known here in another way.
func (rq *Requester) objectToPrefix(
	prefix netip.Prefix, nextHop netip.Addr, peer peerid.ID,
) objection.Objection {
	switch {
	case rq.Neighbors.HasHostRoute(prefix, nextHop):
		return objection.New(
			objection.RouterKnownHere, "its destination is a router that is known here")
	case rq.Server.Parts.AnnouncedIn(prefix) != nil:
		return objection.New(
			objection.HidesAnnounced, "a client has registered this very prefix")
	}
	return rq.Prefixes.ObjectToPrefix(prefix, peer)
}

// objectToNextHop objects to an answer whose next hop is impossible, is known at another NBMA
// address, or cannot be reached at its NBMA address.
func (rq *Requester) objectToNextHop(cie *packet.CIE, peer peerid.ID) objection.Objection {
	nextHop := cie.Protocol
	switch {
	case time.Duration(cie.HoldingTime)*time.Second < server.LeastHolding:
		return objection.New(objection.Malformed, "its holding time is too short")
	case !rq.ClientAddress(nextHop):
		return objection.New(
			objection.WrongAddress, "its next hop is not another router of the overlay")
	case !rq.Client.PeerAddress(peer):
		return objection.New(objection.OtherNBMA, "its NBMA address is ours or impossible")
	}
	known, rank, ok := rq.Neighbors.Lookup(nextHop)
	if ok && known != peer && rank < neighbors.RankShortcut {
		return objection.New(
			objection.AddressKnownOther,
			"its next hop is known at another NBMA address: "+rq.Peers.Outer(known).String(),
		)
	}
	switch {
	case rq.Peers.Shared(rq.Peers.ByID[peer]):
		return peers.SharedAddress
	case rq.Server.Announced.BehindClient(peer):
		return objection.New(
			objection.UnderlayInside,
			"its NBMA address is inside a prefix that a client registered",
		)
	}
	return objection.Objection{}
}

// CoveringGrace is how long a shortcut outlives its covering route. A routing protocol that
// replaces a route takes the old one away first, and FRR's zebra brings a route that ours kept out
// of the kernel only once ours is gone: after 13 to 67 ms, once after 340 ms.
const CoveringGrace = time.Second

// coverage is what a change of the routes means for a shortcut.
type coverage uint8

const (
	covered    coverage = iota // a covering route leads to the next hop of before
	unclear                    // the mirror may not be complete yet
	bare                       // the covering route went, and none as specific took its place
	byOtherNHS                 // the way is by another NHS now
	replaced                   // another way than that of the covering route counts now
)

// ReviewCovering reviews a shortcut after a change of the routes. It ends a shortcut whose packets
// would take another way now. If the covering route went and nothing took its place, the shortcut
// makes room for a route to its very prefix, and ends unless a covering route comes soon. If the
// route leads by another NHS now, as after the death of a hub, the shortcut stays: the engine asks
// that NHS at once whether the shortcut still leads to the right router.
func (rq *Requester) ReviewCovering(s *Shortcut) {
	c := s.coverageOf()
	switch {
	case c == unclear:
	case c == covered:
		rq.Timers.Stop(&s.uncovered)
		s.standAside()
	case c == byOtherNHS:
		rq.Timers.Stop(&s.uncovered)
		s.standAside()
		if !s.asking {
			rq.Requests.askFor(s)
		}
	case c == bare && s.State == report.ShortcutUp:
		s.awaitCovering()
	default:
		rq.EndShortcut(s, "the route beneath it changed")
	}
}

// awaitCovering keeps a shortcut for CoveringGrace after its covering route went.
func (s *Shortcut) awaitCovering() {
	rq := s.requester
	if s.uncovered.IsSet() {
		return
	}
	rq.Timers.Set(&s.uncovered, rq.Now.Add(CoveringGrace))
	if s.Placement == report.PlacedWhole {
		s.place(rq.Placements.beside(s.Prefix))
	}
}

// coverageOf compares the covering route of a shortcut with the route that leads to its destination
// now. If that is another one with the same next hop, coverageOf records it, provided that it is
// not more specific than the shortcut.
func (s *Shortcut) coverageOf() coverage {
	rq := s.requester
	way, err := rq.Neighbors.PathTo(s.dest)
	byTunnel := err == neighbors.PathOK || err == neighbors.PathNoBinding
	switch known := s.CoveringRoute.Prefix.IsValid(); {
	case byTunnel && !known: // restored
		s.CoveringRoute = way.Route
		if s.State == report.ShortcutUp {
			rq.WantRoute(s, report.PlacedNowhere)
		}
	case !known && err == neighbors.PathElsewhere && way.Route.Prefix.Bits() >= s.Prefix.Bits():
		return replaced
	case !known:
		// The mirror may lack the covering route only because it is not complete yet. The engine
		// ends a shortcut that no route covers in time, if the route does not come.
		return unclear
	case !byTunnel:
		r, ok := rq.Table().Lookup(s.dest)
		wider := !ok || r.Prefix.Bits() < s.CoveringRoute.Prefix.Bits()
		if wider && rq.Table().Narrow(s.dest, s.Prefix, s.CoveringRoute.Prefix) == s.Prefix {
			return bare
		}
		return replaced
	}
	moved := way.Route.NextHop != s.CoveringRoute.NextHop
	switch {
	case moved && (s.State != report.ShortcutUp || !rq.isNHS(way.Route.NextHop)):
		return replaced
	case s.State == report.ShortcutResolving && way.Route.Prefix != s.CoveringRoute.Prefix:
		return replaced
	case s.State != report.ShortcutResolving &&
		rq.Table().Narrow(s.dest, s.Prefix, way.Route.Prefix) != s.Prefix:
		return replaced
	}
	s.CoveringRoute = way.Route
	if moved {
		return byOtherNHS
	}
	return covered
}

// isNHS reports whether the router with an overlay address is an NHS that this router uses.
func (rq *Requester) isNHS(protocol netip.Addr) bool {
	return rq.Neighbors.Claimed(protocol, neighbors.RankNHS)
}
