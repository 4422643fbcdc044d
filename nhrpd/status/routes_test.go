package status

import (
	"errors"
	"net/netip"
	"testing"

	"cygnet/kernel/rtnl"
	"cygnet/nhrpd/api"
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
