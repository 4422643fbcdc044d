package engine

import "net/netip"

// path is the way that a packet to an overlay destination takes out of an interface.
type path struct {
	route   Route
	nextHop netip.Addr
	nbma    netip.Addr
	byNHS   bool // the path goes by an NHS, since this router does not know the next hop itself
	missed  bool // no route in the mirror leads there: the kernel missed the neighbour
}

// pathError is the reason why there is no path.
type pathError uint8

const (
	pathOK        pathError = iota
	pathNoRoute             // there is no route, or it is an unreachable route
	pathElsewhere           // the route leads out of this DMVPN
	pathNoBinding           // neither this router nor an NHS knows the next hop's NBMA address
)

// pathTo returns the path to dest by the mirrored routes; shortcuts do not count. If this router
// does not know the next hop's NBMA address, the path goes by the first NHS that has registered
// this router.
func (e *Engine) pathTo(ifc *iface, dest netip.Addr) (path, pathError) {
	r, ok := e.table(ifc).Lookup(dest)
	if link, is := ifc.linkAround(dest); is && (!ok || r.Prefix.Bits() < link.Bits()) {
		// The mirror may not have the overlay's own route yet. Where the tunnel has a host prefix,
		// there may be no such route at all.
		r, ok = Route{Prefix: link, Device: ifc.cfg.Name}, true
	}
	switch {
	case !ok || r.Device == "" && !r.Local:
		return path{}, pathNoRoute
	case r.Local || r.Device != ifc.cfg.Name:
		return path{route: r}, pathElsewhere
	}
	return ifc.pathBy(r, dest)
}

// pathBy returns the path to dest by route r, which leads into the interface.
func (ifc *iface) pathBy(r Route, dest netip.Addr) (path, pathError) {
	p := path{route: r, nextHop: r.NextHop}
	if !p.nextHop.IsValid() {
		p.nextHop = dest
	}
	if n := ifc.neighbors[p.nextHop]; n != nil && ifc.secured(n.nbma) {
		p.nbma = n.nbma
		return p, pathOK
	}
	if p.leadToNHS(ifc) {
		return p, pathOK
	}
	return p, pathNoBinding
}

// leadToNHS turns the path into one by the first NHS that has registered this router. It reports
// whether there is such an NHS.
func (p *path) leadToNHS(ifc *iface) bool {
	for _, n := range ifc.nhs {
		if n.usable() {
			p.nextHop, p.nbma, p.byNHS = n.protocol, n.nbma, true
			return true
		}
	}
	return false
}

// pathPastShortcuts returns the path for a question about dest. If only a shortcut has a neighbour
// for the next hop, an earlier answer to this same question named that next hop, so the question
// goes by an NHS instead. The NHS passes it on, and by that vouches for this router.
func (e *Engine) pathPastShortcuts(ifc *iface, dest netip.Addr) (path, pathError) {
	p, err := e.pathTo(ifc, dest)
	if err == pathOK && !p.byNHS && ifc.neighbors[p.nextHop].best().rank >= rankShortcut {
		p.leadToNHS(ifc)
	}
	return p, err
}
