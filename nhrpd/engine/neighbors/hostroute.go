package neighbors

import (
	"net/netip"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
)

// A router whose overlay address lies outside the prefix of our own address is not on the tunnel's
// link for the kernel. With a host prefix (/32, /128), as FRR, VyOS and Alpine use it, no router is
// on the link. The kernel then needs a host route to each such router. The host route comes and
// goes with the neighbour.

// ReviseHostRoute adds or removes the host route to a neighbour, by the reasons for that neighbour.
//
// The engine's own look-ups see the host route, unless only a shortcut or a relay is a reason for
// the neighbour: those depend on the routes that lead to the neighbour without the host route. For
// a shortcut, the next hop gets a host route only if its address is routed into the tunnel anyway.
// Otherwise an answer could draw the traffic to any address into the tunnel.
func (ns *Table) ReviseHostRoute(protocol netip.Addr, n *Neighbor) {
	if ns.OnLink(protocol) {
		return
	}
	host := overlay.HostPrefix(protocol)
	rank := RankRelay
	if len(n.Claims) > 0 {
		rank = n.Best().Rank
	}
	if known := rank < RankShortcut; known != n.known {
		n.known = known
		route := event.Route{Prefix: host, Device: ns.Config.Name}
		if known {
			ns.Table().Routers.Add(route)
			ns.parts.RouterKnown(host)
		} else {
			ns.Table().Routers.Remove(route)
		}
		ns.RouteMoved(ns.Config.Table, host)
	}
	routed := n.known || rank == RankShortcut && ns.LeadsTo(protocol)
	if routed && ns.parts.RouterRouted(host) {
		// Perhaps only that shortcut routed the address into the tunnel.
		routed = n.known || rank == RankShortcut && ns.LeadsTo(protocol)
	}
	if routed != n.Routed {
		n.Routed = routed
		ns.Out.Routes = append(ns.Out.Routes,
			output.RouteChange{Interface: ns.Config.Name, Prefix: host, Delete: !routed})
	}
}

// HasHostRoute reports whether a prefix is the address of a router that has a host route of its
// own, and is another router than the next hop.
func (ns *Table) HasHostRoute(prefix netip.Prefix, nextHop netip.Addr) bool {
	n := ns.ByProtocol[prefix.Addr()]
	return prefix.IsSingleIP() && n != nil && n.Routed && prefix.Addr() != nextHop
}

// LeadsTo reports whether packets to dest are routed into the tunnel.
func (ns *Table) LeadsTo(dest netip.Addr) bool {
	_, err := ns.PathTo(dest)
	return err == PathOK || err == PathNoBinding
}
