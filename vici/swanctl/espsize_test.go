package swanctl

import (
	"slices"
	"testing"
)

// What each algorithm adds to a packet: RFC 4106 and RFC 4309 (GCM and CCM: 8 bytes of IV, an ICV
// of 8, 12 or 16), RFC 7634, RFC 3602 and RFC 4868, RFC 3686. Of a proposal with several of a kind,
// charon may choose any.
func TestESPSizes(t *testing.T) {
	cbc := func(icv int) ESPSize { return ESPSize{16, 16, icv} }
	for _, test := range []struct {
		proposal string
		want     []ESPSize
	}{
		{"aes256gcm16-x25519-ecp384", []ESPSize{{8, 4, 16}}},
		{"AES128GCM64", []ESPSize{{8, 4, 8}}},
		{"aes128gcm-ecp256", []ESPSize{{8, 4, 16}}},
		{"aes192ccm12", []ESPSize{{8, 4, 12}}},
		{"chacha20poly1305-x25519", []ESPSize{{8, 4, 16}}},
		{"aes128-sha256-modp2048", []ESPSize{cbc(16)}},
		{"aes-sha256_96", []ESPSize{cbc(12)}},
		{"aes256-sha1-sha512-esn-noesn", []ESPSize{cbc(32)}},
		{"aes128gcm16-aes128-sha256", []ESPSize{{8, 4, 16}, cbc(16)}},
		{"aes128ctr-aesxcbc", []ESPSize{{8, 4, 12}}},
		{"3des-sha1", []ESPSize{{8, 8, 12}}},
		{"camellia256-sha384", []ESPSize{cbc(24)}},
		{"aes128", []ESPSize{cbc(32)}}, // no integrity algorithm: charon refuses it
		{"default", []ESPSize{cbc(32)}},
		{"something-new", []ESPSize{cbc(32)}},
	} {
		if got := ESPSizes([]string{test.proposal}); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.proposal, got, test.want)
		}
	}
	if got := ESPSizes(nil); !slices.Equal(got, []ESPSize{cbc(32)}) {
		t.Errorf("no proposals: %v, want the largest", got)
	}
	if got := ESPSizes([]string{"aes128gcm16", "aes128-sha1"}); len(got) != 2 {
		t.Errorf("two proposals: %v", got)
	}
}
