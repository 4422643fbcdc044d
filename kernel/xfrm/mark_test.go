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
		0xfeffff:  netip.MustParseAddr("0.254.255.255"),
		0xff0000:  {}, // from here on the addresses stand for peers without a mark
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

// An address that stands for a peer without a mark is a name, too. Packets for it must not be sent
// to it as if it were an outer address.
func TestNamesOfNoMark(t *testing.T) {
	if mark, named := MarkOf(netip.MustParseAddr("0.255.0.1")); !named ||
		MarkedNBMA(mark).IsValid() {
		t.Errorf("mark %#x, %v", mark, named)
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
