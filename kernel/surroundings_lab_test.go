//go:build lab

package kernel

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What others set up around a tunnel is found: a default route through it that takes the way to a
// peer along, a routing protocol that speaks by multicast, path MTU discovery, a VRF.
func TestSurroundings(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	underlay(t)
	ip(t, "route add default via 198.51.100.254")
	ip(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64 nopmtudisc ignore-df")
	ip(t, "addr add 10.255.0.1/24 dev gre1")
	ip(t, "link set gre1 up")
	near, far := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("203.0.113.2")
	finds := func(step string, want Surroundings) {
		t.Helper()
		got, err := LookAround("gre1", []netip.Addr{near, far, netip.MustParseAddr("2001:db8::2")})
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if diff := cmp.Diff(want, got, byValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	finds("as it should be", Surroundings{})

	ip(t, "route replace default via 10.255.0.9 dev gre1")
	finds("a default route through the tunnel", Surroundings{Turned: []netip.Addr{far}})
	ip(t, "route add default via 198.51.100.254 table 100")
	ip(t, "rule add from 198.51.100.1 lookup 100 pref 100")
	finds("with a rule for the local address", Surroundings{})
	ip(t, "rule del pref 100")
	ip(t, "route del default")
	finds("without a route", Surroundings{})

	ip(t, "-6 route add 2001:db8:2::/48 via fe80::5efe:c000:20b dev gre1")
	ip(t, "-6 route add 2001:db8:3::/48 via fe80::5efe:c000:20b dev gre1")
	ip(t, "-6 route add 2001:db8:4::/48 dev gre1")
	finds("link-local next hops", Surroundings{Hops: []Hop{
		{netip.MustParsePrefix("2001:db8:2::/48"), netip.MustParseAddr("fe80::5efe:c000:20b")},
	}})
	ip(t, "-6 route flush root 2001:db8::/32 table all")

	device, err := net.InterfaceByName("gre1")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenMulticastUDP("udp4", device, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 5), Port: 89})
	if err != nil {
		t.Fatal(err)
	}
	finds("OSPF's group", Surroundings{Groups: []netip.Addr{netip.MustParseAddr("224.0.0.5")}})
	conn.Close()

	ip(t, "link add blue type vrf table 10")
	ip(t, "link set blue up")
	ip(t, "link set gre1 master blue")
	finds("a VRF", Surroundings{VRF: "blue"})

	ip(t, "link del gre1")
	finds("no device", Surroundings{})
	ip(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	finds("path MTU discovery", Surroundings{Discard: true})
}
