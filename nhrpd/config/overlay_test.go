package config

import (
	"net/netip"
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
