//go:build lab

package rtnl_test

import (
	"errors"
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"
)

// The kernel says by which route a packet leaves, over IPv4 and IPv6: with the route's prefix,
// table and next hop, by the rules for the packet's source, and that there is no route.
func TestLookup(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	for _, args := range []string{
		"link add d0 type dummy",
		"link set d0 up",
		"addr add 192.0.2.1/24 dev d0",
		"addr add 192.0.2.2/24 dev d0",
		"addr add 2001:db8::1/64 dev d0 nodad",
		"addr add 2001:db8::2/64 dev d0 nodad",
		"route add 198.51.100.0/24 via 192.0.2.254",
		"route add 198.51.100.0/24 via 192.0.2.253 table 100",
		"rule add from 192.0.2.2 lookup 100",
		"-6 route add 2001:db8:1::/48 via 2001:db8::fe",
		"-6 route add 2001:db8:1::/48 via 2001:db8::fd table 100",
		"-6 rule add from 2001:db8::2 lookup 100",
	} {
		kerneltest.IP(t, args)
	}
	r, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	device := kerneltest.LinkNamed(t, "d0").Index
	for _, test := range []struct {
		dest, source, prefix, gateway string
		table                         uint32
	}{
		{"198.51.100.9", "", "198.51.100.0/24", "192.0.2.254", 254},
		{"198.51.100.9", "192.0.2.1", "198.51.100.0/24", "192.0.2.254", 254},
		{"198.51.100.9", "192.0.2.2", "198.51.100.0/24", "192.0.2.253", 100},
		{"2001:db8:1::9", "", "2001:db8:1::/48", "2001:db8::fe", 254},
		{"2001:db8:1::9", "2001:db8::1", "2001:db8:1::/48", "2001:db8::fe", 254},
		{"2001:db8:1::9", "2001:db8::2", "2001:db8:1::/48", "2001:db8::fd", 100},
	} {
		var source netip.Addr
		if test.source != "" {
			source = netip.MustParseAddr(test.source)
		}
		have, err := r.LookupFrom(netip.MustParseAddr(test.dest), source, 0)
		if err != nil || have.Prefix.String() != test.prefix || have.Table != test.table ||
			have.Hops[0].Gateway.String() != test.gateway || have.Hops[0].Index != device {
			t.Errorf("to %s from %q: want %s via %s of table %d, have %+v, %v", test.dest,
				test.source, test.prefix, test.gateway, test.table, have, err)
		}
	}
	for _, dest := range []string{"203.0.113.9", "2001:db8:9::9"} {
		if have, err := r.Lookup(netip.MustParseAddr(dest), 0); !errors.Is(err, rtnl.ErrNoRoute) {
			t.Errorf("to %s: want no route, have %+v, %v", dest, have, err)
		}
	}
}
