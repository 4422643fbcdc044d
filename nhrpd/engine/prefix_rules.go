package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/objection"
)

// objectToPrefix objects to a prefix that hides what the tunnels themselves depend on: an underlay
// address, or this router's own overlay address. It also objects to the default route and prefixes
// nearly as short.
func (e *Engine) objectToPrefix(
	ifc *iface, prefix netip.Prefix, nbma netip.Addr,
) objection.Objection {
	if prefix.Bits() < leastBits(prefix.Addr()) {
		return objection.New(objection.TooWide, "it is for the default route, or nearly")
	}
	if a := ifc.real(nbma); prefix.Contains(a) {
		return objection.New(objection.HidesUnderlay, "it covers the NBMA address "+a.String())
	}
	for _, other := range e.interfaces() {
		if prefix.Contains(other.overlay()) {
			return objection.New(objection.HidesOverlay, "it covers our own overlay address")
		}
		if a := other.underlayInside(prefix); a.IsValid() {
			return objection.New(objection.HidesUnderlay, "it covers the NBMA address "+a.String())
		}
	}
	return objection.Objection{}
}

// leastBits returns the shortest prefix length that a router may announce or answer. A shorter
// prefix would draw a large part of all addresses.
func leastBits(a netip.Addr) int {
	if a.Is4() {
		return 8
	}
	return 16
}

// hides objects to a prefix if a route to it through a client would hide something: the overlay, a
// router's overlay address, a local network or address, or another route to the same prefix.
func (e *Engine) hides(ifc *iface, prefix netip.Prefix, client netip.Addr) objection.Objection {
	for _, other := range e.ifaces {
		if other.cfg.Table == ifc.cfg.Table && other.overlaid(prefix) {
			return objection.New(objection.HidesOverlay, "it overlaps the overlay")
		}
	}
	t := e.table(ifc)
	for r := range t.Routers.Inside(prefix) {
		return objection.New(
			objection.HidesOverlay,
			"it covers the overlay address "+r.Prefix.Addr().String()+" of a router",
		)
	}
	connected := func(r Route) bool { return r.Local || r.Connected() && r.Device != ifc.cfg.Name }
	if r, ok := t.KernelEnclosing(prefix); ok && r.Prefix.Bits() > 0 {
		same := r.Prefix == prefix && (r.Device != ifc.cfg.Name || r.NextHop != client)
		switch {
		case connected(r):
			return objection.New(
				objection.HidesOurselves,
				"it overlaps the local network "+r.Prefix.String(),
			)
		case same:
			return objection.New(objection.HidesRoute, "another route leads to this prefix already")
		}
	}
	for r := range t.ConnectedInside(prefix) {
		if connected(r) {
			return objection.New(
				objection.HidesOurselves,
				"it overlaps the local network "+r.Prefix.String(),
			)
		}
	}
	for r := range t.OwnInside(prefix) {
		return objection.New(
			objection.HidesOurselves,
			"it covers our own address "+r.Prefix.Addr().String(),
		)
	}
	return objection.Objection{}
}

// objectToHostRoute objects to a client's overlay address if the host route to it would hide
// something. Where the overlay's range is known, the caller has made sure that the address lies in
// it.
func (e *Engine) objectToHostRoute(ifc *iface, protocol, nbma netip.Addr) objection.Objection {
	if ifc.onLink(protocol) {
		return objection.Objection{}
	}
	if o := e.objectToPrefix(ifc, hostPrefix(protocol), nbma); o.Raised() {
		return o
	}
	t := e.table(ifc)
	if a, is := t.Announced.Lookup(protocol); is && a.NextHop != protocol {
		return objection.New(
			objection.HidesAnnounced,
			"the address is inside the prefix "+a.Prefix.String()+" that another router announced",
		)
	}
	least := 1 // leaves out the default route, which leads to no router in particular
	if r := ifc.overlayRange(); r.IsValid() {
		least = r.Bits()
	}
	r, ok := t.KernelLookup(protocol)
	if ok && r.Prefix.Bits() >= least && r.Device != "" && r.Device != ifc.cfg.Name {
		return objection.New(
			objection.HidesRoute,
			"the route "+r.Prefix.String()+" on "+r.Device+" leads to the address, not this tunnel",
		)
	}
	return objection.Objection{}
}
