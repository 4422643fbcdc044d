package linklocal

import (
	"net/netip"
	"testing"
)

// A link-local address has the last 64 bits of the overlay address, and each leads to the other.
// Without a range in which these bits tell all routers apart there are none.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		rule, overlay, router, hop string
		other                      string // a link-local address that is no router's
	}{
		{"a /64", "fd00:255::/64", "fd00:255::11", "fe80::11", "fe81::11"},
		{"all 64 bits", "fd00:255:0:1::/64", "fd00:255:0:1:8000::12", "fe80::8000:0:0:12",
			"fe80:0:0:1::12"},
		{"a small range", "fd00:255::100/120", "fd00:255::101", "fe80::101", "fe80::201"},
		{"an address outside", "fd00:255::/64", "fd00:256::11", "", ""},
		{"a range wider than a /64", "fd00:255::/48", "fd00:255::11", "", "fe80::11"},
		{"an unknown range", "", "fd00:255::11", "", "fe80::11"},
		{"IPv4", "10.255.0.0/24", "10.255.0.11", "", "fe80::11"},
		{"an IPv4 link-local address", "fd00:255::/64", "169.254.0.1", "", "169.254.0.1"},
		{"the kernel's own", "fd00:255::/64", "fd00:255::5efe:c0a8:70b", "",
			"fe80::200:5efe:c000:20b"},
	} {
		o, router, hop := overlay(tt.overlay), addr(tt.router), addr(tt.hop)
		if got := o.Of(router); got != hop {
			t.Errorf("%s: %s has %s, want %s", tt.rule, router, got, hop)
		}
		if got := o.Router(hop); hop.IsValid() && got != router {
			t.Errorf("%s: %s belongs to %s, want %s", tt.rule, hop, got, router)
		}
		if got := o.Router(router); got != router {
			t.Errorf("%s: the router %s has become %s", tt.rule, router, got)
		}
		if other := addr(tt.other); o.Router(other) != other {
			t.Errorf("%s: %s belongs to %s, want no router", tt.rule, other, o.Router(other))
		}
	}
}

// A missing next hop stays missing.
func TestNoNextHop(t *testing.T) {
	if got := overlay("fd00:255::/64").Router(netip.Addr{}); got.IsValid() {
		t.Errorf("no next hop has become %s", got)
	}
}

func overlay(text string) Overlay {
	if text == "" {
		return Overlay{}
	}
	return Overlay(netip.MustParsePrefix(text).Masked())
}

func addr(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(text)
}
