package profile

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// Proposals allow what charon then lists by other names. What is not understood allows anything.
func TestNamed(t *testing.T) {
	for _, test := range []struct {
		proposals       string
		ciphers, groups string // "": anything
	}{
		{"aes256gcm16-prfsha384-x25519-ecp384,aes128gcm16-prfsha256-x25519",
			"AES_GCM_16-128 AES_GCM_16-256", "CURVE_25519 ECP_384"},
		{"aes256gcm16-prfsha384-curve448-ke1_mlkem768", "AES_GCM_16-256", "CURVE_448"},
		{"aes-sha256-modp3072, aes192ctr-aesxcbc-ecp521", "AES_CBC-128 AES_CTR-192",
			"ECP_521 MODP_3072"},
		{"aes128ccm64-x25519,aes256gcm,aes128gcm96-x25519",
			"AES_CCM_8-128 AES_GCM_12-128 AES_GCM_16-256", ""},
		{"chacha20poly1305-prfsha256-x25519", "CHACHA20_POLY1305", "CURVE_25519"},
		{"3des-sha1-modp2048,null-sha1-modp2048", "3DES_CBC NULL", "MODP_2048"},
		{"aes128gcm16-x25519,default", "", ""},
		{"kuznyechik-x25519", "", "CURVE_25519"},
		{"", "", ""},
	} {
		var proposals []string
		if test.proposals != "" {
			proposals = strings.Split(test.proposals, ",")
		}
		for what, got := range map[string]map[string]bool{test.ciphers: named(proposals, cipherOf),
			test.groups: named(proposals, groupOf)} {
			if words := strings.Join(slices.Sorted(maps.Keys(got)), " "); words != what ||
				(got == nil) != (what == "") {
				t.Errorf("%q gives %q, want %q", test.proposals, words, what)
			}
		}
	}
}
