package engine

import "net/netip"

// A router whose overlay address lies outside the prefix of our own address is not on the tunnel's
// link for the kernel. With a host prefix (/32, /128), as FRR, VyOS and Alpine use it, no router is
// on the link. The kernel then needs a host route to each such router. The host route comes and
// goes with the neighbour.

// reviseHostRoute adds or removes the host route to a neighbour, by the reasons for that neighbour.
//
// The engine's own look-ups see the host route, unless only a shortcut or a relay is a reason for
// the neighbour: those depend on the routes that lead to the neighbour without the host route. For
// a shortcut, the next hop gets a host route only if its address is routed into the tunnel anyway.
// Otherwise an answer could draw the traffic to any address into the tunnel.
func (e *Engine) reviseHostRoute(ifc *iface, protocol netip.Addr, n *neighbor) {
	if ifc.onLink(protocol) {
		return
	}
	host := hostPrefix(protocol)
	rank := rankRelay
	if len(n.claims) > 0 {
		rank = n.best().rank
	}
	if known := rank < rankShortcut; known != n.known {
		n.known = known
		route := Route{Prefix: host, Device: ifc.cfg.Name}
		if known {
			e.table(ifc).Routers.Add(route)
			e.reviewAnnouncedOver(ifc, host)
		} else {
			e.table(ifc).Routers.Remove(route)
		}
		e.routeMoved(ifc.cfg.Table, host)
	}
	routed := n.known || rank == rankShortcut && e.leadsTo(ifc, protocol)
	if s := ifc.shortcuts[host]; routed && s != nil &&
		s.state != ShortcutResolving && s.nextHop != protocol {
		e.endShortcut(s, "its destination is a router that is known now")
		// Perhaps only that shortcut routed the address into the tunnel.
		routed = n.known || rank == rankShortcut && e.leadsTo(ifc, protocol)
	}
	if routed != n.routed {
		n.routed = routed
		e.out.Routes = append(e.out.Routes,
			RouteChange{Interface: ifc.cfg.Name, Prefix: host, Delete: !routed})
	}
}

// hasHostRoute reports whether a prefix is the address of a router that has a host route of its
// own, and is another router than the next hop.
func (ifc *iface) hasHostRoute(prefix netip.Prefix, nextHop netip.Addr) bool {
	n := ifc.neighbors[prefix.Addr()]
	return prefix.IsSingleIP() && n != nil && n.routed && prefix.Addr() != nextHop
}

// leadsTo reports whether packets to dest are routed into the tunnel.
func (e *Engine) leadsTo(ifc *iface, dest netip.Addr) bool {
	_, err := e.pathTo(ifc, dest)
	return err == pathOK || err == pathNoBinding
}

// reviseNextHops revises the host routes to the next hops of shortcuts, after routes have changed.
func (e *Engine) reviseNextHops(ifc *iface) {
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		if n := ifc.neighbors[s.nextHop]; s.state == ShortcutUp && n != nil &&
			!ifc.onLink(s.nextHop) {
			e.reviseHostRoute(ifc, s.nextHop, n)
		}
	}
}
