package tables

import (
	"cmp"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
)

// plan is what has to be done to the kernel's tables, in this order: nothing is taken away before
// what takes its place is there, and no route is without its neighbour.
type plan struct {
	addNeighbors    []rtnl.Neighbor
	addRoutes       []rtnl.Route
	deleteRoutes    []rtnl.Route
	deleteNeighbors []rtnl.Neighbor
}

// size is the number of entries that the plan is about.
func (p *plan) size() int {
	return len(p.addNeighbors) + len(p.addRoutes) + len(p.deleteRoutes) + len(p.deleteNeighbors)
}

// diffNeighbors compares the wanted neighbours with the kernel's. It returns what to set and what
// is ours there and not wanted.
func diffNeighbors(wanted map[rtnl.NeighborKey]netip.Addr, actual []rtnl.NeighborEntry) (add, unwanted []rtnl.Neighbor) {
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

// diffRoutes compares the wanted routes with those of ours in the kernel. It returns what to add,
// what a wanted route of the same key takes the place of, and what nobody wants.
func diffRoutes(wanted map[rtnl.RouteKey]netip.Addr, actual []rtnl.Route) (add, replaced, unwanted []rtnl.Route) {
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

func compareNeighbors(a, b rtnl.Neighbor) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), a.Protocol.Compare(b.Protocol))
}

func compareRoutes(a, b rtnl.Route) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Table, b.Table), a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Metric, b.Metric))
}
