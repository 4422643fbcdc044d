package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var compareNetip = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func routeVia(prefix, nextHop, device string, metric uint32) Route {
	r := Route{Prefix: netip.MustParsePrefix(prefix), Device: device, Metric: metric}
	if nextHop != "" {
		r.NextHop = netip.MustParseAddr(nextHop)
	}
	return r
}

func tableOf(routes ...Route) *routeTable {
	t := &routeTable{}
	for _, r := range routes {
		t.add(r)
	}
	return t
}

func TestLookupPrefersLongestPrefixThenMetricThenAge(t *testing.T) {
	var (
		default4  = routeVia("0.0.0.0/0", "192.0.2.1", "eth0", 0)
		default6  = routeVia("::/0", "fe80::1", "eth0", 1024)
		wide      = routeVia("172.16.0.0/12", "10.255.0.1", "gre1", 0)
		site      = routeVia("172.16.1.0/24", "", "lan0", 50)
		siteWorse = routeVia("172.16.1.0/24", "10.255.0.1", "gre1", 100)
		siteTwin  = routeVia("172.16.1.0/24", "", "lan1", 50)
		hole      = routeVia("172.16.9.0/24", "", "", 0)
		host      = Route{Prefix: netip.MustParsePrefix("172.16.1.1/32"), Device: "lan0", Local: true}
		site6     = routeVia("2001:db8:1::/48", "2001:db8:ffff::1", "gre1", 0)
	)
	all := []Route{siteWorse, default4, default6, wide, site, siteTwin, hole, host, site6}
	tests := []struct {
		name   string
		routes []Route
		addr   string
		want   Route // zero: none
	}{
		{"empty table", nil, "192.0.2.1", Route{}},
		{"default", all, "8.8.8.8", default4},
		{"default of the other family", all, "2001:db8:2::1", default6},
		{"no default for this family", []Route{default4}, "2001:db8::1", Route{}},
		{"longer than the default", all, "172.17.0.1", wide},
		{"lowest metric, whatever the order", all, "172.16.1.7", site},
		{"same metric: the first added", []Route{siteTwin, site}, "172.16.1.7", siteTwin},
		{"worse metric of a longer prefix", []Route{wide, siteWorse}, "172.16.1.7", siteWorse},
		{"unreachable is a route", all, "172.16.9.1", hole},
		{"host route", all, "172.16.1.1", host},
		{"last address of a prefix", all, "172.31.255.255", wide},
		{"first address after it", all, "172.32.0.0", default4},
		{"IPv6 below 64 bits", all, "2001:db8:1:ffff::1", site6},
		{"a zone is ignored", all, "2001:db8:1::1%eth0", site6},
		{"a mapped address is not IPv4", all, "::ffff:172.16.1.1", default6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tableOf(tt.routes...).lookup(netip.MustParseAddr(tt.addr))
			if ok != tt.want.Prefix.IsValid() {
				t.Errorf("found: %v", ok)
			}
			if diff := cmp.Diff(tt.want, got, compareNetip); diff != "" {
				t.Errorf("lookup(%s) (-want +got):\n%s", tt.addr, diff)
			}
		})
	}
	if r, ok := tableOf(all...).lookup(netip.Addr{}); ok {
		t.Errorf("the zero address has route %v", r)
	}
}

func TestAddReplacesTheSameRouteInItsPlace(t *testing.T) {
	first := routeVia("10.1.0.0/16", "10.0.0.1", "a", 5)
	second := routeVia("10.1.0.0/16", "10.0.0.2", "a", 5)
	table := tableOf(first, second)
	changed := first
	changed.Local = true
	changed.Prefix = netip.MustParsePrefix("10.1.2.3/16") // names the same prefix
	table.add(changed)
	if table.len() != 2 {
		t.Fatalf("%d routes, want 2", table.len())
	}
	changed.Prefix = first.Prefix
	if diff := cmp.Diff([]Route{changed, second}, slices.Collect(table.inside(first.Prefix)), compareNetip); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestRemoveTakesOnlyTheRouteItNames(t *testing.T) {
	kept := routeVia("10.1.0.0/16", "10.0.0.1", "a", 5)
	for _, other := range []Route{
		routeVia("10.1.0.0/17", "10.0.0.1", "a", 5),
		routeVia("10.0.0.0/15", "10.0.0.1", "a", 5),
		routeVia("10.1.0.0/16", "10.0.0.1", "a", 6),
		routeVia("10.1.0.0/16", "10.0.0.2", "a", 5),
		routeVia("10.1.0.0/16", "10.0.0.1", "b", 5),
		routeVia("a01::/16", "10.0.0.1", "a", 5),
		{},
	} {
		table := tableOf(kept)
		table.remove(other)
		if table.len() != 1 {
			t.Errorf("removing %v took %v", other, kept)
		}
		table.add(other)
		table.remove(other)
		if diff := cmp.Diff([]Route{kept}, slices.Collect(table.inside(netip.MustParsePrefix("0.0.0.0/0"))), compareNetip); diff != "" {
			t.Errorf("after adding and removing %v (-want +got):\n%s", other, diff)
		}
	}
	table := tableOf(kept)
	local := kept
	local.Local = true // is no part of a route's name
	table.remove(local)
	if r, ok := table.lookup(kept.Prefix.Addr()); ok {
		t.Errorf("%v is still there", r)
	}
}

// Two prefixes that part make a fork in the trie; a route for just that prefix is like any other.
func TestARouteWhereOthersPart(t *testing.T) {
	for _, tt := range []struct{ low, high, fork string }{
		{"10.0.0.4/30", "10.0.0.8/30", "10.0.0.0/28"},
		{"2001:db8:0:7::/64", "2001:db8:0:9::/64", "2001:db8::/60"},
		{"2001:db8::ff:1/128", "2001:db8::ff:2/128", "2001:db8::ff:0/126"},
		{"2001:db8::7fff:0:0:1/128", "2001:db8::ffff:0:0:1/128", "2001:db8::/64"},
	} {
		low, high, fork := routeVia(tt.low, "", "low", 0), routeVia(tt.high, "", "high", 0), routeVia(tt.fork, "", "fork", 0)
		// high comes last, so that the fork is made from its bits.
		table := tableOf(low, high, fork)
		if diff := cmp.Diff([]Route{fork, low, high}, slices.Collect(table.inside(fork.Prefix)), compareNetip); diff != "" {
			t.Errorf("inside(%s) (-want +got):\n%s", tt.fork, diff)
		}
		table.remove(fork)
		if diff := cmp.Diff([]Route{low, high}, slices.Collect(table.inside(fork.Prefix)), compareNetip); diff != "" {
			t.Errorf("without %s (-want +got):\n%s", tt.fork, diff)
		}
	}
}

func TestAnInvalidPrefixIsIgnored(t *testing.T) {
	var table routeTable
	table.add(Route{Device: "a"})
	if table.len() != 0 {
		t.Errorf("%d routes", table.len())
	}
	for r := range table.inside(netip.Prefix{}) {
		t.Errorf("yields %v", r)
	}
}

func TestResetForgetsEverything(t *testing.T) {
	r := routeVia("10.1.0.0/16", "", "a", 0)
	table := tableOf(r)
	table.reset()
	if _, ok := table.lookup(r.Prefix.Addr()); ok || table.len() != 0 {
		t.Error("a route outlived reset")
	}
	table.add(r)
	if _, ok := table.lookup(r.Prefix.Addr()); !ok {
		t.Error("a table that was reset takes no route")
	}
}

// RFC 2332 §6.3: an answer for a prefix must not take in a more specific route than the one that it was made from.
func TestWidestHidesNoMoreSpecificRoute(t *testing.T) {
	def := routeVia("0.0.0.0/0", "192.0.2.1", "eth0", 0)
	site := routeVia("172.16.0.0/16", "", "lan0", 0)
	tests := []struct {
		name   string
		routes []Route
		addr   string
		within string
		want   string
	}{
		{"nothing else: the route's prefix", []Route{site}, "172.16.5.1", "0.0.0.0/0", "172.16.0.0/16"},
		{"nothing else: within", []Route{site}, "172.16.5.1", "172.16.4.0/22", "172.16.4.0/22"},
		{"within is masked", []Route{site}, "172.16.5.1", "172.16.5.9/22", "172.16.4.0/22"},
		{"wider routes do not matter", []Route{def, site}, "172.16.5.1", "0.0.0.0/0", "172.16.0.0/16"},
		{"another route of the same prefix does not matter", []Route{site, routeVia("172.16.0.0/16", "", "lan1", 9)}, "172.16.5.1", "0.0.0.0/0", "172.16.0.0/16"},
		{"a far subnet halves", []Route{site, routeVia("172.16.200.0/24", "10.0.0.1", "x", 0)}, "172.16.5.1", "0.0.0.0/0", "172.16.0.0/17"},
		{"a near subnet narrows", []Route{site, routeVia("172.16.4.0/24", "10.0.0.1", "x", 0)}, "172.16.5.1", "0.0.0.0/0", "172.16.5.0/24"},
		{"the nearest of several counts", []Route{site, routeVia("172.16.200.0/24", "", "x", 0), routeVia("172.16.7.0/24", "", "x", 0)}, "172.16.5.1", "0.0.0.0/0", "172.16.4.0/23"},
		{"a subnet outside within does not matter", []Route{site, routeVia("172.16.200.0/24", "", "x", 0)}, "172.16.5.1", "172.16.0.0/20", "172.16.0.0/20"},
		{"the neighbouring host", []Route{site, routeVia("172.16.5.0/32", "", "x", 0)}, "172.16.5.1", "0.0.0.0/0", "172.16.5.1/32"},
		{"a host route of its own", []Route{site, routeVia("172.16.5.1/32", "", "x", 0)}, "172.16.5.1", "0.0.0.0/0", "172.16.5.1/32"},
		{"the default route around a site", []Route{def, site}, "172.17.0.1", "0.0.0.0/0", "172.17.0.0/16"},
		{"no route for the address", []Route{site}, "172.17.0.1", "172.0.0.0/8", "172.17.0.0/16"},
		{"an empty table", nil, "172.17.0.1", "172.0.0.0/8", "172.0.0.0/8"},
		{"IPv6", []Route{routeVia("2001:db8::/32", "", "a", 0), routeVia("2001:db8:0:1::/64", "", "b", 0)}, "2001:db8::1%x", "::/0", "2001:db8::/64"},
		{"IPv6 beyond 64 bits", []Route{routeVia("2001:db8::/32", "", "a", 0), routeVia("2001:db8::2/128", "", "b", 0)}, "2001:db8::1", "::/0", "2001:db8::/127"},
		{"the address is not within", []Route{site}, "172.16.5.1", "172.17.0.0/16", ""},
		{"within is of the other family", []Route{site}, "172.16.5.1", "::/0", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want netip.Prefix
			if tt.want != "" {
				want = netip.MustParsePrefix(tt.want)
			}
			got := tableOf(tt.routes...).widest(netip.MustParseAddr(tt.addr), netip.MustParsePrefix(tt.within))
			if got != want {
				t.Errorf("widest(%s, %s) = %v, want %v", tt.addr, tt.within, got, want)
			}
		})
	}
}

func TestInsideYieldsInOrderOfPrefix(t *testing.T) {
	table := tableOf(
		routeVia("10.2.0.0/16", "", "f", 0),
		routeVia("10.1.128.0/17", "", "e", 0),
		routeVia("10.1.0.0/24", "", "d", 0),
		routeVia("10.1.0.0/16", "", "c", 7),
		routeVia("10.1.0.0/16", "", "b", 3),
		routeVia("10.0.0.0/8", "", "a", 0),
		routeVia("a01::/16", "", "v6", 0),
	)
	for _, tt := range []struct{ prefix, want string }{
		{"10.1.0.0/16", "b c d e "},
		{"10.1.9.9/16", "b c d e "},
		{"10.1.0.0/17", "d "},
		{"0.0.0.0/0", "a b c d e f "},
		{"10.2.0.0/15", "f "},
		{"10.3.0.0/16", ""},
		{"10.2.0.0/17", ""},
		{"::/0", "v6 "},
	} {
		got := ""
		for r := range table.inside(netip.MustParsePrefix(tt.prefix)) {
			got += r.Device + " "
		}
		if got != tt.want {
			t.Errorf("inside(%s) = %q, want %q", tt.prefix, got, tt.want)
		}
	}
	for r := range table.inside(netip.MustParsePrefix("10.1.0.0/16")) {
		if r.Device != "b" {
			t.Fatal("yields after a break")
		}
		break
	}
}

// routeModel is the specification of routeTable: routes in the order they were added in.
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
		return h.Prefix == r.Prefix.Masked() && h.Metric == r.Metric && h.NextHop == r.NextHop && h.Device == r.Device
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
		return netip.AddrFrom16([16]byte{0: 10, 1: few.Draw(t, "b1"), 7: few.Draw(t, "b7"), 8: part.Draw(t, "b8"), 15: part.Draw(t, "b15")})
	})
}

func nearPrefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := nearAddr().Draw(t, "addr")
		return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
	})
}

func nearRoute() *rapid.Generator[Route] {
	return rapid.Custom(func(t *rapid.T) Route {
		return Route{
			Prefix:  nearPrefix().Draw(t, "prefix"),
			NextHop: rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")}).Draw(t, "next hop"),
			Device:  rapid.SampledFrom([]string{"", "eth0", "gre1"}).Draw(t, "device"),
			Local:   rapid.Bool().Draw(t, "local"),
			Metric:  uint32(rapid.IntRange(0, 2).Draw(t, "metric")),
		}
	})
}

func TestRouteTableDoesWhatItsModelDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var table routeTable
		var model routeModel
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				r := nearRoute().Draw(rt, "route")
				table.add(r)
				model.add(r)
			},
			"add another of a known prefix": func(rt *rapid.T) {
				if len(model) == 0 {
					rt.Skip("no route yet")
				}
				r := nearRoute().Draw(rt, "route")
				r.Prefix = rapid.SampledFrom(model).Draw(rt, "known").Prefix
				table.add(r)
				model.add(r)
			},
			"remove": func(rt *rapid.T) {
				if len(model) == 0 {
					rt.Skip("no route yet")
				}
				r := rapid.SampledFrom(model).Draw(rt, "known")
				table.remove(r)
				model.remove(r)
			},
			"remove unknown": func(rt *rapid.T) {
				r := nearRoute().Draw(rt, "route")
				table.remove(r)
				model.remove(r)
			},
			"lookup": func(rt *rapid.T) {
				a := nearAddr().Draw(rt, "addr")
				got, ok := table.lookup(a)
				want, wantOK := model.lookup(a)
				if got != want || ok != wantOK {
					rt.Fatalf("lookup(%s) = %v, %v; want %v, %v", a, got, ok, want, wantOK)
				}
			},
			"widest": func(rt *rapid.T) {
				a := nearAddr().Draw(rt, "addr")
				bound := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(rt, "bits"))
				if got, want := table.widest(a, bound), model.widest(a, bound); got != want {
					rt.Fatalf("widest(%s, %s) = %v, want %v", a, bound, got, want)
				}
			},
			"inside": func(rt *rapid.T) {
				p := nearPrefix().Draw(rt, "prefix")
				if diff := cmp.Diff(model.inside(p), slices.Collect(table.inside(p)), compareNetip); diff != "" {
					rt.Fatalf("inside(%s) (-want +got):\n%s", p, diff)
				}
			},
			"": func(rt *rapid.T) { checkRouteTable(rt, &table, model) },
		})
		for _, r := range slices.Clone(model) {
			table.remove(r)
			model.remove(r)
		}
		checkRouteTable(rt, &table, model)
	})
}

// checkRouteTable proves that every element of the table is in use or free, that forks fork, and that hops are counted right.
func checkRouteTable(rt *rapid.T, table *routeTable, model routeModel) {
	if table.len() != len(model) {
		rt.Fatalf("%d routes, want %d", table.len(), len(model))
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
	if nodes != len(table.nodes) || paths != len(table.paths) || hops != max(len(table.hops), 1) || len(table.ids) != len(refs) {
		rt.Fatalf("in use and free: %d of %d nodes, %d of %d paths, %d of %d hops", nodes, len(table.nodes), paths, len(table.paths), hops, len(table.hops))
	}
}

func TestRouteLookupsDoNotAllocate(t *testing.T) {
	table := tableOf(routeVia("10.0.0.0/8", "10.0.0.1", "a", 0), routeVia("2001:db8::/32", "fe80::1", "a", 0))
	for _, s := range []string{"10.1.2.3", "2001:db8::1", "192.0.2.1"} {
		a := netip.MustParseAddr(s)
		host := netip.PrefixFrom(a, 8)
		if n := testing.AllocsPerRun(100, func() {
			table.lookup(a)
			table.widest(a, host)
		}); n != 0 {
			t.Errorf("looking up %s allocates %v times", s, n)
		}
	}
}

// manyRoutes is like a full Internet table: four in five are IPv4, most of them /24, the others /48 and shorter, over 200 next hops.
func manyRoutes(n int) []Route {
	rnd := rand.New(rand.NewPCG(1, 2))
	seen := make(map[netip.Prefix]bool, n)
	routes := make([]Route, 0, n)
	for len(routes) < n {
		var p netip.Prefix
		if rnd.IntN(5) > 0 {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], rnd.Uint32()%0xe0000000)
			p = netip.PrefixFrom(netip.AddrFrom4(b), 24-max(0, rnd.IntN(16)-8))
		} else {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:], 0x2000_0000_0000_0000|rnd.Uint64()>>3)
			p = netip.PrefixFrom(netip.AddrFrom16(b), 48-max(0, rnd.IntN(32)-16))
		}
		p = p.Masked()
		if seen[p] {
			continue
		}
		seen[p] = true
		hop := rnd.IntN(200)
		routes = append(routes, Route{
			Prefix:  p,
			NextHop: netip.AddrFrom4([4]byte{10, 255, 0, byte(hop)}),
			Device:  fmt.Sprintf("gre%d", hop%4),
		})
	}
	return routes
}

func BenchmarkRouteTableFill1M(b *testing.B) {
	routes := manyRoutes(1_000_000)
	b.ReportAllocs()
	var before, after runtime.MemStats
	var table *routeTable
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		table = tableOf(routes...)
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(table.len()), "B/route")
}

func BenchmarkRouteTable1M(b *testing.B) {
	routes := manyRoutes(1_000_000)
	table := tableOf(routes...)
	bench := func(name string, f func(r Route)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f(routes[i*7919%len(routes)])
			}
		})
	}
	bench("lookup", func(r Route) { table.lookup(r.Prefix.Addr()) })
	bench("widest", func(r Route) {
		a := r.Prefix.Addr()
		table.widest(a, netip.PrefixFrom(a, 0))
	})
	bench("replace", func(r Route) {
		table.remove(r)
		table.add(r)
	})
	bench("inside", func(r Route) {
		for range table.inside(r.Prefix) {
		}
	})
}
