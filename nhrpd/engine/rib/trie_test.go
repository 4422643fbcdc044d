package rib

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareNetip = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func routeVia(prefix, nextHop, device string, metric uint32) Route {
	r := Route{Prefix: netip.MustParsePrefix(prefix), Device: device, Metric: metric}
	if nextHop != "" {
		r.NextHop = netip.MustParseAddr(nextHop)
	}
	return r
}

func tableOf(routes ...Route) *Trie {
	t := &Trie{}
	for _, r := range routes {
		t.Add(r)
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
		host      = Route{
			Prefix: netip.MustParsePrefix("172.16.1.1/32"), Device: "lan0", Local: true,
		}
		site6 = routeVia("2001:db8:1::/48", "2001:db8:ffff::1", "gre1", 0)
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
			got, ok := tableOf(tt.routes...).Lookup(netip.MustParseAddr(tt.addr))
			if ok != tt.want.Prefix.IsValid() {
				t.Errorf("found: %v", ok)
			}
			if diff := cmp.Diff(tt.want, got, compareNetip); diff != "" {
				t.Errorf("lookup(%s) (-want +got):\n%s", tt.addr, diff)
			}
		})
	}
	if r, ok := tableOf(all...).Lookup(netip.Addr{}); ok {
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
	table.Add(changed)
	if table.Len() != 2 {
		t.Fatalf("%d routes, want 2", table.Len())
	}
	changed.Prefix = first.Prefix
	got := slices.Collect(table.Inside(first.Prefix))
	if diff := cmp.Diff([]Route{changed, second}, got, compareNetip); diff != "" {
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
		table.Remove(other)
		if table.Len() != 1 {
			t.Errorf("removing %v took %v", other, kept)
		}
		table.Add(other)
		table.Remove(other)
		got := slices.Collect(table.Inside(netip.MustParsePrefix("0.0.0.0/0")))
		if diff := cmp.Diff([]Route{kept}, got, compareNetip); diff != "" {
			t.Errorf("after adding and removing %v (-want +got):\n%s", other, diff)
		}
	}
	table := tableOf(kept)
	local := kept
	local.Local = true // is no part of a route's name
	table.Remove(local)
	if r, ok := table.Lookup(kept.Prefix.Addr()); ok {
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
		low, high := routeVia(tt.low, "", "low", 0), routeVia(tt.high, "", "high", 0)
		fork := routeVia(tt.fork, "", "fork", 0)
		// high comes last, so that the fork is made from its bits.
		table := tableOf(low, high, fork)
		got := slices.Collect(table.Inside(fork.Prefix))
		if diff := cmp.Diff([]Route{fork, low, high}, got, compareNetip); diff != "" {
			t.Errorf("inside(%s) (-want +got):\n%s", tt.fork, diff)
		}
		table.Remove(fork)
		got = slices.Collect(table.Inside(fork.Prefix))
		if diff := cmp.Diff([]Route{low, high}, got, compareNetip); diff != "" {
			t.Errorf("without %s (-want +got):\n%s", tt.fork, diff)
		}
	}
}

func TestAnInvalidPrefixIsIgnored(t *testing.T) {
	var table Trie
	table.Add(Route{Device: "a"})
	if table.Len() != 0 {
		t.Errorf("%d routes", table.Len())
	}
	for r := range table.Inside(netip.Prefix{}) {
		t.Errorf("yields %v", r)
	}
}

func TestResetForgetsEverything(t *testing.T) {
	r := routeVia("10.1.0.0/16", "", "a", 0)
	table := tableOf(r)
	table.Reset()
	if _, ok := table.Lookup(r.Prefix.Addr()); ok || table.Len() != 0 {
		t.Error("a route outlived reset")
	}
	table.Add(r)
	if _, ok := table.Lookup(r.Prefix.Addr()); !ok {
		t.Error("a table that was reset takes no route")
	}
}

// RFC 2332 §6.3: an answer for a prefix must not take in a more specific route than the one that it
// was made from.
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
		{"nothing else: the route's prefix",
			[]Route{site},
			"172.16.5.1", "0.0.0.0/0", "172.16.0.0/16"},
		{"nothing else: within", []Route{site}, "172.16.5.1", "172.16.4.0/22", "172.16.4.0/22"},
		{"within is masked", []Route{site}, "172.16.5.1", "172.16.5.9/22", "172.16.4.0/22"},
		{"wider routes do not matter",
			[]Route{def, site},
			"172.16.5.1", "0.0.0.0/0", "172.16.0.0/16"},
		{"another route of the same prefix does not matter",
			[]Route{site, routeVia("172.16.0.0/16", "", "lan1", 9)},
			"172.16.5.1", "0.0.0.0/0", "172.16.0.0/16"},
		{"a far subnet halves",
			[]Route{site, routeVia("172.16.200.0/24", "10.0.0.1", "x", 0)},
			"172.16.5.1", "0.0.0.0/0", "172.16.0.0/17"},
		{"a near subnet narrows",
			[]Route{site, routeVia("172.16.4.0/24", "10.0.0.1", "x", 0)},
			"172.16.5.1", "0.0.0.0/0", "172.16.5.0/24"},
		{"the nearest of several counts",
			[]Route{site, routeVia("172.16.200.0/24", "", "x", 0),
				routeVia("172.16.7.0/24", "", "x", 0)},
			"172.16.5.1", "0.0.0.0/0", "172.16.4.0/23"},
		{"a subnet outside within does not matter",
			[]Route{site, routeVia("172.16.200.0/24", "", "x", 0)},
			"172.16.5.1", "172.16.0.0/20", "172.16.0.0/20"},
		{"the neighbouring host",
			[]Route{site, routeVia("172.16.5.0/32", "", "x", 0)},
			"172.16.5.1", "0.0.0.0/0", "172.16.5.1/32"},
		{"a host route of its own",
			[]Route{site, routeVia("172.16.5.1/32", "", "x", 0)},
			"172.16.5.1", "0.0.0.0/0", "172.16.5.1/32"},
		{"the default route around a site",
			[]Route{def, site},
			"172.17.0.1", "0.0.0.0/0", "172.17.0.0/16"},
		{"no route for the address", []Route{site}, "172.17.0.1", "172.0.0.0/8", "172.17.0.0/16"},
		{"an empty table", nil, "172.17.0.1", "172.0.0.0/8", "172.0.0.0/8"},
		{"IPv6",
			[]Route{routeVia("2001:db8::/32", "", "a", 0),
				routeVia("2001:db8:0:1::/64", "", "b", 0)},
			"2001:db8::1%x", "::/0", "2001:db8::/64"},
		{"IPv6 beyond 64 bits",
			[]Route{routeVia("2001:db8::/32", "", "a", 0), routeVia("2001:db8::2/128", "", "b", 0)},
			"2001:db8::1", "::/0", "2001:db8::/127"},
		{"the address is not within", []Route{site}, "172.16.5.1", "172.17.0.0/16", ""},
		{"within is of the other family", []Route{site}, "172.16.5.1", "::/0", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want netip.Prefix
			if tt.want != "" {
				want = netip.MustParsePrefix(tt.want)
			}
			addr, within := netip.MustParseAddr(tt.addr), netip.MustParsePrefix(tt.within)
			got := tableOf(tt.routes...).Widest(addr, within)
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
		for r := range table.Inside(netip.MustParsePrefix(tt.prefix)) {
			got += r.Device + " "
		}
		if got != tt.want {
			t.Errorf("inside(%s) = %q, want %q", tt.prefix, got, tt.want)
		}
	}
	for r := range table.Inside(netip.MustParsePrefix("10.1.0.0/16")) {
		if r.Device != "b" {
			t.Fatal("yields after a break")
		}
		break
	}
}

func TestRouteLookupsDoNotAllocate(t *testing.T) {
	table := tableOf(
		routeVia("10.0.0.0/8", "10.0.0.1", "a", 0),
		routeVia("2001:db8::/32", "fe80::1", "a", 0),
	)
	for _, s := range []string{"10.1.2.3", "2001:db8::1", "192.0.2.1"} {
		a := netip.MustParseAddr(s)
		host := netip.PrefixFrom(a, 8)
		if n := testing.AllocsPerRun(100, func() {
			table.Lookup(a)
			table.Widest(a, host)
		}); n != 0 {
			t.Errorf("looking up %s allocates %v times", s, n)
		}
	}
}
