package preflight

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
)

// For each of the surroundings that keeps traffic from a tunnel, a finding tells what it means and
// what to do.
func TestSurroundings(t *testing.T) {
	spoke := func(change func(*config.Interface)) config.Interface {
		i := config.Interface{
			Name:      "gre1",
			Protected: true,
			Admission: true,
			NHS:       []config.NHS{{NBMA: "192.0.2.1"}, {NBMA: "hub.example.net"}},
		}
		change(&i)
		return i
	}
	plain := func(*config.Interface) {}
	inBlue := func(i *config.Interface) { i.VRF, i.VRFTable, i.Table = "blue", true, 10 }
	blue := tunnel.VRF{Name: "blue", Table: 10}
	for name, c := range map[string]struct {
		i      config.Interface
		around tunnel.Surroundings
		want   []string // the severity, and what the text has
	}{
		"nothing": {spoke(plain), tunnel.Surroundings{}, nil},
		"a default route through the tunnel": {
			spoke(plain),
			tunnel.Surroundings{Turned: []tunnel.Turned{{
				Outer: netip.MustParseAddr("192.0.2.1"), Device: "gre1",
				Prefix: netip.MustParsePrefix("0.0.0.0/0"), By: "by BGP of FRR",
			}}},
			[]string{
				"error",
				"the route default (by BGP of FRR) swallows the way to 192.0.2.1",
				"into the tunnel gre1",
				"IKE included",
				"underlay_table = 100 in [interface.gre1]",
				"underlay_vrf",
				"ip route add 192.0.2.1/32",
			}},
		"a route that the kernel does not tell": {
			spoke(plain),
			tunnel.Surroundings{Turned: []tunnel.Turned{{
				Outer: netip.MustParseAddr("192.0.2.1"), Device: "gre1",
			}}},
			[]string{"error", "the route to 192.0.2.1 leads into the tunnel gre1"}},
		"a route, and a table of the underlay": {
			spoke(func(i *config.Interface) { i.UnderlayTable = 100 }),
			tunnel.Surroundings{Turned: []tunnel.Turned{{
				Outer: netip.MustParseAddr("192.0.2.1"), Device: "gre1",
				Prefix: netip.MustParsePrefix("192.0.0.0/8"), By: "by protocol number 77",
			}}},
			[]string{
				"error", "192.0.0.0/8 (by protocol number 77)",
				"ip route add default via GATEWAY table 100",
			}},
		"a route, and a VRF of the underlay": {
			spoke(func(i *config.Interface) { i.UnderlayVRF = "inet" }),
			tunnel.Surroundings{Turned: []tunnel.Turned{{
				Outer: netip.MustParseAddr("192.0.2.1"), Device: "gre1",
			}}},
			[]string{"error", "ip route add default via GATEWAY vrf inet"}},
		"a VRF that is not configured": {
			spoke(func(i *config.Interface) { i.Table = 254 }),
			tunnel.Surroundings{VRF: blue},
			[]string{"error", "in the VRF blue, which uses table 10", "in table 254",
				`set vrf = "blue"`, "ip link set gre1 nomaster"}},
		"a VRF that is not configured, but its table": {
			spoke(func(i *config.Interface) { i.Table = 10 }),
			tunnel.Surroundings{VRF: blue},
			[]string{"advice", "in the VRF blue", `set vrf = "blue"`}},
		"the VRF of the configuration": {spoke(inBlue), tunnel.Surroundings{VRF: blue}, nil},
		"another table than the VRF's": {
			spoke(func(i *config.Interface) { i.VRF, i.Table = "blue", 11 }),
			tunnel.Surroundings{VRF: blue},
			[]string{"error", "table is 11", "the VRF blue uses table 10", "remove table"}},
		"a VRF that is down": {
			spoke(inBlue),
			tunnel.Surroundings{VRF: tunnel.VRF{Name: "blue", Table: 10, Down: true}},
			[]string{"warning", "the VRF blue is down", "ip link set blue up"}},
		"a VRF that leaks": {
			spoke(inBlue),
			tunnel.Surroundings{VRF: tunnel.VRF{Name: "blue", Table: 10, Leaks: true}},
			[]string{"warning", "no route in the VRF blue leaves it",
				"ip route add vrf blue unreachable default"}},
		"a VRF with the table of host routes": {
			spoke(func(i *config.Interface) { inBlue(i); i.HostTable = 10 }),
			tunnel.Surroundings{VRF: blue},
			[]string{"error", "uses table 10, which is the host_table of gre1"}},
		"OSPF": {
			spoke(func(i *config.Interface) { i.Multicast = config.Multicast{} }),
			tunnel.Surroundings{Groups: []netip.Addr{netip.MustParseAddr("224.0.0.5")}},
			[]string{"warning", "OSPF, 224.0.0.5", "multicast = []", "non-broadcast"}},
		"OSPFv3": {
			spoke(func(i *config.Interface) { i.Multicast = config.Multicast{} }),
			tunnel.Surroundings{Groups: []netip.Addr{netip.MustParseAddr("ff02::5")}},
			[]string{"warning", "OSPFv3, ff02::5", "multicast = []"}},
		"OSPF with multicast": {
			spoke(func(i *config.Interface) { i.Multicast.NHSs = true }),
			tunnel.Surroundings{Groups: []netip.Addr{netip.MustParseAddr("224.0.0.5")}}, nil},
		"a link-local next hop": {
			spoke(plain),
			tunnel.Surroundings{Hops: []tunnel.Hop{{
				Prefix:  netip.MustParsePrefix("2001:db8:2::/48"),
				NextHop: netip.MustParseAddr("fe80::5efe:c000:20b"),
			}}},
			[]string{"warning", "2001:db8:2::/48", "fe80::5efe:c000:20b", "prefer-global"}},
		"a link-local next hop where overlay addresses are IPv4": {
			spoke(func(i *config.Interface) {
				i.Overlay = netip.MustParsePrefix("10.255.0.0/24")
			}),
			tunnel.Surroundings{Hops: []tunnel.Hop{{
				Prefix:  netip.MustParsePrefix("2001:db8:2::/48"),
				NextHop: netip.MustParseAddr("fe80::12"),
			}}},
			[]string{"warning", "fe80::12", "belongs to no overlay address"}},
		"a link-local next hop of a router": {
			spoke(func(i *config.Interface) {
				i.Second = config.Family{
					Address: netip.MustParsePrefix("fd00:255::11/64"),
					Overlay: netip.MustParsePrefix("fd00:255::/64"),
				}
			}),
			tunnel.Surroundings{Hops: []tunnel.Hop{{
				Prefix:  netip.MustParsePrefix("2001:db8:2::/48"),
				NextHop: netip.MustParseAddr("fe80::12"),
			}}}, nil},
		"path MTU discovery": {spoke(plain), tunnel.Surroundings{Discard: true},
			[]string{"advice", "larger than the path", `outer_df = "never"`}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []netip.Addr
			h := Host{FindSurroundings: func(
				device string, _ tunnel.UnderlayConfig, outer []netip.Addr,
			) (tunnel.Surroundings, error) {
				asked = outer
				return c.around, nil
			}}
			found := h.Surroundings(
				&config.Config{Interfaces: []config.Interface{c.i}},
				configuredAddresses,
			)
			if len(c.want) == 0 {
				if len(found) > 0 {
					t.Errorf("found %v, want nothing", found)
				}
				return
			}
			if len(found) != 1 || string(found[0].Severity) != c.want[0] ||
				found[0].Interface != "gre1" {
				t.Fatalf("found %+v, want one finding of severity %s on gre1", found, c.want[0])
			}
			for _, words := range c.want[1:] {
				if !strings.Contains(found[0].Text, words) {
					t.Errorf("%q does not say %q", found[0].Text, words)
				}
			}
			if !slices.Equal(asked, []netip.Addr{netip.MustParseAddr("192.0.2.1")}) {
				t.Errorf("looked at the routes to %v, want those to the addresses of the configuration",
					asked)
			}
		})
	}
}
