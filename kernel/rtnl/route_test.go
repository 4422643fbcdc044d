package rtnl

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Normal turns zero values into the values that the kernel shows for them, so that wanted routes
// can be compared with routes read from the kernel. In IPv6 the lowest metric is 1.
func TestRouteNormal(t *testing.T) {
	v4 := Route{Prefix: netip.MustParsePrefix("172.16.2.7/24")}.Normal()
	if v4.Table != 254 || v4.Metric != 0 || v4.Prefix != netip.MustParsePrefix("172.16.2.0/24") {
		t.Errorf("IPv4: %v", v4)
	}
	if v6 := (Route{
		Prefix: netip.MustParsePrefix("fd16::/48"),
		Table:  1000,
	}).Normal(); v6.Table != 1000 || v6.Metric != 1 {
		t.Errorf("IPv6: %v", v6)
	}
}

// addresses compares addresses and prefixes by their value.
var addresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func testNeighbor(protocol, nbma string) Neighbor {
	return Neighbor{"gre1", netip.MustParseAddr(protocol), netip.MustParseAddr(nbma)}
}

func testRoute(prefix, nextHop string) Route {
	return Route{
		Device: "gre1", Prefix: netip.MustParsePrefix(prefix),
		NextHop: netip.MustParseAddr(nextHop), Table: 254,
	}
}
