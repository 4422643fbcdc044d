package xfrm

import (
	"net/netip"
	"testing"
)

// MarkedNBMA and MarkOf are inverse to each other for all marks that can stand for a peer. Other
// marks have no address.
func TestMarkedNBMA(t *testing.T) {
	for mark, want := range map[uint32]netip.Addr{
		0:         {},
		1:         netip.MustParseAddr("0.0.0.1"),
		0x010203:  netip.MustParseAddr("0.1.2.3"),
		0xfdffff:  netip.MustParseAddr("0.253.255.255"),
		0xfe0000:  {}, // from here on the addresses stand for peers without a mark
		0xffffff:  {},
		0x1000000: {},
	} {
		got := MarkedNBMA(mark)
		if got != want {
			t.Errorf("mark %#x is named %v, not %v", mark, got, want)
		}
		back, named := MarkOf(got)
		if named != want.IsValid() || named && back != mark {
			t.Errorf("%v names mark %#x, %v; it was made for %#x", got, back, named, mark)
		}
	}
}

// The address of a parked peer stands for a mark that no SA has. Packets for it must not be sent to
// it as if it were an outer address.
func TestParkedNBMA(t *testing.T) {
	for number, want := range map[uint32]string{
		1: "0.255.0.1", 0x0102: "0.255.1.2", 0xffff: "0.255.255.255", 0x10001: "0.255.0.1",
	} {
		got := ParkedNBMA(number)
		if got != netip.MustParseAddr(want) {
			t.Errorf("the parked peer %d is at %s, want %s", number, got, want)
		}
		if mark, marked := MarkOf(got); !marked || MarkedNBMA(mark).IsValid() {
			t.Errorf("%s stands for the mark %#x (%t), want one that no SA has",
				got, mark, marked)
		}
	}
}

// An address outside 0.0.0.0/8 stands for no mark, and neither does 0.0.0.0.
func TestMarkOfAddressesOfTheWorld(t *testing.T) {
	for _, a := range []string{"0.0.0.0", "1.0.0.0", "192.0.2.1", "::", "::1", "::ffff:0.0.0.5"} {
		if mark, named := MarkOf(netip.MustParseAddr(a)); named {
			t.Errorf("%s is taken for mark %d", a, mark)
		}
	}
}
