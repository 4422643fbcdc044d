package preflight

import (
	"net/netip"
	"strings"
	"testing"

	"cygnet/nhrpd/config"
)

// A kernel without IPv6 is an error for an IPv6 overlay address and for an NHS at an IPv6 address,
// and nothing to an IPv4 tunnel.
func TestIPv6IsSwitchedOff(t *testing.T) {
	h, _ := host(t)
	h.IPv6 = func() bool { return false }
	for address, want := range map[string]bool{
		"": false, "fd00:255::11/64": true, "2001:db8::1": true, "192.0.2.1": false,
	} {
		i := config.Interface{Name: "gre1", Address: netip.MustParsePrefix("10.255.0.11/24")}
		if prefix, err := netip.ParsePrefix(address); err == nil {
			i.Second.Address = prefix
		} else if address != "" {
			i.NHS = []config.NHS{{NBMA: address}}
		}
		got := false
		for _, f := range h.kernel(&config.Config{Interfaces: []config.Interface{i}}) {
			got = got || f.Severity == Error && strings.Contains(f.Text, "ipv6.disable=1")
		}
		if got != want {
			t.Errorf("with %q: found is %t, want %t", address, got, want)
		}
	}
}
