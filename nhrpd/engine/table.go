package engine

import (
	"net/netip"
	"slices"
)

// table mirrors a routing table. Our own addresses are kept apart: they lie inside the prefixes of connected networks, and must
// neither narrow an answer for the network nor stand in its way.
type table struct {
	routes    routeTable
	connected routeTable // those of routes that lead onto a link
	local     routeTable
	announced routeTable // what clients announced and we want routes to: the mirror leaves ours out
	routers   routeTable // host routes of ours to routers of the overlay, likewise
}

func (t *table) add(r Route) {
	if r.ownAddress() {
		t.local.add(r)
		return
	}
	t.routes.add(r)
	if r.connected() {
		t.connected.add(r)
	}
}

func (t *table) remove(r Route) {
	if r.ownAddress() {
		t.local.remove(r)
		return
	}
	t.routes.remove(r)
	t.connected.remove(r)
}

// reset forgets the kernel's routes.
func (t *table) reset() {
	t.routes.reset()
	t.connected.reset()
	t.local.reset()
}

// ownAddress says whether the route is the one to an address of this host.
func (r *Route) ownAddress() bool { return r.Local && r.Prefix.IsSingleIP() }

// connected says whether the route leads onto a link, or to this host.
func (r *Route) connected() bool { return r.Local || r.Device != "" && !r.NextHop.IsValid() }

// empty says whether there is no route at all: nobody has read the kernel's table yet.
func (t *table) empty() bool { return t.routes.len() == 0 && t.local.len() == 0 }

// isLocal says whether addr is delivered to this host.
func (t *table) isLocal(addr netip.Addr) bool {
	r, ok := t.local.lookup(addr)
	if ok && r.Prefix.Contains(addr) {
		return true
	}
	r, ok = t.routes.lookup(addr)
	return ok && r.Local
}

// lookup finds the route for an address, announced prefixes and routers included; of two for one prefix the administrator's.
func (t *table) lookup(addr netip.Addr) (Route, bool) {
	r, ok := t.routes.lookup(addr)
	if a, is := t.announced.lookup(addr); is && (!ok || a.Prefix.Bits() > r.Prefix.Bits()) {
		r, ok = a, true
	}
	if h, is := t.routers.lookup(addr); is && (!ok || h.Prefix.Bits() > r.Prefix.Bits()) {
		r, ok = h, true
	}
	return r, ok
}

// widest is routeTable.widest over the routes, the announced prefixes and the routers.
func (t *table) widest(addr netip.Addr, within netip.Prefix) netip.Prefix {
	return t.routers.widest(addr, t.announced.widest(addr, t.routes.widest(addr, within)))
}

// table is the mirror of the table that the interface forwards by.
func (e *Engine) table(ifc *iface) *table {
	t := e.tables[ifc.cfg.Table]
	if t == nil {
		t = &table{}
		e.tables[ifc.cfg.Table] = t
	}
	return t
}

// routesChanged updates a mirror; what was decided by it is decided anew.
func (e *Engine) routesChanged(ev RoutesChanged) {
	t := e.tables[ev.Table]
	if t == nil {
		t = &table{}
		e.tables[ev.Table] = t
	}
	if ev.Reset {
		t.reset()
	}
	for _, r := range ev.Removed {
		t.remove(r)
	}
	for _, r := range ev.Added {
		t.add(r)
	}
	for _, ifc := range e.interfaces() {
		if ifc.cfg.Table == ev.Table && !ifc.left {
			e.reviewRouted(ifc, ev)
			e.reroute(ifc, ev.touched())
		}
	}
}

// touched returns which prefixes a change of the routes may be about: those that overlap one of the routes. Of a large change all.
func (ev *RoutesChanged) touched() func(netip.Prefix) bool {
	if ev.Reset || len(ev.Removed)+len(ev.Added) > fewMoved {
		return everything
	}
	overlaps := func(list []Route, p netip.Prefix) bool {
		return slices.ContainsFunc(list, func(r Route) bool { return r.Prefix.Overlaps(p) })
	}
	return func(p netip.Prefix) bool { return overlaps(ev.Removed, p) || overlaps(ev.Added, p) }
}

// reviewRouted reviews the announced prefixes that a change of the routes is about.
func (e *Engine) reviewRouted(ifc *iface, ev RoutesChanged) {
	if ev.Reset || len(ev.Removed)+len(ev.Added) > fewMoved {
		e.reviewAnnounced(ifc)
		return
	}
	for _, list := range [][]Route{ev.Removed, ev.Added} {
		for _, r := range list {
			e.reviewAnnouncedOver(ifc, r.Prefix)
		}
	}
}

// reroute ends the shortcuts and takes back the answers among those touched that the routes do not support any more.
func (e *Engine) reroute(ifc *iface, touched func(netip.Prefix) bool) {
	for _, s := range inOrderIf(ifc.shortcuts, byPrefix, func(s *shortcut) bool { return touched(s.prefix) }) {
		if !e.stillLed(s) {
			e.endShortcut(s, "the route beneath it changed")
		}
	}
	e.reviseNextHops(ifc)
	e.reviewAnswers(ifc, touched)
}

// everything is touched.
func everything(netip.Prefix) bool { return true }

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

// pathTo finds the way to dest without regard to shortcuts. A next hop without a binding is looked for through the first NHS that
// has us registered.
func (e *Engine) pathTo(ifc *iface, dest netip.Addr) (path, pathError) {
	r, ok := e.table(ifc).lookup(dest)
	if link, is := ifc.linkAround(dest); is && (!ok || r.Prefix.Bits() < link.Bits()) {
		// The overlay's own route may not be in the mirror yet, and with host prefixes there may be none.
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

// pathPastShortcuts is the path to dest of a question: one that an NHS passes on, who vouches for us, rather than one to a next hop that
// only a shortcut has a neighbour for. That is known from an answer to the same question.
func (e *Engine) pathPastShortcuts(ifc *iface, dest netip.Addr) (path, pathError) {
	p, err := e.pathTo(ifc, dest)
	if err == pathOK && !p.byNHS && ifc.neighbors[p.nextHop].best().rank >= rankShortcut {
		p.leadToNHS(ifc)
	}
	return p, err
}
