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
	for name, c := range map[string]struct {
		i      config.Interface
		around tunnel.Surroundings
		want   []string // the severity, and what the text has
	}{
		"nothing": {spoke(plain), tunnel.Surroundings{}, nil},
		"a default route through the tunnel": {
			spoke(plain),
			tunnel.Surroundings{Turned: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
			[]string{
				"error",
				"the route to 192.0.2.1 leads into a tunnel",
				"IKE included",
				"ip route add 192.0.2.1/32",
			}},
		"a VRF": {spoke(plain), tunnel.Surroundings{VRF: "blue"},
			[]string{"warning", "in the VRF blue", "no shortcuts", "ip link set gre1 nomaster"}},
		"a VRF with source_check": {
			spoke(func(i *config.Interface) { i.SourceCheck = true }),
			tunnel.Surroundings{VRF: "blue"},
			[]string{"error", "source_check drops all data", "source_check = false"}},
		"OSPF": {
			spoke(plain),
			tunnel.Surroundings{Groups: []netip.Addr{netip.MustParseAddr("224.0.0.5")}},
			[]string{"warning", "OSPF, 224.0.0.5", "blocked by the guard", "non-broadcast"}},
		"OSPF without IPsec": {
			spoke(func(i *config.Interface) { i.Protected = false }),
			tunnel.Surroundings{Groups: []netip.Addr{netip.MustParseAddr("ff02::5")}},
			[]string{"warning", "OSPFv3, ff02::5", "goes to no peer"}},
		"a link-local next hop": {
			spoke(plain),
			tunnel.Surroundings{Hops: []tunnel.Hop{{
				Prefix:  netip.MustParsePrefix("2001:db8:2::/48"),
				NextHop: netip.MustParseAddr("fe80::5efe:c000:20b"),
			}}},
			[]string{"warning", "2001:db8:2::/48", "fe80::5efe:c000:20b", "prefer-global"}},
		"path MTU discovery": {spoke(plain), tunnel.Surroundings{Discard: true},
			[]string{"advice", "larger than the path", "ip link set gre1 type gre nopmtudisc ignore-df"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []netip.Addr
			h := Host{LookAround: func(
				device string, outer []netip.Addr,
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
