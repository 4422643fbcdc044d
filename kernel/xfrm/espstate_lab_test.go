//go:build lab

package xfrm

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"
)

// The states that may carry GRE are those in transport mode between the local address and another
// host, for GRE or for any protocol. A state is listed with its mark and with the mark that it
// sets. Only the states that are given to DeleteStates are deleted.
func TestESPStates(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	add := func(src, dst string, spi int, mode, selector, extra string) {
		t.Helper()
		kerneltest.IP(t, fmt.Sprintf("xfrm state add src %s dst %s proto esp spi %d reqid 5 mode %s %s aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128 %s",
			src, dst, spi, mode, extra, selector))
	}
	const us, peer = "198.51.100.1", "203.0.113.2"
	outbound := "sel src 198.51.100.1/32 dst 203.0.113.2/32"
	inbound := "sel src 203.0.113.2/32 dst 198.51.100.1/32"
	add(us, peer, 0x1001, "transport", outbound+" proto gre", "")
	add(peer, us, 0x1002, "transport", inbound, "output-mark 0x7")
	add(peer, us, 0x1003, "transport", inbound+" proto gre", "mark 0x9 mask 0xff")
	add(peer, us, 0x2001, "transport", inbound, "")              // a state that charon knows
	add(peer, us, 0x2002, "tunnel", "", "")                      // a site-to-site tunnel
	add(peer, us, 0x2003, "transport", "", "")                   // no selector
	add(peer, us, 0x2004, "transport", inbound+" proto udp", "") // L2TP
	add(peer, "198.51.100.9", 0x2005, "transport", "sel src 203.0.113.2/32 dst 198.51.100.9/32", "")

	list := func() []ESPState {
		t.Helper()
		orphans, err := ESPStates(netip.MustParseAddr(us))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(orphans, func(s ESPState) bool { return s.SPI == 0x2002 }) {
			t.Error("the site-to-site tunnel is not listed")
		}
		// Charon knows 0x2001, so it is no orphan.
		orphans = slices.DeleteFunc(orphans, func(s ESPState) bool {
			return !s.GRE || s.SPI == 0x2001
		})
		slices.SortFunc(orphans, func(a, b ESPState) int { return int(a.SPI) - int(b.SPI) })
		return orphans
	}
	orphans := list()
	var spis []uint32
	for _, o := range orphans {
		spis = append(spis, o.SPI)
	}
	if want := []uint32{0x1001, 0x1002, 0x1003}; !slices.Equal(spis, want) {
		t.Fatalf("orphans %x, want %x", spis, want)
	}
	if o := orphans[0]; o.Src != netip.MustParseAddr(us) || o.Dst != netip.MustParseAddr(peer) ||
		o.ReqID != 5 || time.Since(o.Added).Abs() > time.Hour {
		t.Errorf("%+v", o)
	}
	if o := orphans[1]; o.SetMark != 7 || o.Mark != 0 || orphans[0].SetMark != 0 {
		t.Errorf("%+v, want packets marked 7", o)
	}
	if o := orphans[2]; o.Mark != 9 || o.MarkMask != 0xff {
		t.Errorf("%+v, want mark 9/ff", o)
	}
	// The first state is in the list twice, so it is gone the second time.
	if err := DeleteStates(append(orphans, orphans[0])); err != nil {
		t.Fatal(err)
	}
	if left := list(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	kerneltest.Shows(t, "xfrm state", "0x00002001", "0x00002002", "0x00002003", "0x00002004", "0x00002005", "-0x00001")
}
