package neighbors

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
)

// A router whose overlay address lies outside the prefix of our own address is not on the tunnel's
// link for the kernel. With a host prefix (/32, /128), as FRR, VyOS and Alpine use it, no router is
// on the link. The kernel then needs a host route to each such router. The host route comes and
// goes with the neighbour.

// ReviseHostRoute adds or removes the host route to the router with an overlay address. The caller
// has to call it when the routes that lead to that address have changed.
func (ns *Table) ReviseHostRoute(protocol netip.Addr) {
	if n := ns.byProtocol[protocol]; n != nil {
		ns.reviseHostRoute(protocol, n)
	}
}

// reviseHostRoute adds or removes the host route to a neighbour, by the claims on that neighbour.
//
// The engine's own look-ups see the host route, unless only shortcuts and relays claim the
// neighbour: those depend on the routes that lead to the neighbour without the host route. For a
// shortcut, the next hop gets a host route only if its address is routed into the tunnel anyway.
// Otherwise an answer could draw the traffic to any address into the tunnel. For a relay there is
// no host route.
func (ns *Table) reviseHostRoute(protocol netip.Addr, n *neighbor) {
	if ns.OnLink(protocol) {
		return
	}
	host := overlay.HostPrefix(protocol)
	rank := RankRelay // where nobody claims the neighbour, as where only a relay does
	if len(n.claims) > 0 {
		rank = n.best().rank
	}
	ns.setKnown(host, n, rank < RankShortcut)
	needed := func() bool { return n.known || rank == RankShortcut && ns.leadsTo(protocol) }
	routed := needed()
	if routed && ns.parts.RouterRouted(host) {
		routed = needed() // perhaps only that shortcut routed the address into the tunnel
	}
	ns.placeHostRoute(host, n, routed, routed && ns.besideAnother(host, n))
}

// besideAnother reports whether the host route to a neighbour belongs in the table for host routes:
// others have a route with the same prefix, which the neighbour depends on. If ours were in the
// same table, FRR's zebra would withdraw its own. A host route that is there stays there.
func (ns *Table) besideAnother(host netip.Prefix, n *neighbor) bool {
	if n.known || !ns.Config.HostTable.Exists() {
		return false
	}
	r, ok := ns.Table().KernelEnclosing(host)
	return n.routed && n.beside || ok && r.Prefix == host
}

// placeHostRoute asks the kernel for a host route, or takes it back.
func (ns *Table) placeHostRoute(host netip.Prefix, n *neighbor, routed, beside bool) {
	if routed == n.routed && beside == n.beside {
		return
	}
	if routed {
		ns.ChangeRoute(output.RouteChange{Prefix: host, HostTable: beside})
	}
	if n.routed {
		ns.ChangeRoute(output.RouteChange{Prefix: host, HostTable: n.beside, Delete: true})
	}
	n.routed, n.beside = routed, beside
}

// setKnown lets the engine's look-ups see the host route to a neighbour, or no longer see it.
func (ns *Table) setKnown(host netip.Prefix, n *neighbor, known bool) {
	if known == n.known {
		return
	}
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

// HostRoutes returns the overlay addresses to which the kernel is to have a host route, in order.
func (ns *Table) HostRoutes() []netip.Addr {
	var list []netip.Addr
	for protocol, n := range ns.byProtocol {
		if n.routed {
			list = append(list, protocol)
		}
	}
	slices.SortFunc(list, ordered.ByAddr)
	return list
}

// Routes returns the host routes that the kernel is to have, in order.
func (ns *Table) Routes() []output.RouteChange {
	var list []output.RouteChange
	for _, protocol := range ns.HostRoutes() {
		list = append(list, output.RouteChange{
			Prefix: overlay.HostPrefix(protocol), HostTable: ns.byProtocol[protocol].beside,
		})
	}
	return list
}

// InHostTable returns those of HostRoutes whose route is to be in the table for host routes.
func (ns *Table) InHostTable() []netip.Addr {
	return slices.DeleteFunc(ns.HostRoutes(), func(protocol netip.Addr) bool {
		return !ns.byProtocol[protocol].beside
	})
}

// HasHostRoute reports whether a prefix is the address of a router that has a host route of its
// own, and is another router than the next hop.
func (ns *Table) HasHostRoute(prefix netip.Prefix, nextHop netip.Addr) bool {
	n := ns.byProtocol[prefix.Addr()]
	return prefix.IsSingleIP() && n != nil && n.routed && prefix.Addr() != nextHop
}

// leadsTo reports whether packets to dest are routed into the tunnel.
func (ns *Table) leadsTo(dest netip.Addr) bool {
	_, err := ns.PathTo(dest)
	return err == PathOK || err == PathNoBinding
}
