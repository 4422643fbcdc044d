//go:build lab

package xfrm

import (
	"net/netip"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"
)

// Drain reports a state that is deleted, one that expires, and a flush. It reports nothing of a
// state that is new or stays.
func TestDeletedStatesAreNoticed(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	const sa = "xfrm state add src 198.51.100.1 dst DST proto esp spi 0x1001 mode transport " +
		"aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128"
	add := func(dst, extra string) {
		t.Helper()
		kerneltest.IP(t, strings.ReplaceAll(sa, "DST", dst)+extra)
	}
	d, err := WatchDeletedStates()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	drain := func() (map[netip.Addr]bool, bool) {
		t.Helper()
		to, all, err := d.Drain()
		if err != nil {
			t.Fatal(err)
		}
		return to, all
	}
	add("203.0.113.1", "")
	add("203.0.113.2", "")
	if to, all := drain(); len(to) > 0 || all {
		t.Errorf("want nothing told of new states, have %v, all %t", to, all)
	}
	kerneltest.IP(t, "xfrm state del src 198.51.100.1 dst 203.0.113.2 proto esp spi 0x1001")
	if to, all := drain(); len(to) != 1 || !to[netip.MustParseAddr("203.0.113.2")] || all {
		t.Errorf("want the deleted state told, have %v, all %t", to, all)
	}
	add("203.0.113.3", " limit time-hard 1")
	expired := netip.MustParseAddr("203.0.113.3")
	kerneltest.Eventually(t, "the expired state is told", func() bool {
		to, _ := drain()
		return to[expired]
	})
	kerneltest.IP(t, "xfrm state flush")
	if _, all := drain(); !all {
		t.Error("want a flush told as of anybody's states")
	}
}
