package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/resolution"
)

// routesChanged updates a mirror of the kernel's routes. Then it reviews everything that was
// decided by the changed routes.
func (e *Engine) routesChanged(ev event.RoutesChanged) {
	t := e.router.Mirror(ev.Table)
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
		if ifc.Config.Table == ev.Table && !ifc.Left {
			ifc.reviewRouted(ev)
			ifc.reroute(touchedBy(&ev))
		}
	}
}

// touchedBy returns a function that reports whether a change of the routes may concern a prefix:
// one of the changed routes overlaps it. A large change concerns every prefix.
func touchedBy(ev *event.RoutesChanged) func(netip.Prefix) bool {
	if ev.Reset || len(ev.Removed)+len(ev.Added) > fewMoved {
		return everything
	}
	overlaps := func(list []event.Route, p netip.Prefix) bool {
		return slices.ContainsFunc(list, func(r event.Route) bool { return r.Prefix.Overlaps(p) })
	}
	return func(p netip.Prefix) bool { return overlaps(ev.Removed, p) || overlaps(ev.Added, p) }
}

// reviewRouted reviews the announced prefixes that a change of the routes concerns.
func (ifc *iface) reviewRouted(ev event.RoutesChanged) {
	if ev.Reset || len(ev.Removed)+len(ev.Added) > fewMoved {
		ifc.server.Announced.Review()
		return
	}
	for _, list := range [][]event.Route{ev.Removed, ev.Added} {
		for _, r := range list {
			ifc.server.Announced.ReviewOver(r.Prefix)
		}
	}
}

// reroute reviews the touched shortcuts and answers: those that the routes do not support any more
// end or are taken back. Shortcuts make room for routes that came to their very prefixes.
func (ifc *iface) reroute(touched func(netip.Prefix) bool) {
	for _, s := range ordered.ValuesIf(ifc.Requester.Shortcuts, ordered.ByPrefix,
		func(s *resolution.Shortcut) bool {
			return touched(s.Prefix)
		}) {
		ifc.Requester.ReviewCovering(s)
	}
	ifc.Requester.ReviseNextHops()
	ifc.Responder.ReviewAnswers(touched)
}

// everything says of every prefix that a change concerns it.
func everything(netip.Prefix) bool { return true }

// fewMoved is how many changed routes are compared one by one. After a larger change, everything is
// reviewed.
const fewMoved = 64
