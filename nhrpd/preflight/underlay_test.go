package preflight

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
)

// For each thing that is wrong with an underlay that has routes of its own, a finding tells what it
// means and what to do. Where nothing is wrong, there is no finding.
func TestUnderlay(t *testing.T) {
	nhs, nhs6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	table := config.Interface{
		Name:          "gre1",
		Protected:     true,
		Underlay:      config.Underlay{Device: "eth0"},
		UnderlayTable: 100,
		NHS:           []config.NHS{{NBMA: nhs.String()}},
	}
	vrf := table
	vrf.UnderlayTable, vrf.UnderlayVRF = 0, "inet"
	other, clear, several := vrf, vrf, table
	several.Reserve = []string{"wwan0"}
	other.UnderlayTable = 7
	clear.Protected = false
	routes := func(whole, barred bool) tunnel.UnderlayRoutes {
		return tunnel.UnderlayRoutes{Used: true, Default: whole, Barred: barred}
	}
	with := func(change func(*tunnel.Underlay)) tunnel.Underlay {
		u := tunnel.Underlay{VRFTable: 100, V4: routes(true, true), AcceptsVRF: true}
		change(&u)
		return u
	}
	over6 := func(sockets tunnel.IKESockets) tunnel.Underlay {
		return with(func(u *tunnel.Underlay) { u.V6, u.IKE = routes(true, true), sockets })
	}
	deaf := func(sockets tunnel.IKESockets) tunnel.Underlay {
		return with(func(u *tunnel.Underlay) { u.AcceptsVRF, u.IKE = false, sockets })
	}
	for name, c := range map[string]struct {
		i    config.Interface
		have tunnel.Underlay
		want []string // about, severity, and what the text has
	}{
		"a table as it should be": {table, tunnel.Underlay{V4: routes(true, true)}, nil},
		"a VRF as it should be":   {vrf, with(func(*tunnel.Underlay) {}), nil},
		"no VRF": {vrf, tunnel.Underlay{VRFMissing: true},
			[]string{"underlay", "error", "no VRF inet", "ip link add inet type vrf"}},
		"the device is not in the VRF": {
			vrf, with(func(u *tunnel.Underlay) { u.Outside = "eth0" }),
			[]string{"underlay", "error", "eth0", "ip link set eth0 master inet"}},
		"another table": {other, with(func(*tunnel.Underlay) {}),
			[]string{"underlay", "warning", "underlay_table is 7", "has the table 100"}},
		"no route": {
			table,
			tunnel.Underlay{V4: tunnel.UnderlayRoutes{
				Used: true, Barred: true, Unrouted: []netip.Addr{nhs},
			}},
			[]string{"underlay", "error", "no route of table 100 (underlay_table) leads to 192.0.2.1",
				"ip route add default via GATEWAY table 100"}},
		"no default route": {table, tunnel.Underlay{V4: routes(false, true)},
			[]string{"underlay", "warning", "table 100 (underlay_table) has no default route"}},
		"nothing behind the default route": {
			vrf, with(func(u *tunnel.Underlay) { u.V4.Barred = false }),
			[]string{"underlay", "warning", "table 100 (of the VRF inet)",
				"ip route add unreachable default metric 4278198272 table 100"}},
		"nothing behind the default route of a table": {
			table, tunnel.Underlay{V4: routes(true, false)},
			[]string{"underlay", "advice", "table 100 (underlay_table)", "unreachable default"}},
		"no route of IPv6": {
			table,
			tunnel.Underlay{V4: routes(true, true), V6: tunnel.UnderlayRoutes{
				Used: true, Barred: true, Unrouted: []netip.Addr{nhs6},
			}},
			[]string{"underlay", "error", "table 100 (underlay_table), IPv6, leads to 2001:db8::1",
				"ip -6 route add default via GATEWAY table 100"}},
		"several uplinks": {several, tunnel.Underlay{V4: routes(false, true)},
			[]string{"underlay", "warning", "table 101 (underlay_table) has no default route"}},
		"charon outside": {vrf, deaf(tunnel.IKEOutside),
			[]string{"strongSwan", "error", "no socket in the VRF inet", "udp_l3mdev_accept = 1",
				"set_sourceif = yes", "ip vrf exec inet"}},
		"charon outside, and IPv6": {
			vrf, over6(tunnel.IKEOutside),
			[]string{"strongSwan", "error", "cannot send from the IPv6 address", "VRF inet",
				"set_sourceif = yes", "ip vrf exec inet"}},
		"charon in the VRF, and IPv6": {
			vrf, over6(tunnel.IKEInVRF), nil},
		"charon does not run": {vrf, deaf(tunnel.IKENone),
			[]string{"strongSwan", "warning", "charon does not run", "udp_l3mdev_accept = 1"}},
		"charon in the VRF":       {vrf, deaf(tunnel.IKEInVRF), nil},
		"charon, nobody knows":    {vrf, deaf(tunnel.IKEUnknown), nil},
		"charon, and no IPsec":    {clear, deaf(tunnel.IKEOutside), nil},
		"a table and no VRF":      {table, tunnel.Underlay{V4: routes(true, true)}, nil},
		"an underlay of no table": {config.Interface{Name: "gre1"}, tunnel.Underlay{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			conf := filepath.Join(t.TempDir(), "strongswan.conf")
			if err := os.WriteFile(conf, []byte(good), 0o600); err != nil {
				t.Fatal(err)
			}
			h := Host{StrongswanConf: conf, FindUnderlay: func(
				u tunnel.UnderlayConfig, outer []netip.Addr,
			) (tunnel.Underlay, error) {
				if u.Device == "wwan0" {
					if u.Table != 101 || u.VRF != "" {
						t.Errorf("looked at %+v for the uplink in reserve", u)
					}
					return c.have, nil
				}
				if len(c.i.Reserve) > 0 {
					return tunnel.Underlay{NoAddress: true}, nil
				}
				if u.Device != "eth0" || u.Table != c.i.UnderlayTable || u.VRF != c.i.UnderlayVRF ||
					!slices.Equal(outer, []netip.Addr{nhs}) {
					t.Errorf("looked at %+v and at the way to %v", u, outer)
				}
				return c.have, nil
			}}
			found := h.Underlay(&config.Config{Interfaces: []config.Interface{c.i}},
				configuredAddresses)
			if len(c.want) == 0 {
				if len(found) > 0 {
					t.Errorf("found %v, want nothing", found)
				}
				return
			}
			if len(found) != 1 || found[0].About != c.want[0] ||
				string(found[0].Severity) != c.want[1] || found[0].Interface != "gre1" {
				t.Fatalf("found %+v, want one finding about %s of severity %s",
					found, c.want[0], c.want[1])
			}
			for _, words := range c.want[2:] {
				if !strings.Contains(found[0].Text, words) {
					t.Errorf("%q does not say %q", found[0].Text, words)
				}
			}
		})
	}
}
