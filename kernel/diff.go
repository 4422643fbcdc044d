package kernel

import (
	"cmp"
	"net/netip"
	"slices"
)

// plan is what has to be done to the kernel's tables, in this order: nothing is taken away before what takes its place is there,
// and no route is without its neighbour.
type plan struct {
	addNeighbors    []Neighbor
	addRoutes       []Route
	deleteRoutes    []Route
	deleteNeighbors []Neighbor
}

// size is the number of entries that the plan is about.
func (p *plan) size() int {
	return len(p.addNeighbors) + len(p.addRoutes) + len(p.deleteRoutes) + len(p.deleteNeighbors)
}

// diffNeighbors compares the wanted neighbours with the kernel's. It returns what to set and what is ours there and not wanted.
func diffNeighbors(wanted map[neighborKey]netip.Addr, actual []neighborEntry) (add, unwanted []Neighbor) {
	right := make(map[neighborKey]bool, len(wanted))
	for _, e := range actual {
		nbma, ok := wanted[e.key()]
		switch {
		case ok:
			right[e.key()] = e.ours && e.permanent && e.NBMA == nbma
		case e.ours:
			unwanted = append(unwanted, e.Neighbor)
		}
	}
	for k, nbma := range wanted {
		if !right[k] {
			add = append(add, Neighbor{k.device, k.protocol, nbma})
		}
	}
	slices.SortFunc(add, compareNeighbors)
	return add, unwanted
}

// diffRoutes compares the wanted routes with those of ours in the kernel. It returns what to add, what a wanted route of the same key
// takes the place of, and what nobody wants.
func diffRoutes(wanted map[routeKey]netip.Addr, actual []Route) (add, replaced, unwanted []Route) {
	right := make(map[routeKey]bool, len(wanted))
	for _, r := range actual {
		nextHop, ok := wanted[r.key()]
		switch {
		case !ok:
			unwanted = append(unwanted, r)
		case r.NextHop != nextHop:
			replaced = append(replaced, r)
		default:
			right[r.key()] = true
		}
	}
	for k, nextHop := range wanted {
		if !right[k] {
			add = append(add, k.via(nextHop))
		}
	}
	slices.SortFunc(add, compareRoutes)
	return add, replaced, unwanted
}

func compareNeighbors(a, b Neighbor) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), a.Protocol.Compare(b.Protocol))
}

func compareRoutes(a, b Route) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Table, b.Table), a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Metric, b.Metric))
}
