//go:build lab

package tunnel

import (
	"net"
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"

	"github.com/google/go-cmp/cmp"
)

// FindSurroundings finds what others set up around a tunnel: a default route through the tunnel,
// which includes the way to a peer, a routing protocol that uses multicast, path MTU discovery, and
// a VRF.
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
	outer := []netip.Addr{near, far, netip.MustParseAddr("2001:db8::2")}
	underlay := UnderlayConfig{Device: "under0"}
	finds := func(step string, want Surroundings) {
		t.Helper()
		got, err := FindSurroundings("gre1", underlay, outer)
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if diff := cmp.Diff(want, got, byValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	finds("as it should be", Surroundings{})

	kerneltest.IP(t, "route replace default via 10.255.0.9 dev gre1")
	finds("a default route through the tunnel", Surroundings{Turned: []Turned{
		{far, "gre1", netip.MustParsePrefix("0.0.0.0/0"), "by hand or a script"},
	}})
	kerneltest.IP(t, "route add 203.0.113.0/24 via 10.255.0.9 dev gre1 proto bgp")
	finds("a narrower one, by BGP", Surroundings{Turned: []Turned{
		{far, "gre1", netip.MustParsePrefix("203.0.113.0/24"), "by BGP of FRR"},
	}})
	kerneltest.IP(t, "route del 203.0.113.0/24")
	kerneltest.IP(t, "route add default via 198.51.100.254 table 100")
	kerneltest.IP(t, "rule add from 198.51.100.1 lookup 100 pref 100")
	finds("with a rule for the local address", Surroundings{})
	kerneltest.IP(t, "rule del pref 100")
	kerneltest.IP(t, "route del default")
	finds("without a route", Surroundings{})

	far6 := netip.MustParseAddr("2001:db8:1::2")
	outer = append(outer, far6)
	kerneltest.IP(t, "addr add 2001:db8::1/64 dev under0 nodad")
	kerneltest.IP(t, "-6 route add 2001:db8:1::/48 dev gre1 proto bgp")
	finds("a route of IPv6 through the tunnel", Surroundings{Turned: []Turned{
		{far6, "gre1", netip.MustParsePrefix("2001:db8:1::/48"), "by BGP of FRR"},
	}})
	kerneltest.IP(t, "-6 route add default dev under0 table 100")
	kerneltest.IP(t, "-6 rule add from 2001:db8::1 lookup 100 pref 100")
	finds("with a rule for the IPv6 address", Surroundings{})
	kerneltest.IP(t, "-6 rule del pref 100")
	kerneltest.IP(t, "-6 route flush root 2001:db8:1::/48 table all")
	kerneltest.IP(t, "addr del 2001:db8::1/64 dev under0")

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
	kerneltest.IP(t, "link set gre1 master blue")
	finds("a VRF that is down", Surroundings{VRF: VRF{Name: "blue", Table: 10, Down: true}})
	kerneltest.IP(t, "link set blue up")
	finds("a VRF", Surroundings{VRF: VRF{Name: "blue", Table: 10}})
	for _, family := range []string{"", "-6 "} {
		kerneltest.IP(t, family+"route add default dev under0")

		finds(family+"a default route outside", Surroundings{
			VRF: VRF{Name: "blue", Table: 10, Leaks: true},
		})
		kerneltest.IP(t, family+"route add vrf blue unreachable default metric 4278198272")
		finds(family+"one in the VRF", Surroundings{VRF: VRF{Name: "blue", Table: 10}})
	}
	if table, err := VRFTable("blue"); table != 10 || err != nil {
		t.Errorf("blue has table %d, %v", table, err)
	}
	if table, err := VRFTable("red"); table != 0 || err != nil {
		t.Errorf("a VRF that is not there has table %d, %v", table, err)
	}

	kerneltest.IP(t, "link del gre1")
	finds("no device", Surroundings{})
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	finds("path MTU discovery", Surroundings{Discard: true})
}
