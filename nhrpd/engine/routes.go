package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/rib"
)

// table returns the mirror of the routing table that the interface forwards by; it makes the mirror
// if there is none.
func (e *Engine) table(ifc *iface) *rib.Table {
	t := e.tables[ifc.cfg.Table]
	if t == nil {
		t = &rib.Table{}
		e.tables[ifc.cfg.Table] = t
	}
	return t
}

// routesChanged updates a mirror of the kernel's routes. Then it reviews everything that was
// decided by the changed routes.
func (e *Engine) routesChanged(ev RoutesChanged) {
	t := e.tables[ev.Table]
	if t == nil {
		t = &rib.Table{}
		e.tables[ev.Table] = t
	}
	if ev.Reset {
		t.Reset()
	}
	for _, r := range ev.Removed {
		t.Remove(r)
	}
	for _, r := range ev.Added {
		t.Add(r)
	}
	for _, ifc := range e.interfaces() {
		if ifc.cfg.Table == ev.Table && !ifc.left {
			e.reviewRouted(ifc, ev)
			e.reroute(ifc, ev.touched())
		}
	}
}

// touched returns a function that reports whether a change of the routes may concern a prefix: one
// of the changed routes overlaps it. A large change concerns every prefix.
func (ev *RoutesChanged) touched() func(netip.Prefix) bool {
	if ev.Reset || len(ev.Removed)+len(ev.Added) > fewMoved {
		return everything
	}
	overlaps := func(list []Route, p netip.Prefix) bool {
		return slices.ContainsFunc(list, func(r Route) bool { return r.Prefix.Overlaps(p) })
	}
	return func(p netip.Prefix) bool { return overlaps(ev.Removed, p) || overlaps(ev.Added, p) }
}

// reviewRouted reviews the announced prefixes that a change of the routes concerns.
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

// reroute reviews the touched shortcuts and answers: those that the routes do not support any more
// end or are taken back.
func (e *Engine) reroute(ifc *iface, touched func(netip.Prefix) bool) {
	for _, s := range inOrderIf(ifc.shortcuts, byPrefix, func(s *shortcut) bool {
		return touched(s.prefix)
	}) {
		if !e.stillLed(s) {
			e.endShortcut(s, "the route beneath it changed")
		}
	}
	e.reviseNextHops(ifc)
	e.reviewAnswers(ifc, touched)
}

// everything says of every prefix that a change concerns it.
func everything(netip.Prefix) bool { return true }

// movedRoute is a route that came or went during a call into the engine. It is one of the daemon's
// own routes that look-ups see.
type movedRoute struct {
	table  uint32
	prefix netip.Prefix
}

// fewMoved is how many changed routes are compared one by one. After a larger change, everything is
// reviewed.
const fewMoved = 64

// routeMoved has everything that depends on a route reviewed at the end of the call into the
// engine. It cannot be reviewed at once, since the call may be handling a packet.
func (e *Engine) routeMoved(table uint32, prefix netip.Prefix) {
	e.moved = append(e.moved, movedRoute{table, prefix})
}
