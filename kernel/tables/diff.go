package tables

import (
	"cmp"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
)

// plan holds the changes to the kernel's tables. They are carried out in the order of the fields,
// so that an entry goes only after its replacement has come, and no route is ever without its
// neighbour.
type plan struct {
	addNeighbors    []rtnl.Neighbor
	addRules        []rtnl.Rule
	resized         []rtnl.Route // go first: the route that comes differs in its MTU only
	addRoutes       []rtnl.Route
	deleteRoutes    []rtnl.Route
	deleteRules     []rtnl.Rule
	deleteNeighbors []rtnl.Neighbor
}

// size returns the number of changes.
func (p *plan) size() int {
	return len(p.addNeighbors) + len(p.addRules) + len(p.resized) + len(p.addRoutes) +
		len(p.deleteRoutes) + len(p.deleteRules) + len(p.deleteNeighbors)
}

// diffNeighbors compares the wanted neighbours with the kernel's. It returns the neighbours to set,
// and those of the daemon's in the kernel that are not wanted.
func diffNeighbors(
	wanted map[rtnl.NeighborKey]netip.Addr, actual []rtnl.NeighborEntry,
) (add, unwanted []rtnl.Neighbor) {
	right := make(map[rtnl.NeighborKey]bool, len(wanted))
	for _, e := range actual {
		nbma, ok := wanted[e.Key()]
		switch {
		case ok:
			right[e.Key()] = e.Ours && e.Permanent && e.NBMA == nbma
		case e.Ours:
			unwanted = append(unwanted, e.Neighbor)
		}
	}
	for k, nbma := range wanted {
		if !right[k] {
			add = append(add, rtnl.Neighbor{Device: k.Device, Protocol: k.Protocol, NBMA: nbma})
		}
	}
	slices.SortFunc(add, compareNeighbors)
	return add, unwanted
}

// diffRoutes compares the wanted routes with those of the daemon's in the kernel. It returns the
// routes to add, those that a wanted route of the same key replaces, and those that are not wanted.
func diffRoutes(
	wanted map[rtnl.RouteKey]rtnl.Way, actual []rtnl.Route,
) (add, replaced, unwanted []rtnl.Route) {
	right := make(map[rtnl.RouteKey]bool, len(wanted))
	for _, r := range actual {
		way, ok := wanted[r.Key()]
		switch {
		case !ok:
			unwanted = append(unwanted, r)
		case r.Way() != way:
			replaced = append(replaced, r)
		default:
			right[r.Key()] = true
		}
	}
	for k, way := range wanted {
		if !right[k] {
			add = append(add, k.By(way))
		}
	}
	slices.SortFunc(add, compareRoutes)
	return add, replaced, unwanted
}

// replace has the plan delete a route that one with the same key and this way replaces. If only the
// MTU differs, the old route goes first: the kernel would take the two for one and the same, and
// packets take the route beneath in between.
func (p *plan) replace(old rtnl.Route, way rtnl.Way) {
	switch {
	case old.NextHop != way.NextHop:
		p.deleteRoutes = append(p.deleteRoutes, old)
	case old.MTU != way.MTU:
		p.resized = append(p.resized, old)
	}
}

// diffRules compares the wanted rules with those in the kernel: the daemon's own and those of
// others. It returns the rules to add, and those of the daemon's that are not wanted. A wanted rule
// that somebody else has made is there, and the kernel takes no second one.
func diffRules(
	wanted map[rtnl.Rule]int, own, others []rtnl.Rule,
) (add, unwanted []rtnl.Rule) {
	for _, r := range own {
		if wanted[r] == 0 {
			unwanted = append(unwanted, r)
		}
	}
	for r := range wanted {
		if !slices.Contains(own, r) && !slices.Contains(others, r) {
			add = append(add, r)
		}
	}
	slices.SortFunc(add, compareRules)
	return add, unwanted
}

// compareRules orders rules by family, priority, table and source.
func compareRules(a, b rtnl.Rule) int {
	return cmp.Or(
		cmp.Compare(a.Family, b.Family),
		cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(a.Table, b.Table),
		a.From.Compare(b.From))
}

// compareNeighbors orders neighbours by device and overlay address.
func compareNeighbors(a, b rtnl.Neighbor) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), a.Protocol.Compare(b.Protocol))
}

// compareRoutes orders routes by device, table, prefix and metric.
func compareRoutes(a, b rtnl.Route) int {
	return cmp.Or(
		cmp.Compare(a.Device, b.Device),
		cmp.Compare(a.Table, b.Table),
		a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
		cmp.Compare(a.Metric, b.Metric))
}
