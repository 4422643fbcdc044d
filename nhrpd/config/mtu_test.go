package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The overhead counts the key and the proposals of the interface, and clear GRE has no ESP.
func TestOverheadOfAnInterface(t *testing.T) {
	keyed := spokeWith("[interface.gre1.ipsec]\nesp_proposals = [\"aes128-sha256-x25519\"]\n")
	clear, _, _ := strings.Cut(spokeWith(`protection = "none"`), "[interface.gre1.ipsec]")
	for _, test := range []struct {
		name, text string
		want, six  int // the longest packets in an underlay of 1500
	}{
		{"AES-GCM with a key", spokeWith(""), 1430, 1418},
		{"AES-CBC with a key", keyed, 1414, 1398},
		{"AES-CBC without a key", strings.Replace(keyed, "key      = 42\n", "", 1), 1418, 1402},
		{"clear GRE with a key", clear, 1472, 1452},
	} {
		i := mustParse(t, test.text).Interfaces[0]
		got, six := i.Overhead().Longest(1500), i.OverheadIPv6().Longest(1500)
		if got != test.want || six != test.six {
			t.Errorf("%s: %d over IPv4 and %d over IPv6, want %d and %d",
				test.name, got, six, test.want, test.six)
		}
	}
	over6 := spokeWith("mtu = \"auto\"\nnhs = [{ nbma = \"2001:db8::1\" }]")
	if i := mustParse(t, over6).Interfaces[0]; i.MTU != 1418 {
		t.Errorf("\"auto\" with an NHS at an IPv6 address: %d, want 1418", i.MTU)
	}
}

// mtu = "auto" fits the underlay that is known, or one of 1500, within the setting's own limits.
// The segment size follows from the MTU of the tunnel.
func TestAutoMTU(t *testing.T) {
	i := mustParse(t, spokeWith("mtu = \"auto\"")).Interfaces[0]
	if !i.AutoMTU || i.MTU != 1430 {
		t.Errorf("auto: %v, MTU %d, want 1430 until the underlay is known", i.AutoMTU, i.MTU)
	}
	for underlay, want := range map[int]int{
		0: 1430, 1492: 1422, 1500: 1430, 500: 576, 65535: 65000,
	} {
		if got := i.FitMTU(underlay); got != want {
			t.Errorf("an underlay of %d: %d, want %d", underlay, got, want)
		}
	}
	for setting, want := range map[string][2]int{
		"":             {1390 - 40, 1390 - 60},
		`mss = "auto"`: {1390 - 40, 1390 - 60},
		`mss = "off"`:  {0, 0},
		`mss = 1300`:   {1300, 1300},
	} {
		i := mustParse(t, spokeWith("mtu = 1390\n"+setting)).Interfaces[0]
		ipv4, ipv6 := i.SegmentSizes()
		if diff := cmp.Diff(want, [2]int{ipv4, ipv6}); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", setting, diff)
		}
	}
}
