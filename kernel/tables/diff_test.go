package tables

import (
	"net/netip"
	"testing"

	"cygnet/kernel/rtnl"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A wanted neighbour is right only if it is permanent, has the daemon's protocol number and has the
// wanted NBMA address. diffNeighbors returns the daemon's neighbours that nobody wants, and leaves
// other programs' neighbours alone.
func TestDiffNeighbors(t *testing.T) {
	want := neighbor("10.0.0.2", "203.0.113.2")
	entry := func(n rtnl.Neighbor, permanent, ours bool) []rtnl.NeighborEntry {
		return []rtnl.NeighborEntry{{Neighbor: n, Permanent: permanent, Ours: ours}}
	}
	for _, c := range []struct {
		name     string
		wanted   []rtnl.Neighbor
		actual   []rtnl.NeighborEntry
		add      []rtnl.Neighbor
		unwanted []rtnl.Neighbor
	}{
		{name: "there", wanted: []rtnl.Neighbor{want}, actual: entry(want, true, true)},
		{name: "missing", wanted: []rtnl.Neighbor{want}, add: []rtnl.Neighbor{want}},
		{
			name:   "at another address",
			wanted: []rtnl.Neighbor{want},
			actual: entry(neighbor("10.0.0.2", "203.0.113.9"), true, true),
			add:    []rtnl.Neighbor{want},
		},
		{
			name:   "not permanent",
			wanted: []rtnl.Neighbor{want},
			actual: entry(want, false, true),
			add:    []rtnl.Neighbor{want},
		},
		{
			name:   "not tagged",
			wanted: []rtnl.Neighbor{want},
			actual: entry(want, true, false),
			add:    []rtnl.Neighbor{want},
		},
		{name: "nobody wants it", actual: entry(want, true, true), unwanted: []rtnl.Neighbor{want}},
		{name: "another's", actual: entry(want, true, false)},
	} {
		t.Run(c.name, func(t *testing.T) {
			wanted := make(map[rtnl.NeighborKey]netip.Addr)
			for _, n := range c.wanted {
				wanted[n.Key()] = n.NBMA
			}
			add, unwanted := diffNeighbors(wanted, c.actual)
			if diff := cmp.Diff(c.add, add, addresses); diff != "" {
				t.Errorf("add: %s", diff)
			}
			if diff := cmp.Diff(c.unwanted, unwanted, addresses); diff != "" {
				t.Errorf("unwanted: %s", diff)
			}
		})
	}
}

// A wanted route replaces every route that has its key and another way. A route whose key
// nobody wants is returned as unwanted.
func TestDiffRoutes(t *testing.T) {
	a, b := route("172.16.2.0/24", "10.0.0.2"), route("172.16.2.0/24", "10.0.0.3")
	other := a
	other.Metric = 7
	smaller := a
	smaller.MTU = 1300
	for _, c := range []struct {
		name                    string
		wanted, actual          []rtnl.Route
		add, replaced, unwanted []rtnl.Route
	}{
		{name: "there", wanted: []rtnl.Route{a}, actual: []rtnl.Route{a}},
		{name: "missing", wanted: []rtnl.Route{a}, add: []rtnl.Route{a}},
		{
			name:     "moved",
			wanted:   []rtnl.Route{b},
			actual:   []rtnl.Route{a},
			add:      []rtnl.Route{b},
			replaced: []rtnl.Route{a},
		},
		{
			name:     "moved, old one still there",
			wanted:   []rtnl.Route{b},
			actual:   []rtnl.Route{b, a},
			replaced: []rtnl.Route{a},
		},
		{
			name:     "another metric is another route",
			wanted:   []rtnl.Route{a},
			actual:   []rtnl.Route{other},
			add:      []rtnl.Route{a},
			unwanted: []rtnl.Route{other},
		},
		{name: "nobody wants it", actual: []rtnl.Route{a}, unwanted: []rtnl.Route{a}},
		{
			name:     "another MTU",
			wanted:   []rtnl.Route{smaller},
			actual:   []rtnl.Route{a},
			add:      []rtnl.Route{smaller},
			replaced: []rtnl.Route{a},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			wanted := make(map[rtnl.RouteKey]rtnl.Way)
			for _, r := range c.wanted {
				wanted[r.Key()] = r.Way()
			}
			add, replaced, unwanted := diffRoutes(wanted, c.actual)
			for _, part := range []struct {
				name      string
				want, got []rtnl.Route
			}{
				{"add", c.add, add}, {"replaced", c.replaced, replaced},
				{"unwanted", c.unwanted, unwanted},
			} {
				if diff := cmp.Diff(part.want, part.got, addresses); diff != "" {
					t.Errorf("%s: %s", part.name, diff)
				}
			}
		})
	}
}

// A wanted rule that the kernel lacks is added. A rule of the daemon's that no route needs is
// returned as unwanted.
func TestDiffRules(t *testing.T) {
	four := rtnl.Rule{Family: 2, Table: 84, Priority: 9}
	six := rtnl.Rule{Family: 10, Table: 84, Priority: 9}
	for _, c := range []struct {
		name                       string
		wanted                     map[rtnl.Rule]int
		own, others, add, unwanted []rtnl.Rule
	}{
		{name: "there", wanted: map[rtnl.Rule]int{four: 2}, own: []rtnl.Rule{four}},
		{name: "missing", wanted: map[rtnl.Rule]int{six: 1, four: 1}, add: []rtnl.Rule{four, six}},
		{name: "nobody wants it", own: []rtnl.Rule{six}, unwanted: []rtnl.Rule{six}},
		{
			name: "somebody else made it", wanted: map[rtnl.Rule]int{four: 1},
			others: []rtnl.Rule{four, six},
		},
	} {
		add, unwanted := diffRules(c.wanted, c.own, c.others)
		if diff := cmp.Diff(c.add, add, addresses); diff != "" {
			t.Errorf("%s: add: %s", c.name, diff)
		}
		if diff := cmp.Diff(c.unwanted, unwanted, addresses); diff != "" {
			t.Errorf("%s: unwanted: %s", c.name, diff)
		}
	}
}

// addresses compares addresses and prefixes by their value, and nil slices as empty.
var addresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func neighbor(protocol, nbma string) rtnl.Neighbor {
	return rtnl.Neighbor{
		Device:   "gre1",
		Protocol: netip.MustParseAddr(protocol),
		NBMA:     netip.MustParseAddr(nbma),
	}
}

func route(prefix, nextHop string) rtnl.Route {
	return rtnl.Route{
		Device:  "gre1",
		Prefix:  netip.MustParsePrefix(prefix),
		NextHop: netip.MustParseAddr(nextHop),
		Table:   254,
	}
}
