//go:build lab

package tunnel

import (
	"net"
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"

	"github.com/google/go-cmp/cmp"
)

// LookAround finds what others set up around a tunnel: a default route through the tunnel, which
// includes the way to a peer, a routing protocol that uses multicast, path MTU discovery, and a
// VRF.
func TestSurroundings(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "route add default via 198.51.100.254")
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64 nopmtudisc ignore-df")
	kerneltest.IP(t, "addr add 10.255.0.1/24 dev gre1")
	kerneltest.IP(t, "link set gre1 up")
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

	kerneltest.IP(t, "route replace default via 10.255.0.9 dev gre1")
	finds("a default route through the tunnel", Surroundings{Turned: []netip.Addr{far}})
	kerneltest.IP(t, "route add default via 198.51.100.254 table 100")
	kerneltest.IP(t, "rule add from 198.51.100.1 lookup 100 pref 100")
	finds("with a rule for the local address", Surroundings{})
	kerneltest.IP(t, "rule del pref 100")
	kerneltest.IP(t, "route del default")
	finds("without a route", Surroundings{})

	kerneltest.IP(t, "-6 route add 2001:db8:2::/48 via fe80::5efe:c000:20b dev gre1")
	kerneltest.IP(t, "-6 route add 2001:db8:3::/48 via fe80::5efe:c000:20b dev gre1")
	kerneltest.IP(t, "-6 route add 2001:db8:4::/48 dev gre1")
	finds("link-local next hops", Surroundings{Hops: []Hop{
		{netip.MustParsePrefix("2001:db8:2::/48"), netip.MustParseAddr("fe80::5efe:c000:20b")},
	}})
	kerneltest.IP(t, "-6 route flush root 2001:db8::/32 table all")

	device, err := net.InterfaceByName("gre1")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenMulticastUDP("udp4", device, &net.UDPAddr{
		IP:   net.IPv4(224, 0, 0, 5),
		Port: 89,
	})
	if err != nil {
		t.Fatal(err)
	}
	finds("OSPF's group", Surroundings{Groups: []netip.Addr{netip.MustParseAddr("224.0.0.5")}})
	conn.Close()

	kerneltest.IP(t, "link add blue type vrf table 10")
	kerneltest.IP(t, "link set blue up")
	kerneltest.IP(t, "link set gre1 master blue")
	finds("a VRF", Surroundings{VRF: "blue"})

	kerneltest.IP(t, "link del gre1")
	finds("no device", Surroundings{})
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	finds("path MTU discovery", Surroundings{Discard: true})
}
