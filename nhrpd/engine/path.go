package engine

import "net/netip"

// path is the way that a packet to an overlay destination takes out of an interface.
type path struct {
	route   Route
	nextHop netip.Addr
	nbma    netip.Addr
	byNHS   bool // nobody here knows the next hop; an NHS may
	missed  bool // the mirror has no route that leads there: the kernel missed the neighbour
}

// pathError says why there is no path.
type pathError uint8

const (
	pathOK        pathError = iota
	pathNoRoute             // no route, or an unreachable one
	pathElsewhere           // the route leaves this DMVPN
	pathNoBinding           // nobody knows the next hop's NBMA address
)

// pathTo finds the way to dest without regard to shortcuts. A next hop without a binding is looked
// for through the first NHS that has us registered.
func (e *Engine) pathTo(ifc *iface, dest netip.Addr) (path, pathError) {
	r, ok := e.table(ifc).Lookup(dest)
	if link, is := ifc.linkAround(dest); is && (!ok || r.Prefix.Bits() < link.Bits()) {
		// The overlay's own route may not be in the mirror yet, and with host prefixes there may be
		// none.
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

// pathBy is the way that a packet to dest takes out of the interface by a route that leads into it.
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

// leadToNHS makes it the path by the first NHS that has us registered, if there is one.
func (p *path) leadToNHS(ifc *iface) bool {
	for _, n := range ifc.nhs {
		if n.usable() {
			p.nextHop, p.nbma, p.byNHS = n.protocol, n.nbma, true
			return true
		}
	}
	return false
}

// pathPastShortcuts is the path to dest of a question: one that an NHS passes on, who vouches for
// us, rather than one to a next hop that only a shortcut has a neighbour for. That is known from an
// answer to the same question.
func (e *Engine) pathPastShortcuts(ifc *iface, dest netip.Addr) (path, pathError) {
	p, err := e.pathTo(ifc, dest)
	if err == pathOK && !p.byNHS && ifc.neighbors[p.nextHop].best().rank >= rankShortcut {
		p.leadToNHS(ifc)
	}
	return p, err
}
