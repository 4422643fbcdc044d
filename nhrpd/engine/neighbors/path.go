package neighbors

import (
	"net/netip"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// Path is the way that a packet to an overlay destination takes out of an interface.
type Path struct {
	// Route is the route that the packet takes. If its next hop is a router's link-local address,
	// it has the overlay address of that router here.
	Route event.Route

	// NextHop is the overlay address of the next router, and Peer that router.
	NextHop netip.Addr
	Peer    peerid.ID

	// ByNHS reports whether the path goes by an NHS, since this router does not know the route's
	// next hop itself. NextHop and Peer are then the NHS's.
	ByNHS bool

	// Missed reports whether no route in the mirror leads there: the kernel missed the neighbour.
	// The caller sets it.
	Missed bool
}

// PathError is the reason why there is no path.
type PathError uint8

// The reasons why there is no path.
const (
	PathOK        PathError = iota // there is a path
	PathNoRoute                    // there is no route, or it is an unreachable route
	PathElsewhere                  // the route leads out of this DMVPN
	PathNoBinding                  // no NHS, and the next hop is not known
)

// PathTo returns the path to dest by the mirrored routes; shortcuts do not count. If this router
// does not know the next hop's NBMA address, the path goes by the first NHS that has registered
// this router.
func (ns *Table) PathTo(dest netip.Addr) (Path, PathError) {
	r, ok := ns.Table().Lookup(dest)
	if link, is := ns.linkAround(dest); is && (!ok || r.Prefix.Bits() < link.Bits()) {
		// The mirror may not have the overlay's own route yet. Where the tunnel has a host prefix,
		// there may be no such route at all.
		r, ok = event.Route{Prefix: link, Device: ns.Config.Name}, true
	}
	switch {
	case !ok || r.Device == "" && !r.Local:
		return Path{}, PathNoRoute
	case r.Local || r.Device != ns.Config.Name:
		return Path{Route: r}, PathElsewhere
	}
	return ns.PathBy(r, dest)
}

// PathBy returns the path to dest by route r, which leads into the interface.
func (ns *Table) PathBy(r event.Route, dest netip.Addr) (Path, PathError) {
	r.NextHop = ns.LinkLocals().Router(r.NextHop)
	p := Path{Route: r, NextHop: r.NextHop}
	if !p.NextHop.IsValid() {
		p.NextHop = dest
	}
	if n := ns.byProtocol[p.NextHop]; n != nil && ns.peers.Secured(n.peer) {
		p.Peer = n.peer
		return p, PathOK
	}
	if ns.redirectToNHS(&p, dest) {
		return p, PathOK
	}
	return p, PathNoBinding
}

// redirectToNHS turns the path to dest into one by the first NHS that has registered this router
// with the IP version of dest. It reports whether there is such an NHS.
func (ns *Table) redirectToNHS(p *Path, dest netip.Addr) bool {
	protocol, peer, is := ns.parts.UsableNHS(dest)
	if is {
		p.NextHop, p.Peer, p.ByNHS = protocol, peer, true
	}
	return is
}

// PathPastShortcuts returns the path for a question about dest. If only a shortcut has a neighbour
// for the next hop, an earlier answer to this same question named that next hop, so the question
// goes by an NHS instead. The NHS passes it on, and by that vouches for this router.
func (ns *Table) PathPastShortcuts(dest netip.Addr) (Path, PathError) {
	p, err := ns.PathTo(dest)
	if err == PathOK && !p.ByNHS && ns.byProtocol[p.NextHop].best().rank >= RankShortcut {
		ns.redirectToNHS(&p, dest)
	}
	return p, err
}

// linkAround returns the prefix around an overlay address by which packets to that address go into
// the tunnel, even if the mirror has no route for them. That is the overlay's range, or else the
// prefix on the tunnel's link. Where the engine has a shortcut for the address because the kernel
// missed its neighbour, it is the address itself. linkAround returns false if there is no such
// prefix.
func (ns *Table) linkAround(dest netip.Addr) (netip.Prefix, bool) {
	switch {
	case ns.InOverlay(dest):
		return ns.OverlayRange(dest), true
	case ns.OnLink(dest):
		return ns.Config.FamilyOf(dest).Address.Masked(), true
	}
	host := overlay.HostPrefix(dest)
	return host, ns.parts.MissedRouter(host)
}

// Egress reports whether packets to dest leave the DMVPN at this router. It returns the prefix that
// may be answered for dest: that of the route, narrowed so that it hides no other route (RFC 2332
// §6.3).
func (ns *Table) Egress(dest netip.Addr) (netip.Prefix, bool) {
	host := overlay.HostPrefix(dest)
	if ns.IsOwn(dest) {
		return host, true
	}
	if _, err := ns.PathTo(dest); err != PathElsewhere {
		return host, ns.Table().IsLocal(dest)
	}
	return ns.Table().Answerable(dest), true
}
