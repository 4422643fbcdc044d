package rib

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// routeModel is the specification of a Trie: routes in the order they were added in.
type routeModel []Route

func (m *routeModel) add(r Route) {
	r.Prefix = r.Prefix.Masked()
	if i := m.find(r); i >= 0 {
		(*m)[i] = r
		return
	}
	*m = append(*m, r)
}

func (m *routeModel) remove(r Route) {
	if i := m.find(r); i >= 0 {
		*m = slices.Delete(*m, i, i+1)
	}
}

func (m *routeModel) find(r Route) int {
	return slices.IndexFunc(*m, func(h Route) bool {
		return h.Prefix == r.Prefix.Masked() && h.Metric == r.Metric &&
			h.NextHop == r.NextHop && h.Device == r.Device
	})
}

func (m routeModel) lookup(a netip.Addr) (best Route, found bool) {
	for _, r := range m {
		if !r.Prefix.Contains(a) {
			continue
		}
		longer := r.Prefix.Bits() > best.Prefix.Bits()
		better := r.Prefix.Bits() == best.Prefix.Bits() && r.Metric < best.Metric
		if !found || longer || better {
			best, found = r, true
		}
	}
	return best, found
}

func (m routeModel) enclosing(p netip.Prefix) (Route, bool) {
	return slices.DeleteFunc(slices.Clone(m), func(r Route) bool {
		return !prefixWithin(p.Masked(), r.Prefix)
	}).lookup(p.Addr())
}

func prefixWithin(inner, outer netip.Prefix) bool {
	return outer.Contains(inner.Addr()) && inner.Bits() >= outer.Bits()
}

func (m routeModel) widest(a netip.Addr, bound netip.Prefix) netip.Prefix {
	if !bound.Contains(a) {
		return netip.Prefix{}
	}
	matched, found := m.lookup(a)
	for length := bound.Bits(); ; length++ {
		p := netip.PrefixFrom(a, length).Masked()
		if found && !prefixWithin(p, matched.Prefix) {
			continue
		}
		if !slices.ContainsFunc(m, func(r Route) bool {
			return prefixWithin(r.Prefix, p) && (!found || r.Prefix.Bits() > matched.Prefix.Bits())
		}) {
			return p
		}
	}
}

func (m routeModel) inside(p netip.Prefix) []Route {
	var in []Route
	for _, r := range m {
		if prefixWithin(r.Prefix, p) {
			in = append(in, r)
		}
	}
	slices.SortStableFunc(in, func(a, b Route) int {
		if c := a.Prefix.Compare(b.Prefix); c != 0 {
			return c
		}
		return int(a.Metric) - int(b.Metric)
	})
	return in
}

// nearAddr draws addresses that have much in common, so that prefixes nest and part everywhere.
func nearAddr() *rapid.Generator[netip.Addr] {
	part := rapid.SampledFrom([]byte{0, 0, 1, 2, 127, 128, 254, 255})
	few := rapid.SampledFrom([]byte{0, 0, 0, 1})
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "v4") {
			return netip.AddrFrom4([4]byte{10, part.Draw(t, "b1"), 0, part.Draw(t, "b3")})
		}
		return netip.AddrFrom16([16]byte{
			0: 10, 1: few.Draw(t, "b1"), 7: few.Draw(t, "b7"),
			8: part.Draw(t, "b8"), 15: part.Draw(t, "b15"),
		})
	})
}

func nearPrefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := nearAddr().Draw(t, "addr")
		return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
	})
}

func nearRoute() *rapid.Generator[Route] {
	nextHops := []netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")}
	return rapid.Custom(func(t *rapid.T) Route {
		return Route{
			Prefix:  nearPrefix().Draw(t, "prefix"),
			NextHop: rapid.SampledFrom(nextHops).Draw(t, "next hop"),
			Device:  rapid.SampledFrom([]string{"", "eth0", "gre1"}).Draw(t, "device"),
			Local:   rapid.Bool().Draw(t, "local"),
			Metric:  uint32(rapid.IntRange(0, 2).Draw(t, "metric")),
		}
	})
}

func TestTrieDoesWhatItsModelDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var table Trie
		var model routeModel
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				r := nearRoute().Draw(rt, "route")
				table.Add(r)
				model.add(r)
			},
			"add another of a known prefix": func(rt *rapid.T) {
				if len(model) == 0 {
					rt.Skip("no route yet")
				}
				r := nearRoute().Draw(rt, "route")
				r.Prefix = rapid.SampledFrom(model).Draw(rt, "known").Prefix
				table.Add(r)
				model.add(r)
			},
			"remove": func(rt *rapid.T) {
				if len(model) == 0 {
					rt.Skip("no route yet")
				}
				r := rapid.SampledFrom(model).Draw(rt, "known")
				table.Remove(r)
				model.remove(r)
			},
			"remove unknown": func(rt *rapid.T) {
				r := nearRoute().Draw(rt, "route")
				table.Remove(r)
				model.remove(r)
			},
			"lookup": func(rt *rapid.T) {
				a := nearAddr().Draw(rt, "addr")
				got, ok := table.Lookup(a)
				want, wantOK := model.lookup(a)
				if got != want || ok != wantOK {
					rt.Fatalf("Lookup(%s) = %v, %v; want %v, %v", a, got, ok, want, wantOK)
				}
			},
			"widest": func(rt *rapid.T) {
				a := nearAddr().Draw(rt, "addr")
				bound := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(rt, "bits"))
				if got, want := table.Widest(a, bound), model.widest(a, bound); got != want {
					rt.Fatalf("Widest(%s, %s) = %v, want %v", a, bound, got, want)
				}
			},
			"enclosing": func(rt *rapid.T) {
				p := nearPrefix().Draw(rt, "prefix")
				got, ok := table.Enclosing(p)
				want, wantOK := model.enclosing(p)
				if got != want || ok != wantOK {
					rt.Fatalf("Enclosing(%s) = %v, %v; want %v, %v", p, got, ok, want, wantOK)
				}
			},
			"inside": func(rt *rapid.T) {
				p := nearPrefix().Draw(rt, "prefix")
				got := slices.Collect(table.Inside(p))
				if diff := cmp.Diff(model.inside(p), got, compareNetip); diff != "" {
					rt.Fatalf("Inside(%s) (-want +got):\n%s", p, diff)
				}
			},
			"": func(rt *rapid.T) { checkTrie(rt, &table, model) },
		})
		for _, r := range slices.Clone(model) {
			table.Remove(r)
			model.remove(r)
		}
		checkTrie(rt, &table, model)
	})
}

// checkTrie proves that every element of the trie is in use or free, that forks fork, and that hops
// are counted right.
func checkTrie(rt *rapid.T, table *Trie, model routeModel) {
	if table.Len() != len(model) {
		rt.Fatalf("%d routes, want %d", table.Len(), len(model))
	}
	if table.nodes == nil {
		return
	}
	nodes, paths, refs := 1, 1, map[uint32]uint32{}
	var visit func(i uint32)
	visit = func(i uint32) {
		n := table.nodes[i]
		nodes++
		if n.paths == 0 && (n.child[0] == 0 || n.child[1] == 0) {
			rt.Fatalf("node %+v has neither a route nor two children", n)
		}
		for p := n.paths; p != 0; p = table.paths[p].next {
			paths++
			refs[table.paths[p].hop]++
		}
		for _, c := range n.child {
			if c != 0 {
				visit(c)
			}
		}
	}
	for _, root := range table.roots {
		if root != 0 {
			visit(root)
		}
	}
	for i := table.freeNode; i != 0; i = table.nodes[i].child[0] {
		nodes++
	}
	for i := table.freePath; i != 0; i = table.paths[i].next {
		paths++
	}
	hops := 1
	for i := table.freeHop; i != 0; i = table.hops[i].refs {
		hops++
	}
	for i, n := range refs {
		hops++
		if h := table.hops[i]; h.refs != n || table.ids[h.routeHop] != i {
			rt.Fatalf("hop %+v has %d users", h, n)
		}
	}
	if nodes != len(table.nodes) || paths != len(table.paths) ||
		hops != max(len(table.hops), 1) || len(table.ids) != len(refs) {
		rt.Fatalf("in use and free: %d of %d nodes, %d of %d paths, %d of %d hops",
			nodes, len(table.nodes), paths, len(table.paths), hops, len(table.hops))
	}
}
