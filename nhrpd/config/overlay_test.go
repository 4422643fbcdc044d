package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// The overlay's range is the one in the file, or else the prefix of the address. A host prefix
// leaves it unknown.
func TestOverlayRange(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{`address = "10.255.0.11/24"`, "10.255.0.0/24"},
		{"address = \"10.255.0.11/24\"\noverlay = \"10.255.0.0/16\"", "10.255.0.0/16"},
		{"address = \"10.255.0.11/32\"\noverlay = \"10.255.0.0/24\"", "10.255.0.0/24"},
		{`address = "10.255.0.11/32"`, "invalid Prefix"},
		{"address = \"fd00::1/128\"\noverlay = \"fd00::/64\"", "fd00::/64"},
		{`address = "fd00::1/128"`, "invalid Prefix"},
	} {
		if got := mustParse(t, spokeWith(c.lines)).Interfaces[0].Overlay; got.String() != c.want {
			t.Errorf("%s: the overlay is %s, want %s", c.lines, got, c.want)
		}
	}
}

// With both families, each has an address and a range of its own, in whatever order they are
// written. Prefixes, addresses of servers, maps and rules may be of either.
func TestBothFamilies(t *testing.T) {
	i := mustParse(t, spokeWith(`address = ["fd00:255::11/128", "10.255.0.11/24"]
overlay = ["10.255.0.0/16", "fd00:255::/64"]
nhs = [{ nbma = "hub.example.net", protocol = ["10.255.0.1", "fd00:255::1"] }]
map = [{ protocol = "10.255.0.12", nbma = "203.0.113.12" }, { protocol = "fd00:255::12", nbma = "203.0.113.12" }]
announce = ["172.16.1.0/24", "fd01:1::/64"]
accept = ["172.16.0.0/12", "fd01::/16"]
multicast = ["nhs", "10.255.0.12", "fd00:255::12"]
`)).Interfaces[0]
	want := []Family{
		{netip.MustParsePrefix("fd00:255::11/128"), netip.MustParsePrefix("fd00:255::/64")},
		{netip.MustParsePrefix("10.255.0.11/24"), netip.MustParsePrefix("10.255.0.0/16")},
	}
	if got := i.Families(); !slices.Equal(got, want) {
		t.Errorf("the families are %v, want %v", got, want)
	}
	if n := i.NHS[0]; n.Protocol.String() != "10.255.0.1" || n.Second.String() != "fd00:255::1" {
		t.Errorf("the NHS is %+v", n)
	}
	if len(i.Maps) != 2 || len(i.Announce) != 2 || len(i.Accept) != 2 ||
		len(i.Multicast.Routers) != 2 {
		t.Errorf("something of one family is missing: %+v", i)
	}
	if i.FamilyOf(netip.Addr{}) != (Family{}) {
		t.Error("the zero address has a family")
	}
}

// A list of one address is that address.
func TestListOfOneAddress(t *testing.T) {
	i := mustParse(t, spokeWith(`address = ["10.255.0.11/24"]`)).Interfaces[0]
	if i.Address.String() != "10.255.0.11/24" || i.Second != (Family{}) {
		t.Errorf("the addresses are %v", i.Families())
	}
}

// A server without a range and without rules warns that its clients may register any address.
// Either of the two prevents the warning.
func TestUnboundedOverlayIsWarnedOf(t *testing.T) {
	for _, c := range []struct {
		lines string
		warns bool
	}{
		{"address = \"10.255.0.1/32\"\nredirect = true", true},
		{"address = \"10.255.0.1/32\"\nredirect = true\noverlay = \"10.255.0.0/24\"", false},
		{`address = "10.255.0.11/32"`, false},
		{"address = \"10.255.0.1/24\"\nredirect = true", false},
	} {
		warnings := strings.Join(mustParse(t, spokeWith(c.lines)).Warnings, "\n")
		if got := strings.Contains(warnings, `interface.gre1.address: found the host prefix 10.255.0.1/32 without overlay`); got != c.warns {
			t.Errorf("%s: warned %v; all warnings: %s", c.lines, got, warnings)
		}
		if c.warns && !strings.Contains(warnings, `overlay = "10.255.0.0/24"`) {
			t.Errorf("%s: no example in %s", c.lines, warnings)
		}
	}
	if got := exampleRange(netip.MustParseAddr("fd00::1")); got != "fd00::/64" {
		t.Errorf("the example for IPv6 is %s", got)
	}
}
