package resolution

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// A routing protocol may have in the kernel the very prefix that a shortcut is for. The shortcut's
// route must not have that prefix too: FRR's zebra prefers any route of others and withdraws its
// own, so that the shortcut loses the route beneath it and ends, upon which zebra brings its route
// back, and so on for ever. The shortcut therefore gets a route to each half of the prefix, which
// come first by the longest match and leave the other route alone. A host prefix has no halves: its
// route goes to a table of host routes, in which the kernel looks before the interface's table.

// slot is the place of one route in the kernel. It holds one route of the engine's at most.
type slot struct {
	prefix    netip.Prefix
	hostTable bool // in the table for host routes, not in that of the interface
}

// slots returns the places of the routes to a prefix with a placement.
func slots(prefix netip.Prefix, p report.Placement) []slot {
	switch p {
	case report.PlacedWhole:
		return []slot{{prefix: prefix}}
	case report.PlacedHostTable:
		return []slot{{prefix: prefix, hostTable: true}}
	case report.PlacedHalves:
		lower, upper := halves(prefix)
		return []slot{{prefix: lower}, {prefix: upper}}
	}
	return nil
}

// halves returns the two halves of a prefix that is no host prefix.
func halves(prefix netip.Prefix) (lower, upper netip.Prefix) {
	bits, first := prefix.Bits(), prefix.Masked().Addr()
	second := first.AsSlice()
	second[bits/8] |= 0x80 >> (bits % 8)
	a, _ := netip.AddrFromSlice(second)
	return netip.PrefixFrom(first, bits+1), netip.PrefixFrom(a, bits+1)
}

// Placements are the routes of shortcuts: where each is to be in the kernel, and which are there.
type Placements struct {
	*overlay.Interface
	Neighbors *neighbors.Table

	// shortcuts are those of the requester, by their prefixes.
	shortcuts map[netip.Prefix]*Shortcut
	// routes has each route that the kernel is to have for a shortcut.
	routes map[slot]leadsTo
}

// newPlacements returns the placements of shortcuts, of which none has a route.
func newPlacements(n Needs, shortcuts map[netip.Prefix]*Shortcut) Placements {
	return Placements{
		Interface: n.Interface,
		Neighbors: n.Neighbors,
		shortcuts: shortcuts,
		routes:    make(map[slot]leadsTo),
	}
}

// placementFor decides how the kernel gets the route to a prefix. Nothing else decides that, apart
// from beside for a shortcut whose covering route went.
func (pl *Placements) placementFor(prefix netip.Prefix) report.Placement {
	if beneath, ok := pl.Table().KernelEnclosing(prefix); !ok || beneath.Prefix != prefix {
		return report.PlacedWhole
	}
	return pl.beside(prefix)
}

// beside returns the placement of a shortcut that leaves room for a route of others to the same
// prefix. It is PlacedWhole if there is no such placement: for a host prefix where the interface
// has no table for host routes, and for a prefix one of whose two addresses is a router that has a
// host route of its own.
func (pl *Placements) beside(prefix netip.Prefix) report.Placement {
	if prefix.IsSingleIP() {
		if pl.Config.HostTable.Exists() {
			return report.PlacedHostTable
		}
		return report.PlacedWhole
	}
	for _, half := range slots(prefix, report.PlacedHalves) {
		if pl.Neighbors.HasHostRoute(half.prefix, netip.Addr{}) {
			return report.PlacedWhole
		}
	}
	return report.PlacedHalves
}

// possible reports whether a prefix can have a placement, which a saved state names.
func (pl *Placements) possible(prefix netip.Prefix, p report.Placement) bool {
	switch p {
	case report.PlacedWhole:
		return true
	case report.PlacedHalves:
		return !prefix.IsSingleIP()
	case report.PlacedHostTable:
		return prefix.IsSingleIP() && pl.Config.HostTable.Exists()
	}
	return false
}

// standAside gives a shortcut another placement if a route of others to its very prefix has come.
// It never goes back: halves serve as well beside a wider route, and to leave them costs nothing.
func (s *Shortcut) standAside() {
	if s.Placement == report.PlacedWhole {
		s.place(s.requester.Placements.placementFor(s.Prefix))
	}
}

// place asks the kernel for the routes of a placement, and takes back those of the placement
// before. The kernel adds routes before it deletes others, so no packet is lost between the two.
func (s *Shortcut) place(p report.Placement) {
	rq := s.requester
	before := s.Placement
	s.Placement = p
	for _, x := range slots(s.Prefix, p) {
		rq.Placements.reviseSlot(x)
	}
	for _, x := range slots(s.Prefix, before) {
		rq.Placements.reviseSlot(x)
	}
	if before != p && s.State == report.ShortcutUp {
		rq.StateChanged()
	}
}

// reviseSlot asks the kernel for the route that is to be in a slot now.
func (pl *Placements) reviseSlot(x slot) {
	var want leadsTo
	if s := pl.holder(x); s != nil {
		want = leadsTo{s.NextHop, s.mtu}
	}
	have := pl.routes[x]
	if want == have {
		return
	}
	change := output.RouteChange{Prefix: x.prefix, HostTable: x.hostTable}
	if have.nextHop.IsValid() {
		change.NextHop, change.MTU, change.Delete = have.nextHop, have.mtu, true
		pl.ChangeRoute(change)
		delete(pl.routes, x)
	}
	if want.nextHop.IsValid() {
		change.NextHop, change.MTU, change.Delete = want.nextHop, want.mtu, false
		pl.ChangeRoute(change)
		pl.routes[x] = want
	}
}

// Routes returns the shortcuts' routes that the kernel is to have, in order.
func (pl *Placements) Routes() []output.RouteChange {
	slots := slices.SortedFunc(maps.Keys(pl.routes), func(a, b slot) int {
		inHostTable := func(x slot) int {
			if x.hostTable {
				return 1
			}
			return 0
		}
		return cmp.Or(ordered.ByPrefix(a.prefix, b.prefix), inHostTable(a)-inHostTable(b))
	})
	list := make([]output.RouteChange, 0, len(slots))
	for _, x := range slots {
		to := pl.routes[x]
		list = append(list, output.RouteChange{
			Prefix: x.prefix, HostTable: x.hostTable, NextHop: to.nextHop, MTU: to.mtu,
		})
	}
	return list
}

// leadsTo is what a shortcut's route says beside its prefix.
type leadsTo struct {
	nextHop netip.Addr
	mtu     uint16 // 0: that of the tunnel
}

// holder returns the shortcut whose route is to be in a slot, or nil. Two shortcuts may want the
// slot: one for its prefix, and one for the prefix that it is a half of. The former is more
// specific.
func (pl *Placements) holder(x slot) *Shortcut {
	s := pl.shortcuts[x.prefix]
	if s != nil && (s.Placement == report.PlacedHostTable && x.hostTable ||
		s.Placement == report.PlacedWhole && !x.hostTable) {
		return s
	}
	wider, err := x.prefix.Addr().Prefix(x.prefix.Bits() - 1)
	if err != nil || x.hostTable {
		return nil
	}
	if s = pl.shortcuts[wider]; s != nil && s.Placement == report.PlacedHalves {
		return s
	}
	return nil
}

// routed returns the prefixes of the routes that the kernel is to have for a shortcut.
func (s *Shortcut) routed() []netip.Prefix {
	var list []netip.Prefix
	for _, x := range slots(s.Prefix, s.Placement) {
		if s.requester.Placements.holder(x) == s {
			list = append(list, x.prefix)
		}
	}
	return list
}

// RoutedAt returns the shortcut that has a route to a prefix in the table of the interface, or nil.
// The shortcut may be for the prefix of which that one is a half.
func (pl *Placements) RoutedAt(prefix netip.Prefix) *Shortcut {
	return pl.holder(slot{prefix: prefix})
}
