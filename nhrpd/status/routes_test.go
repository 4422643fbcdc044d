package status

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"cygnet/kernel/rtnl"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"

	"github.com/google/go-cmp/cmp"
)

// A wanted route is installed if the kernel has it as wanted. Another route of ours, with another
// device, prefix, next hop or table, does not count.
func TestInstalledRoutes(t *testing.T) {
	route := func(device, prefix, nextHop string, table uint32) rtnl.Route {
		return rtnl.Route{
			Device:  device,
			Prefix:  netip.MustParsePrefix(prefix),
			NextHop: netip.MustParseAddr(nextHop),
			Table:   table,
			Metric:  7,
		}
	}
	own := []rtnl.Route{
		route("gre1", "172.16.1.0/24", "10.255.0.11", 254),
		route("gre1", "172.16.2.0/24", "10.255.0.12", 254),
	}
	wanted := []api.Route{}
	for _, r := range append(own,
		route("gre2", "172.16.1.0/24", "10.255.0.11", 254),
		route("gre1", "172.16.0.0/24", "10.255.0.11", 254),
		route("gre1", "172.16.1.0/24", "10.255.0.13", 254),
		route("gre1", "172.16.1.0/24", "10.255.0.11", 100)) {
		wanted = append(wanted, api.Route{
			Interface: r.Device,
			Prefix:    r.Prefix,
			NextHop:   r.NextHop,
			Table:     r.Table,
		})
	}
	MarkInstalled(wanted, own, nil)
	for i, r := range wanted {
		if r.Installed != (i < len(own)) {
			t.Errorf("installed %v: %+v", r.Installed, r)
		}
	}
}

// A shortcut is shown by the routes that it really has: halves, or the route in the table for host
// routes. A host route to a router is shown in the table that it is in.
func TestRoutesOfShortcuts(t *testing.T) {
	prefix, hop := netip.MustParsePrefix, netip.MustParseAddr("10.255.0.12")
	got := Routes(&engine.InterfaceStatus{
		Name:      "gre1",
		Routers:   []netip.Addr{netip.MustParseAddr("10.255.0.1"), hop},
		HostTable: []netip.Addr{hop},
		Shortcuts: []engine.ShortcutStatus{
			{
				NextHop:   hop,
				Placement: engine.PlacedHalves,
				Routes: []netip.Prefix{
					prefix("172.16.2.0/25"), prefix("172.16.2.128/25"),
				},
			},
			{
				NextHop:   hop,
				Placement: engine.PlacedHostTable,
				Routes:    []netip.Prefix{prefix("172.16.9.1/32")},
			},
			{NextHop: hop},
		},
	}, 254, 84, 7)
	var lines []string
	for _, r := range got {
		lines = append(lines, fmt.Sprintf("%s table %d", r.Prefix, r.Table))
	}
	if diff := cmp.Diff([]string{
		"10.255.0.1/32 table 254",
		"10.255.0.12/32 table 84",
		"172.16.2.0/25 table 254",
		"172.16.2.128/25 table 254",
		"172.16.9.1/32 table 84",
	}, lines); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// Where the kernel's routes cannot be read, no route counts as installed, and each says why.
func TestUnreadableRoutes(t *testing.T) {
	wanted := []api.Route{{Interface: "gre1"}, {Interface: "gre2"}}
	MarkInstalled(wanted, nil, errors.New("no buffer space"))
	for _, r := range wanted {
		if r.Installed || r.Error != "no buffer space" {
			t.Errorf("%s: installed %v, error %q", r.Interface, r.Installed, r.Error)
		}
	}
}
