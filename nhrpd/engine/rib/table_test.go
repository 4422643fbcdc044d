package rib

import (
	"net/netip"
	"testing"
)

// site is the table of a router with a LAN, a tunnel, a client's prefix and a router's host route.
func site() *Table {
	t := &Table{}
	for _, r := range []Route{
		routeVia("0.0.0.0/0", "192.0.2.254", "eth0", 0),
		routeVia("172.16.1.0/24", "", "lan0", 0),
		routeVia("172.16.0.0/12", "10.255.0.1", "gre1", 0),
		{Prefix: netip.MustParsePrefix("172.16.1.1/32"), Device: "lan0", Local: true},
		{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Device: "lo", Local: true},
	} {
		t.Add(r)
	}
	t.Announced.Add(routeVia("172.16.2.0/24", "10.255.0.12", "gre1", 0))
	t.Announced.Add(routeVia("172.16.1.0/24", "10.255.0.12", "gre1", 0)) // the kernel's counts
	t.Routers.Add(routeVia("10.255.0.12/32", "", "gre1", 0))
	return t
}

func TestLookupTakesTheLongestMatchOverAll(t *testing.T) {
	for _, tt := range []struct{ addr, prefix, nextHop string }{
		{"172.16.1.9", "172.16.1.0/24", "invalid IP"},
		{"172.16.1.1", "172.16.1.0/24", "invalid IP"}, // an own address is no route for others
		{"172.16.2.9", "172.16.2.0/24", "10.255.0.12"},
		{"172.16.3.9", "172.16.0.0/12", "10.255.0.1"},
		{"10.255.0.12", "10.255.0.12/32", "invalid IP"},
		{"10.255.0.13", "0.0.0.0/0", "192.0.2.254"},
	} {
		r, ok := site().Lookup(netip.MustParseAddr(tt.addr))
		if !ok || r.Prefix.String() != tt.prefix || r.NextHop.String() != tt.nextHop {
			t.Errorf("want %s by %s via %s, have %+v", tt.addr, tt.prefix, tt.nextHop, r)
		}
	}
	if r, ok := site().Lookup(netip.MustParseAddr("2001:db8::1")); ok {
		t.Errorf("want no route for an address of the other family, have %+v", r)
	}
}

func TestKernelRoutesAlone(t *testing.T) {
	table := site()
	r, ok := table.KernelLookup(netip.MustParseAddr("172.16.2.9"))
	if !ok || r.Prefix.Bits() != 12 {
		t.Errorf("want the kernel's /12 beneath the announced prefix, have %+v", r)
	}
	for prefix, want := range map[string]int{"172.16.1.0/24": 24, "172.16.1.0/32": 24,
		"172.16.2.0/24": 12, "10.0.0.0/8": 0} {
		r, ok := table.KernelEnclosing(netip.MustParsePrefix(prefix))
		if !ok || r.Prefix.Bits() != want {
			t.Errorf("want a /%d around %s, have %+v", want, prefix, r)
		}
	}
	for r := range table.ConnectedInside(netip.MustParsePrefix("172.0.0.0/8")) {
		if r.Device != "lan0" || r.Prefix.Bits() != 24 {
			t.Errorf("want the LAN alone, have %+v", r)
		}
	}
	for r := range table.OwnInside(netip.MustParsePrefix("0.0.0.0/0")) {
		if r.Prefix.String() != "172.16.1.1/32" {
			t.Errorf("want this host's address alone, have %+v", r)
		}
	}
}

func TestIsLocal(t *testing.T) {
	for addr, want := range map[string]bool{"172.16.1.1": true, "127.0.0.9": true,
		"172.16.1.9": false, "10.255.0.12": false} {
		if got := site().IsLocal(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s delivered to this host: %v, want %v", addr, got, want)
		}
	}
}

// Nobody may answer for a prefix that hides a more specific route (RFC 2332 §6.3).
func TestAnswerableHidesNoRoute(t *testing.T) {
	for dest, want := range map[string]string{
		"172.16.1.9":  "172.16.1.0/24", // our own address inside it does not narrow it
		"172.16.3.9":  "172.16.3.0/24", // beside the announced 172.16.2.0/24
		"192.168.1.1": "192.168.1.1/32",
		"2001:db8::1": "2001:db8::1/128",
	} {
		if got := site().Answerable(netip.MustParseAddr(dest)); got.String() != want {
			t.Errorf("want %s answered for %s, have %s", want, dest, got)
		}
	}
}

func TestNarrowCoversNeitherRoutesNorOurselves(t *testing.T) {
	for _, tt := range []struct{ dest, prefix, led, want string }{
		{"172.20.0.9", "172.20.0.0/16", "172.16.0.0/12", "172.20.0.0/16"},
		{"172.20.0.9", "172.0.0.0/8", "172.16.0.0/12", "172.20.0.0/14"}, // the sites' routes
		{"172.16.3.9", "172.16.0.0/16", "172.16.0.0/12", "172.16.3.0/24"},
		{"172.16.1.9", "172.16.1.0/24", "172.16.1.0/24", "172.16.1.8/29"}, // 172.16.1.1 is ours
	} {
		got := site().Narrow(netip.MustParseAddr(tt.dest), netip.MustParsePrefix(tt.prefix),
			netip.MustParsePrefix(tt.led))
		if got.String() != tt.want {
			t.Errorf("want %s narrowed to %s, have %s", tt.prefix, tt.want, got)
		}
	}
}

func TestResetKeepsOurOwnRoutes(t *testing.T) {
	table := site()
	table.Remove(routeVia("172.16.1.0/24", "", "lan0", 0))
	r, _ := table.Lookup(netip.MustParseAddr("172.16.1.9"))
	if r.NextHop.String() != "10.255.0.12" {
		t.Errorf("want the announced prefix once the kernel's route is gone, have %+v", r)
	}
	for range table.ConnectedInside(netip.MustParsePrefix("172.0.0.0/8")) {
		t.Error("the LAN's route is connected still")
	}
	table.Reset()
	if !table.Empty() || table.IsLocal(netip.MustParseAddr("172.16.1.1")) {
		t.Error("the kernel's routes are still there after a reset")
	}
	if r, ok := table.Lookup(netip.MustParseAddr("172.16.2.9")); !ok || r.Prefix.Bits() != 24 {
		t.Errorf("want announced prefixes to outlive a reset, have %+v", r)
	}
}
