package xfrm

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// policyUse counts only policies that are for GRE from one host to the local address and that have
// been used.
func TestPolicyUse(t *testing.T) {
	local, peer := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.12")
	good := make([]byte, 168)
	copy(good, local.AsSlice())
	copy(good[16:], peer.AsSlice())
	binary.NativeEndian.PutUint16(good[40:], unix.AF_INET)
	good[42], good[43], good[44] = 32, 32, unix.IPPROTO_GRE
	binary.NativeEndian.PutUint64(good[144:], 1_700_000_000)
	tests := []struct {
		rule   string
		change func(b []byte) []byte
		ok     bool
	}{
		{"as it is", func(b []byte) []byte { return b }, true},
		{"cut off", func(b []byte) []byte { return b[:100] }, false},
		{"out", func(b []byte) []byte { b[160] = 1; return b }, false},
		{"another protocol", func(b []byte) []byte { b[44] = unix.IPPROTO_UDP; return b }, false},
		{"from everywhere, as the guard", func(b []byte) []byte { b[43] = 0; return b }, false},
		{"to somebody else", func(b []byte) []byte { b[3]++; return b }, false},
		{"never used", func(b []byte) []byte { clear(b[144:152]); return b }, false},
	}
	for _, tt := range tests {
		source, used, ok := policyUse(tt.change(append([]byte(nil), good...)), local)
		if ok != tt.ok || ok && (source != peer || !used.Equal(time.Unix(1_700_000_000, 0))) {
			t.Errorf("%s: %s, %s, %v", tt.rule, source, used, ok)
		}
	}
}
