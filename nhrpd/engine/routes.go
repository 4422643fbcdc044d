package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/rib"
)

// table is the mirror of the table that the interface forwards by.
func (e *Engine) table(ifc *iface) *rib.Table {
	t := e.tables[ifc.cfg.Table]
	if t == nil {
		t = &rib.Table{}
		e.tables[ifc.cfg.Table] = t
	}
	return t
}

// routesChanged updates a mirror; what was decided by it is decided anew.
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

// touched returns which prefixes a change of the routes may be about: those that overlap one of the
// routes. Of a large change all.
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

// reroute ends the shortcuts and takes back the answers among those touched that the routes do not
// support any more.
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

// movedRoute is a route of ours that look-ups see and that came or went during a call.
type movedRoute struct {
	table  uint32
	prefix netip.Prefix
}

// fewMoved is how many routes are looked at one by one; when more moved, everything is decided
// anew.
const fewMoved = 64

// routeMoved has what rests on a route decided anew at the end of the call: in its middle a packet
// is being handled.
func (e *Engine) routeMoved(table uint32, prefix netip.Prefix) {
	e.moved = append(e.moved, movedRoute{table, prefix})
}
