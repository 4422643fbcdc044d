package prefixes

import (
	"iter"
	"net/netip"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// Rules decide which prefixes may not lead to another router, because a route to them would hide
// something.
type Rules struct {
	*overlay.Interface

	// all yields the interfaces of this router, in the order of their names.
	all iter.Seq[Keeper]
}

// New returns the rules of an interface. all yields the interfaces of this router, in the order of
// their names.
func New(ifc *overlay.Interface, all iter.Seq[Keeper]) Rules {
	return Rules{Interface: ifc, all: all}
}

// Keeper is an interface, which keeps prefixes from hiding what its tunnel needs.
type Keeper interface {
	// OwnInside returns an overlay address of this router that prefix contains, or the zero
	// address.
	OwnInside(prefix netip.Prefix) netip.Addr
	// TableID returns the number of the routing table that the interface forwards by.
	TableID() uint32
	// Overlaid reports whether a prefix overlaps the overlay.
	Overlaid(prefix netip.Prefix) bool
	// UnderlayInside returns an NBMA address inside prefix that the interface knows, or the zero
	// address.
	UnderlayInside(prefix netip.Prefix) netip.Addr
}

// ObjectToPrefix objects to a prefix that hides what the tunnels themselves depend on: an underlay
// address, or this router's own overlay address. It also objects to the default route and prefixes
// nearly as short. peer is the router that the prefix would lead to.
func (pr *Rules) ObjectToPrefix(prefix netip.Prefix, peer peerid.ID) objection.Objection {
	if prefix.Bits() < leastBits(prefix.Addr()) {
		return objection.New(objection.TooWide, "it is for the default route, or nearly")
	}
	if a := pr.Peers.Outer(peer); prefix.Contains(a) {
		return objection.New(objection.HidesUnderlay, "it covers the NBMA address "+a.String())
	}
	for other := range pr.all {
		if other.OwnInside(prefix).IsValid() {
			return objection.New(objection.HidesOverlay, "it covers our own overlay address")
		}
		if a := other.UnderlayInside(prefix); a.IsValid() {
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

// ObjectToHiding objects to a prefix if a route to it through a client would hide something: the
// overlay, a router's overlay address, a local network or address, or another route to the same
// prefix. client is the overlay address of the client.
func (pr *Rules) ObjectToHiding(prefix netip.Prefix, client netip.Addr) objection.Objection {
	if o := pr.objectToHidingOverlay(prefix); o.Raised() {
		return o
	}
	t := pr.Table()
	if r, ok := t.KernelEnclosing(prefix); ok && r.Prefix.Bits() > 0 {
		byClient := r.Device == pr.Config.Name && pr.LinkLocals().Router(r.NextHop) == client
		switch {
		case pr.isLocalNetwork(r):
			return overlapsLocal(r)
		case r.Prefix == prefix && !byClient:
			return objection.New(objection.HidesRoute, "another route leads to this prefix already")
		}
	}
	for r := range t.ConnectedInside(prefix) {
		if pr.isLocalNetwork(r) {
			return overlapsLocal(r)
		}
	}
	for r := range t.OwnInside(prefix) {
		return objection.New(objection.HidesOurselves,
			"it covers our own address "+r.Prefix.Addr().String())
	}
	return objection.Objection{}
}

// objectToHidingOverlay objects to a prefix that overlaps an overlay, or that covers a router with
// a host route of its own.
func (pr *Rules) objectToHidingOverlay(prefix netip.Prefix) objection.Objection {
	for other := range pr.all {
		if other.TableID() == pr.Config.Table && other.Overlaid(prefix) {
			return objection.New(objection.HidesOverlay, "it overlaps the overlay")
		}
	}
	for r := range pr.Table().Routers.Inside(prefix) {
		return objection.New(objection.HidesOverlay,
			"it covers the overlay address "+r.Prefix.Addr().String()+" of a router")
	}
	return objection.Objection{}
}

// isLocalNetwork reports whether a route is that of a network or address of this router, other than
// the tunnel's own network.
func (pr *Rules) isLocalNetwork(r event.Route) bool {
	return r.Local || r.Connected() && r.Device != pr.Config.Name
}

// overlapsLocal is the objection to a prefix that overlaps a local network.
func overlapsLocal(r event.Route) objection.Objection {
	return objection.New(objection.HidesOurselves,
		"it overlaps the local network "+r.Prefix.String())
}

// ObjectToHostRoute objects to a client's overlay address if the host route to it would hide
// something. Where the overlay's range is known, the caller has made sure that the address lies in
// it.
func (pr *Rules) ObjectToHostRoute(protocol netip.Addr, peer peerid.ID) objection.Objection {
	if pr.OnLink(protocol) {
		return objection.Objection{}
	}
	if o := pr.ObjectToPrefix(overlay.HostPrefix(protocol), peer); o.Raised() {
		return o
	}
	t := pr.Table()
	if a, is := t.Announced.Lookup(protocol); is && a.NextHop != protocol {
		return objection.New(objection.HidesAnnounced, "the address is inside the prefix "+
			a.Prefix.String()+" that another router announced")
	}
	least := 1 // leaves out the default route, which leads to no router in particular
	if r := pr.OverlayRange(protocol); r.IsValid() {
		least = r.Bits()
	}
	r, ok := t.KernelLookup(protocol)
	if ok && r.Prefix.Bits() >= least && r.Device != "" && r.Device != pr.Config.Name {
		return objection.New(objection.HidesRoute, "the route "+r.Prefix.String()+" on "+r.Device+
			" leads to the address, not this tunnel")
	}
	return objection.Objection{}
}
