package kernel

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A wanted neighbour is right only if it is permanent, tagged as ours and at the wanted address; ours that nobody wants are told apart,
// others' are left alone.
func TestDiffNeighbors(t *testing.T) {
	want := neighbor("10.0.0.2", "203.0.113.2")
	entry := func(n Neighbor, permanent, ours bool) []neighborEntry { return []neighborEntry{{n, permanent, ours}} }
	for _, c := range []struct {
		name     string
		wanted   []Neighbor
		actual   []neighborEntry
		add      []Neighbor
		unwanted []Neighbor
	}{
		{name: "there", wanted: []Neighbor{want}, actual: entry(want, true, true)},
		{name: "missing", wanted: []Neighbor{want}, add: []Neighbor{want}},
		{name: "at another address", wanted: []Neighbor{want}, actual: entry(neighbor("10.0.0.2", "203.0.113.9"), true, true), add: []Neighbor{want}},
		{name: "not permanent", wanted: []Neighbor{want}, actual: entry(want, false, true), add: []Neighbor{want}},
		{name: "not tagged", wanted: []Neighbor{want}, actual: entry(want, true, false), add: []Neighbor{want}},
		{name: "nobody wants it", actual: entry(want, true, true), unwanted: []Neighbor{want}},
		{name: "another's", actual: entry(want, true, false)},
	} {
		t.Run(c.name, func(t *testing.T) {
			wanted := make(map[neighborKey]netip.Addr)
			for _, n := range c.wanted {
				wanted[n.key()] = n.NBMA
			}
			add, unwanted := diffNeighbors(wanted, c.actual)
			if diff := cmp.Diff(c.add, add, byValue); diff != "" {
				t.Errorf("add: %s", diff)
			}
			if diff := cmp.Diff(c.unwanted, unwanted, byValue); diff != "" {
				t.Errorf("unwanted: %s", diff)
			}
		})
	}
}

// A route of a wanted key with another next hop is replaced whatever else; one of no wanted key is only told.
func TestDiffRoutes(t *testing.T) {
	a, b := route("172.16.2.0/24", "10.0.0.2"), route("172.16.2.0/24", "10.0.0.3")
	other := a
	other.Metric = 7
	for _, c := range []struct {
		name                    string
		wanted, actual          []Route
		add, replaced, unwanted []Route
	}{
		{name: "there", wanted: []Route{a}, actual: []Route{a}},
		{name: "missing", wanted: []Route{a}, add: []Route{a}},
		{name: "moved", wanted: []Route{b}, actual: []Route{a}, add: []Route{b}, replaced: []Route{a}},
		{name: "moved, old one still there", wanted: []Route{b}, actual: []Route{b, a}, replaced: []Route{a}},
		{name: "another metric is another route", wanted: []Route{a}, actual: []Route{other}, add: []Route{a}, unwanted: []Route{other}},
		{name: "nobody wants it", actual: []Route{a}, unwanted: []Route{a}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wanted := make(map[routeKey]netip.Addr)
			for _, r := range c.wanted {
				wanted[r.key()] = r.NextHop
			}
			add, replaced, unwanted := diffRoutes(wanted, c.actual)
			for _, part := range []struct {
				name      string
				want, got []Route
			}{{"add", c.add, add}, {"replaced", c.replaced, replaced}, {"unwanted", c.unwanted, unwanted}} {
				if diff := cmp.Diff(part.want, part.got, byValue); diff != "" {
					t.Errorf("%s: %s", part.name, diff)
				}
			}
		})
	}
}

var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.AllowUnexported(RouteEntry{}, mirrored{}),
	cmpopts.EquateEmpty(),
}

func neighbor(protocol, nbma string) Neighbor {
	return Neighbor{"gre1", netip.MustParseAddr(protocol), netip.MustParseAddr(nbma)}
}

func route(prefix, nextHop string) Route {
	return Route{Device: "gre1", Prefix: netip.MustParsePrefix(prefix), NextHop: netip.MustParseAddr(nextHop), Table: 254}
}
