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
	addRoutes       []rtnl.Route
	deleteRoutes    []rtnl.Route
	deleteNeighbors []rtnl.Neighbor
}

// size returns the number of changes.
func (p *plan) size() int {
	return len(p.addNeighbors) + len(p.addRoutes) + len(p.deleteRoutes) + len(p.deleteNeighbors)
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
	wanted map[rtnl.RouteKey]netip.Addr, actual []rtnl.Route,
) (add, replaced, unwanted []rtnl.Route) {
	right := make(map[rtnl.RouteKey]bool, len(wanted))
	for _, r := range actual {
		nextHop, ok := wanted[r.Key()]
		switch {
		case !ok:
			unwanted = append(unwanted, r)
		case r.NextHop != nextHop:
			replaced = append(replaced, r)
		default:
			right[r.Key()] = true
		}
	}
	for k, nextHop := range wanted {
		if !right[k] {
			add = append(add, k.Via(nextHop))
		}
	}
	slices.SortFunc(add, compareRoutes)
	return add, replaced, unwanted
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
