package overlay

import (
	"net/netip"
	"testing"
)

// withAddress returns an interface with an overlay address and the range of the overlay; an empty
// range is not configured.
func withAddress(address, overlay string) *Interface {
	cfg := InterfaceConfig{Address: netip.MustParsePrefix(address)}
	if overlay != "" {
		cfg.Overlay = netip.MustParsePrefix(overlay)
	}
	return &Interface{Config: cfg}
}

func TestOverlayRange(t *testing.T) {
	for _, tt := range []struct{ address, overlay, want string }{
		{"10.255.0.1/24", "", "10.255.0.0/24"},
		{"10.255.0.1/24", "10.255.0.0/16", "10.255.0.0/16"},
		{"10.255.0.1/32", "10.255.0.0/16", "10.255.0.0/16"},
		{"fd00::1/64", "", "fd00::/64"},
		{"10.255.0.1/32", "", "invalid Prefix"},
	} {
		own := netip.MustParsePrefix(tt.address).Addr()
		if got := withAddress(tt.address, tt.overlay).OverlayRange(own); got.String() != tt.want {
			t.Errorf("%s with overlay %q: want %s, have %s", tt.address, tt.overlay, tt.want, got)
		}
	}
}

// Only an address of the overlay may be another router's, and none that stands for the link itself.
func TestClientAddress(t *testing.T) {
	for _, tt := range []struct {
		address, overlay, of string
		want                 bool
	}{
		{"10.255.0.1/24", "", "10.255.0.11", true},
		{"10.255.0.1/24", "", "10.255.0.1", false},
		{"10.255.0.1/24", "", "10.255.0.0", false},
		{"10.255.0.1/24", "", "10.255.0.255", false},
		{"10.255.0.1/24", "", "10.255.1.11", false},
		{"10.255.0.1/24", "", "fd00::11", false},
		{"10.255.0.1/24", "10.255.0.0/16", "10.255.1.11", true},
		{"10.255.0.1/24", "10.255.0.0/16", "10.255.0.255", false},
		{"10.255.0.1/24", "10.255.0.0/16", "10.254.0.11", false},
		{"10.255.0.1/31", "", "10.255.0.0", true},
		{"10.255.0.1/32", "10.255.0.0/24", "10.255.0.255", true},
		{"10.255.0.1/32", "", "10.77.0.1", true},
		{"10.255.0.1/32", "", "224.0.0.1", false},
		{"10.255.0.1/32", "", "255.255.255.255", false},
		{"fd00::1/64", "", "fd00::11", true},
		{"fd00::1/64", "", "fd00::", false},
	} {
		if got := withAddress(tt.address, tt.overlay).ClientAddress(addr(tt.of)); got != tt.want {
			t.Errorf("%s with overlay %q: that %s may be a client's is %t, want %t",
				tt.address, tt.overlay, tt.of, got, tt.want)
		}
	}
	if withAddress("10.255.0.1/24", "").ClientAddress(netip.Addr{}) {
		t.Error("the zero address may be a client's")
	}
}

func TestOverlaid(t *testing.T) {
	for _, tt := range []struct {
		address, overlay, prefix string
		want                     bool
	}{
		{"10.255.0.1/24", "", "10.255.0.128/25", true},
		{"10.255.0.1/24", "", "10.0.0.0/8", true},
		{"10.255.0.1/24", "", "10.255.1.0/24", false},
		{"10.255.0.1/24", "10.255.0.0/16", "10.255.1.0/24", true},
		{"10.255.0.1/32", "", "10.255.0.0/24", true},
		{"10.255.0.1/32", "", "10.255.1.0/24", false},
	} {
		got := withAddress(tt.address, tt.overlay).Overlaid(netip.MustParsePrefix(tt.prefix))
		if got != tt.want {
			t.Errorf("%s with overlay %q: that %s overlaps the overlay is %t, want %t",
				tt.address, tt.overlay, tt.prefix, got, tt.want)
		}
	}
}

func TestBroadcastAddress(t *testing.T) {
	for address, want := range map[string]string{
		"10.255.0.1/24": "10.255.0.255",
		"10.255.1.1/22": "10.255.3.255",
		"10.255.0.1/30": "10.255.0.3",
		"10.255.0.1/31": "invalid IP",
		"10.255.0.1/32": "invalid IP",
		"fd00::1/64":    "invalid IP",
	} {
		own := netip.MustParsePrefix(address).Addr()
		if got := withAddress(address, "").Broadcast(own); got.String() != want {
			t.Errorf("broadcast address of %s: want %s, have %s", address, want, got)
		}
	}
}

// No router has an address of 0.0.0.0/8. Among them, 0.0.0.0 is no address at all.
func TestNBMAAddresses(t *testing.T) {
	for _, tt := range []struct {
		nbma                  string
		inThisNetwork, usable bool
	}{
		{"192.0.2.1", false, true},
		{"0.0.0.1", true, false},
		{"0.255.255.255", true, false},
		{"0.0.0.0", false, false},
		{"1.0.0.0", false, true},
		{"224.0.0.5", false, false},
		{"2001:db8::1", false, true},
		{"::", false, false},
	} {
		a := addr(tt.nbma)
		if InThisNetwork(a) != tt.inThisNetwork || UsableNBMA(a) != tt.usable {
			t.Errorf("%s: in 0.0.0.0/8 %t, usable %t; want %t and %t",
				a, InThisNetwork(a), UsableNBMA(a), tt.inThisNetwork, tt.usable)
		}
	}
}
