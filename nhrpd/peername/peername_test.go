package peername

import (
	"fmt"
	"net/netip"
	"testing"

	"cygnet/kernel/peerlink"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine/peerid"
)

// A name stands for one peer, also after a restart, and is given to another peer only when all
// others were, and only while nothing in the kernel has it.
func TestPeerNames(t *testing.T) {
	left := netip.MustParseAddr("2001:db8:ffff::7")
	names := New([]peerlink.Left{{Name: xfrm.LinkedNBMA(7), Remote: left}})
	if got := names.Of(left); got != xfrm.LinkedNBMA(7) {
		t.Errorf("the peer of an earlier run is %s, want %s", got, xfrm.LinkedNBMA(7))
	}
	peer := func(i int) netip.Addr {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", i>>8, i&0xff))
	}
	first := names.Of(peer(0))
	names.Use("a neighbour", names.PeerAt(first), false)
	seen := map[netip.Addr]bool{first: true, xfrm.LinkedNBMA(7): true}
	for i := 1; i < mostNames-1; i++ {
		name := names.Of(peer(i))
		if seen[name] {
			t.Fatalf("peer %d gets %s, which another peer has", i, name)
		}
		seen[name] = true
	}
	if got := names.Of(peer(mostNames)); got == first || !got.IsValid() {
		t.Errorf("a peer more gets %s, want a name that is not in use", got)
	}
	if got := names.Of(peer(0)); got != first {
		t.Errorf("the peer that the kernel knows as %s is %s now", first, got)
	}
	if got := names.PeerAt(xfrm.LinkedNBMA(9)); got.IsValid() {
		t.Errorf("a name that nobody has is %s", got)
	}
}

// The kernel sends nothing to a parked peer: its address stands for a mark that no SA can have.
func TestParkedPeerHasNoMark(t *testing.T) {
	names := New(nil)
	first := names.LinkAddress(peerid.Parked(1))
	second := names.LinkAddress(peerid.Parked(1<<16 - 1))
	for _, address := range []netip.Addr{first, second} {
		mark, is := xfrm.MarkOf(address)
		if !is || xfrm.MarkedNBMA(mark).IsValid() {
			t.Errorf("%s stands for the mark %d (%v), want one that no SA has", address, mark, is)
		}
	}
	if first == second {
		t.Errorf("two parked peers are both at %s in the kernel", first)
	}
}
