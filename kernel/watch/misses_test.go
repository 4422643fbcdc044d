package watch

import (
	"cygnet/kernel/kerneltest"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of the notifications about neighbours, the filter passes only the kernel's requests on one
// device.
func TestMissFilter(t *testing.T) {
	on := func(index byte) []byte { return []byte{unix.AF_INET, 0, 0, 0, index, 0, 0, 0} }
	for _, tt := range []struct {
		what string
		kind netlink.HeaderType
		body []byte
		want bool
	}{
		{"a question on the device", unix.RTM_GETNEIGH, on(7), true},
		{"a question on another", unix.RTM_GETNEIGH, on(8), false},
		{"a new neighbour on the device", unix.RTM_NEWNEIGH, on(7), false},
		{"one deleted there", unix.RTM_DELNEIGH, on(7), false},
	} {
		if got := kerneltest.Passes(
			t, missFilter(7), netlink.Header{Type: tt.kind}, tt.body...,
		); got != tt.want {
			t.Errorf("%s is let through: %v, want %v", tt.what, got, tt.want)
		}
	}
}
