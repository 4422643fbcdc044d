package espstate

import (
	"errors"
	"maps"
	"net/netip"
	"testing"

	"cygnet/kernel/xfrm"
)

// The kernel has an SA to a peer if a state can take GRE there from one of our addresses: inbound
// states, marked states and those of other traffic do not count.
func TestInKernel(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	peer := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, last}) }
	states := map[netip.Addr][]xfrm.ESPState{
		one: {
			{Src: one, Dst: peer(11), GRE: true},
			{Src: peer(12), Dst: one, GRE: true},
			{Src: one, Dst: peer(13), GRE: true, Mark: 1, MarkMask: 0xffffffff},
			{Src: one, Dst: peer(14)},
		},
		two: {{Src: two, Dst: peer(15), GRE: true}},
	}
	l := Lister{States: func(local netip.Addr) ([]xfrm.ESPState, error) {
		return states[local], nil
	}}
	want := map[netip.Addr]bool{peer(11): true, peer(15): true}
	if got, err := l.InKernel([]netip.Addr{one, two}); err != nil || !maps.Equal(got, want) {
		t.Errorf("SAs to %v (%v), want %v", got, err, want)
	}
	if got, err := l.InKernel(nil); err != nil || got == nil {
		t.Errorf("without an address: %v (%v), want that there is no SA", got, err)
	}
	fail := errors.New("no")
	l.States = func(netip.Addr) ([]xfrm.ESPState, error) { return nil, fail }
	if got, err := l.InKernel([]netip.Addr{one}); !errors.Is(err, fail) || got != nil {
		t.Errorf("the kernel cannot be read: %v (%v)", got, err)
	}
}
