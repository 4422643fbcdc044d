package overhead

import "testing"

// The longest packet that leaves in one piece, as a capture of each shows (test/README.md has the
// measurements), with UDP encapsulation over IPv4.
func TestLongestPacket(t *testing.T) {
	gcm := []string{"aes256gcm16-x25519"}
	cbc := []string{"aes128-sha256-x25519"}
	several := []string{"aes256gcm16", "aes256-sha512"}
	for _, test := range []struct {
		name                  string
		tunnel                Tunnel
		underlay, want, outer int // outer: of a packet of that length
	}{
		{"AES-GCM with a key", Tunnel{false, true, true, gcm}, 1500, 1430, 1500},
		{"AES-GCM without a key", Tunnel{false, false, true, gcm}, 1500, 1434, 1500},
		{"AES-CBC with a key", Tunnel{false, true, true, cbc}, 1500, 1414, 1492},
		{"AES-CBC without a key", Tunnel{false, false, true, cbc}, 1500, 1418, 1492},
		{"the worst of several", Tunnel{false, true, true, several}, 1500, 1398, 1492},
		{"PPPoE", Tunnel{false, true, true, gcm}, 1492, 1422, 1492},
		{"jumbo frames", Tunnel{false, true, true, gcm}, 9000, 8930, 9000},
		{"over IPv6", Tunnel{true, true, true, gcm}, 1500, 1418, 1500},
		{"clear GRE", Tunnel{false, true, false, nil}, 1500, 1472, 1500},
	} {
		o := Of(test.tunnel)
		if got := o.Longest(test.underlay); got != test.want {
			t.Errorf("%s: %d fit into %d, want %d", test.name, got, test.underlay, test.want)
		}
		if got := o.Outer(test.want); got != test.outer {
			t.Errorf("%s: %d bytes become %d, want %d", test.name, test.want, got, test.outer)
		}
		if got := o.Outer(test.want + 1); got <= test.underlay {
			t.Errorf("%s: %d bytes become %d, which fit", test.name, test.want+1, got)
		}
	}
}
