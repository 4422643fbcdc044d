package resolution

import (
	"net/netip"
	"testing"
)

// The halves of a prefix cover it together, and do not overlap.
func TestHalves(t *testing.T) {
	for _, tt := range []struct{ prefix, lower, upper string }{
		{"172.16.2.0/24", "172.16.2.0/25", "172.16.2.128/25"},
		{"172.16.0.0/15", "172.16.0.0/16", "172.17.0.0/16"},
		{"128.0.0.0/8", "128.0.0.0/9", "128.128.0.0/9"},
		{"192.0.2.6/31", "192.0.2.6/32", "192.0.2.7/32"},
		{"2001:db8:2::/48", "2001:db8:2::/49", "2001:db8:2:8000::/49"},
		{"2001:db8::6/127", "2001:db8::6/128", "2001:db8::7/128"},
	} {
		lower, upper := halves(netip.MustParsePrefix(tt.prefix))
		if lower.String() != tt.lower || upper.String() != tt.upper {
			t.Errorf("%s: want %s and %s, have %s and %s",
				tt.prefix, tt.lower, tt.upper, lower, upper)
		}
	}
}
