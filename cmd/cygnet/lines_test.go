package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/api"
)

// The devices that a tunnel can send from are told with what is known of each.
func TestUplinkLines(t *testing.T) {
	at := now
	address := netip.MustParseAddr("203.0.113.11")
	have := uplinks(&api.Uplinks{
		Since: at.Add(-time.Minute), Reason: "no NHS answers over eth0",
		Devices: []api.Uplink{
			{Device: "eth0", Address: address, Returns: at.Add(30 * time.Second)},
			{Device: "wwan0", Address: address, InUse: true},
			{Device: "eth1"},
			{Device: "eth2", Address: address, Lost: 3},
			{Device: "eth3", Address: address, Answered: at.Add(-10 * time.Second)},
			{Device: "eth4", Address: address},
		},
	}, at)
	want := []string{
		"eth0: a next hop server answers over it, in use again in 30s",
		"wwan0: in use, chosen 1m0s ago: no NHS answers over eth0",
		"eth1: no address, or no carrier",
		"eth2: no answer to the last 3 probes",
		"eth3: in reserve, a next hop server answered over it 10s ago",
		"eth4: in reserve",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if lines := uplinks(nil, at); lines != nil {
		t.Errorf("of a tunnel with one underlay: %q", lines)
	}
}

// Each line of an interface's status says what there is, and nothing where nothing is to say.
func TestInterfaceLines(t *testing.T) {
	v4, v6 := netip.MustParseAddr("203.0.113.11"), netip.MustParseAddr("2001:db8::11")
	nat := netip.MustParseAddr("198.51.100.77")
	for _, c := range []struct{ name, have, want string }{
		{"no devices of peers", links(nil), ""},
		{"none yet", links(&api.Links{Limit: 100}), ""},
		{"some", links(&api.Links{Devices: 3, Limit: 100}),
			"3 devices of peers at IPv6 addresses, 100 allowed"},
		{"too many", links(&api.Links{Devices: 100, Limit: 100, Refused: 2}),
			"100 devices of peers at IPv6 addresses, 100 allowed; 2 peers REFUSED"},

		{"no underlay address", underlay(&api.Interface{}), "no address"},
		{"an address that is gone", underlay(&api.Interface{NBMA: v4, Absent: true}),
			"203.0.113.11, which this host does not have now"},
		{"behind NAT", underlay(&api.Interface{NBMA: v4, PublicNBMA: nat}),
			"203.0.113.11, seen from outside as 198.51.100.77 (NAT)"},
		{"both IP versions", underlay(&api.Interface{NBMA: v6, SecondNBMA: v4}),
			"2001:db8::11 and 203.0.113.11"},

		{"overlay of both families", overlayAddresses(&api.Interface{Addresses: []netip.Prefix{
			netip.MustParsePrefix("10.255.0.11/24"), netip.MustParsePrefix("fd00::11/64")}}),
			"10.255.0.11/24, fd00::11/64"},
		{"overlay of an earlier daemon", overlayAddresses(&api.Interface{
			Address: netip.MustParsePrefix("10.255.0.11/24")}), "10.255.0.11/24"},

		{"no group packets", groups(nil), ""},
		{"one receiver", groups(&api.Multicast{Mode: api.MulticastEBPF, Receivers: 1}),
			"to 1 router"},
		{"before the registrations", groups(&api.Multicast{Mode: api.MulticastWaits,
			Receivers: 2}), "to 2 routers, once all NHSs are registered with"},
		{"without eBPF", groups(&api.Multicast{Mode: api.MulticastUserSpace, Receivers: 2}),
			"to 2 routers by the daemon, as eBPF is not available"},

		{"no path", pathCell(nil), ""},
		{"a proven path", pathCell(&api.Path{State: api.PathProven}), string(api.PathProven)},
		{"a path for short packets", pathCell(&api.Path{State: api.PathSmall, MTU: 1300}),
			string(api.PathSmall) + ", MTU 1300"},

		{"the default MTU", largest(&api.Interface{MTU: 1400, OuterDF: "never"}), ""},
		{"an MTU by the underlay's", largest(&api.Interface{MTU: 1430, MTUAuto: true,
			MSSLowered: 2}), "1430, by the underlay's; 2 TCP segment sizes lowered"},
		{"long packets are lost", largest(&api.Interface{MTU: 1400, OuterDF: "always"}),
			"1400; what a path does not take is lost (pmtudisc)"},
	} {
		if c.have != c.want {
			t.Errorf("%s: want %q, have %q", c.name, c.want, c.have)
		}
	}
}

// A program of the report is run with a bound on what it prints; what it prints before it fails is
// kept.
func TestReportRunsPrograms(t *testing.T) {
	out, err := execute(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 3")
	if string(out) != "out\nerr\n" || err == nil || !strings.Contains(err.Error(), "status 3") {
		t.Errorf("a program that fails: %q, %v", out, err)
	}
	out, err = execute(t.Context(), "head", "-c", "9000000", "/dev/zero")
	if len(out) != mostOfAPart+1 || err != nil {
		t.Errorf("a program that prints 9,000,000 bytes: %d bytes are kept, %v", len(out), err)
	}
	if _, err := execute(t.Context(), "/no/such/program"); err == nil {
		t.Error("a program that there is not: no error")
	}
}
