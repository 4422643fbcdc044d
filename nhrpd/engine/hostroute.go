package engine

import "net/netip"

// Routers whose overlay address lies outside the prefix of our own address are not on the
// tunnel's link for the kernel: with a host prefix (/32, /128), as FRR, VyOS and Alpine use it,
// no router is. The kernel then needs a host route to each of them, which comes and goes with the
// neighbour.

// reviseHostRoute brings the host route to a neighbour in step with the claims on it. Look-ups
// see the route unless only a shortcut or a relay has the neighbour: those rest on the routes
// that lead there without them. A shortcut's next hop gets a host route only where its address is
// led into the tunnel anyway, so that no answer can draw the traffic of an arbitrary address.
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
	if s := ifc.shortcuts[host]; routed && s != nil && s.state != ShortcutResolving && s.nextHop != protocol {
		e.endShortcut(s, "its destination is a router that is known now")
		routed = n.known || rank == rankShortcut && e.leadsTo(ifc, protocol) // the shortcut may have been all that led there
	}
	if routed != n.routed {
		n.routed = routed
		e.out.Routes = append(e.out.Routes, RouteChange{Interface: ifc.cfg.Name, Prefix: host, Delete: !routed})
	}
}

// hasHostRoute reports whether a prefix is the address of a router that has a host route of its
// own, and that is not the next hop.
func (ifc *iface) hasHostRoute(prefix netip.Prefix, nextHop netip.Addr) bool {
	n := ifc.neighbors[prefix.Addr()]
	return prefix.IsSingleIP() && n != nil && n.routed && prefix.Addr() != nextHop
}

// leadsTo reports whether packets to dest go into the tunnel.
func (e *Engine) leadsTo(ifc *iface, dest netip.Addr) bool {
	_, err := e.pathTo(ifc, dest)
	return err == pathOK || err == pathNoBinding
}

// reviseNextHops brings the host routes to the next hops of shortcuts in step with changed routes.
func (e *Engine) reviseNextHops(ifc *iface) {
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		if n := ifc.neighbors[s.nextHop]; s.state == ShortcutUp && n != nil && !ifc.onLink(s.nextHop) {
			e.reviseHostRoute(ifc, s.nextHop, n)
		}
	}
}
