package preflight

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cygnet/kernel/rtnl"
)

// usual are the interfaces of a host that has what the configurations of these tests name.
var usual = []Link{
	{Name: "lo", Loopback: true, Addresses: prefixes("127.0.0.1/8", "::1/128")},
	link("eth0", "198.51.100.1/24", "2001:db8::1/64", "fe80::1/64"),
	link("eth1", "172.16.1.1/24"),
	link("eth2", "fe80::2/64"),
	link("eth6", "2001:db8:6::1/64"),
}

// link returns an interface with addresses.
func link(name string, addresses ...string) Link {
	l := Link{Name: name}
	var all []rtnl.Address
	for _, p := range prefixes(addresses...) {
		all = append(all, rtnl.Address{Prefix: p})
	}
	l.setAddresses(all)
	return l
}

// prefixes parses prefixes.
func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// A configuration is compared with the devices and addresses of the host. A finding tells what is
// wrong, and what may only not be there yet. Of several devices, one that the tunnel can send from
// is enough to send.
func TestNetwork(t *testing.T) {
	for _, test := range []struct {
		name, old, new string
		want           string // the beginning, with the severity; empty if nothing is found
	}{
		{"as it is", "", "", ""},
		{"an address", `"eth0"`, `"198.51.100.1"`, ""},
		{"IPv6 only", `"eth0"`, `"eth6"`, ""},
		{"an IPv6 address", `"eth0"`, `"2001:db8::1"`, ""},
		{"an address of each IP version", `"eth0"`, `["198.51.100.1", "2001:db8::1"]`, ""},
		{"a device in reserve", `"eth0"`, `["eth0", "eth6"]`, ""},
		{"no such device", `"eth0"`, `"eth7"`,
			"error: network: gre1: this host has no device eth7, so nothing can be sent: set underlay to one of eth0, eth1, eth6"},
		{"PPPoE", `"eth0"`, `"ppp0"`,
			"warning: network: gre1: there is no device ppp0 yet, and nothing can be sent until it has an IPv4 or a global IPv6 address"},
		{"VLAN", `"eth0"`, `"eth0.7"`,
			"warning: network: gre1: there is no device eth0.7 yet, and nothing can be sent until it has an IPv4 or a global IPv6 address"},
		{"DHCP", `"eth0"`, `"eth2"`,
			"warning: network: gre1: eth2 has no address yet that the tunnel can send from, and nothing can be sent until it has an IPv4 or a global IPv6 address"},
		{"loopback", `"eth0"`, `"lo"`,
			"error: network: gre1: lo is the loopback device and has no address that others can reach, so nothing can be sent: set underlay to one of eth0, eth1, eth6"},
		{"the best of several without an address", `"eth0"`, `["eth2", "eth1"]`,
			"advice: network: gre1: eth2 has no address yet that the tunnel can send from, and the tunnel cannot use it until it has an IPv4 or a global IPv6 address"},
		{"a reserve that is not there", `"eth0"`, `["eth0", "wwan0"]`,
			"advice: network: gre1: there is no device wwan0 yet, and the tunnel cannot use it until it has an IPv4 or a global IPv6 address"},
		{"a misspelt reserve", `"eth0"`, `["eth0", "eth9"]`,
			"warning: network: gre1: this host has no device eth9, so the tunnel cannot use it: correct or remove its name in underlay"},
		{"the loopback device in reserve", `"eth0"`, `["eth0", "lo"]`,
			"warning: network: gre1: lo is the loopback device and has no address that others can reach, so the tunnel cannot use it: correct or remove its name in underlay"},
		{"several, and none with an address", `"eth0"`, `["eth2", "wwan0", "eth9"]`,
			"warning: network: gre1: eth2 has no address yet that the tunnel can send from, there is no device wwan0 yet, this host has no device eth9, and nothing can be sent until one of them has an IPv4 or a global IPv6 address"},
		{"several, and none of them there", `"eth0"`, `["eth8", "eth9"]`,
			"error: network: gre1: this host has no device eth8, this host has no device eth9, so nothing can be sent: set underlay to one of eth0, eth1, eth6"},
		{"no such address", `"eth0"`, `"192.0.2.77"`,
			"error: network: gre1: no device of this host has the address 192.0.2.77, so nothing can be sent: set underlay to an address or a device of this host (eth0, eth1, eth6)"},
		{"no such IPv6 address", `"eth0"`, `"2001:db8:9::77"`,
			"error: network: gre1: no device of this host has the address 2001:db8:9::77, so nothing can be sent: set underlay to an address or a device of this host (eth0, eth1, eth6)"},
		{"VRRP", `"eth0"`, `"198.51.100.77"`,
			"warning: network: gre1: no device has the address 198.51.100.77 yet, and nothing can be sent until one has it; it is of the network of eth0"},
		{"an IPv6 address that may come", `"eth0"`, `"2001:db8::77"`,
			"warning: network: gre1: no device has the address 2001:db8::77 yet, and nothing can be sent until one has it; it is of the network of eth0"},
		{"no such address of IPv6, and one of IPv4", `"eth0"`, `["198.51.100.1", "2001:db8:9::77"]`,
			"error: network: gre1: no device of this host has the address 2001:db8:9::77, so nothing can be sent over IPv6: set underlay to an address or a device of this host (eth0, eth1, eth6)"},
		{"no such address of IPv4, and one of IPv6", `"eth0"`, `["198.51.100.77", "2001:db8::1"]`,
			"warning: network: gre1: no device has the address 198.51.100.77 yet, and nothing can be sent over IPv4 until one has it; it is of the network of eth0"},
		{"NHS", `"hub"`, `"198.51.100.1"`,
			"error: network: gre1: the NHS 198.51.100.1 is an address of this router itself (eth0): give the address of the hub"},
		{"NHS on another device", `"hub"`, `"172.16.1.1"`,
			"error: network: gre1: the NHS 172.16.1.1 is an address of this router itself (eth1): give the address of the hub"},
		{"overlay in the underlay", "10.255.0.11/24", "198.51.100.11/24",
			"error: network: gre1: the overlay 198.51.100.0/24 overlaps with 198.51.100.0/24, the network of eth0 that the tunnel sends from, so that its own packets would go into the tunnel: give the overlay a range that nothing else has"},
		{"overlay around the underlay", "10.255.0.11/24", "198.51.0.11/16",
			"error: network: gre1: the overlay 198.51.0.0/16 overlaps with 198.51.100.0/24"},
		{"overlay in a LAN", "10.255.0.11/24", "172.16.0.11/16",
			"warning: network: gre1: the overlay 172.16.0.0/16 overlaps with 172.16.1.0/24, the network of eth1"},
		{"own overlay address elsewhere", "10.255.0.11/24", "172.16.1.1/32",
			"error: network: gre1: eth1 has the overlay address 172.16.1.1 already: give the tunnel another one"},
	} {
		h, _ := host(t)
		text := strings.Replace(spokeText, `"hub.example.net"`, `"hub"`, 1)
		if !strings.Contains(text, test.old) {
			t.Fatalf("%s: there is no %s", test.name, test.old)
		}
		c := parse(t, strings.Replace(text, test.old, test.new, 1))
		var got []string
		for _, f := range h.Network(c) {
			got = append(got, string(f.Severity)+": "+f.String())
		}
		if test.want == "" && len(got) > 0 ||
			test.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], test.want)) {
			t.Errorf("%s: found %q, want %q", test.name, got, test.want)
		}
	}
}

// A tunnel without IPsec cannot send from an IPv6 address, so a device that has no other is of no
// use to it.
func TestNetworkWithoutIPsec(t *testing.T) {
	for device, want := range map[string]string{
		"eth0": "",
		"eth2": "warning: network: gre1: eth2 has no address yet that the tunnel can send from, and nothing can be sent until it has an IPv4 address",
		"eth6": "warning: network: gre1: eth6 has IPv6 addresses only, which need IPsec, and nothing can be sent until it has an IPv4 address",
		"eth7": "error: network: gre1: this host has no device eth7, so nothing can be sent: set underlay to one of eth0, eth1",
	} {
		h, _ := host(t)
		got := ""
		for _, f := range h.Network(parse(t, strings.Replace(clearText, "eth0", device, 1))) {
			got += string(f.Severity) + ": " + f.String()
		}
		if got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}

// The overlay is compared with the networks of the VRF that the tunnel is to be in, and with no
// others. A VRF that is not there may come later; another device never becomes one.
func TestNetworkInVRF(t *testing.T) {
	const red, blue = "\"\nvrf = \"red\"", "\"\nvrf = \"blue\""
	for address, want := range map[string]string{
		"10.255.0.11/24" + red: "error: network: gre1: eth3 has the overlay address 10.255.0.11 already",
		"172.20.0.12/24" + red: "warning: network: gre1: the overlay 172.20.0.0/24 overlaps with 172.20.0.0/16, the network of eth3",
		"172.20.0.12/24\"":     "",
		"172.16.1.1/24" + red:  "",
		"10.255.0.11/24" + blue: "warning: network: gre1: there is no VRF blue yet, and the tunnel waits for it: " +
			"ip link add blue up type vrf table NUMBER",
		"10.255.0.11/24\"\nvrf = \"eth2\"": "error: network: gre1: eth2 is no VRF",
	} {
		h, _ := host(t)
		inRed := link("eth3", "10.255.0.11/24", "172.20.0.1/16")
		inRed.VRF = "red"
		h.Links = func() ([]Link, error) {
			return append([]Link{
				inRed,
				{Name: "red", VRF: "red", IsVRF: true},
			}, usual...), nil
		}
		text := strings.NewReplacer("10.255.0.11/24\"", address, "hub.example.net", "hub")
		got := ""
		for _, f := range h.Network(parse(t, text.Replace(spokeText))) {
			got += string(f.Severity) + ": " + f.String()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%q: found %q, want %q", address, got, want)
		}
	}
}

// A tunnel whose packets do not fit into its underlay is told with the numbers, and with what
// becomes of them. One whose MTU follows the underlay's fits, unless the underlay is too small for
// any tunnel.
func TestNetworkMTU(t *testing.T) {
	const cbc = `key = 42
[interface.gre1.ipsec]
esp_proposals = ["aes256-sha512-x25519"]`
	const nhs6 = "\x00" // the hub is at an IPv6 address
	for _, test := range []struct {
		name     string
		underlay int
		settings string
		want     string // the beginning; empty if nothing is found
	}{
		{"the default", 1500, "", ""},
		{"the default over IPv6", 1500, nhs6, ""},
		{"a small underlay over IPv6", 1476, nhs6,
			"to routers at IPv6 addresses, packets of the tunnel's MTU, 1400, have 1480 bytes in the underlay, since the header of IPv6 is 20 bytes longer than that of IPv4, and eth0 takes 1476: they are lost, and their sender is told; the longest that passes has 1398: set mtu to 1398 or less"},
		{"auto in a small underlay over IPv6", 1476, nhs6 + `mtu = "auto"`, ""},
		{"PPPoE", 1492, "", ""},
		{"not known", 0, "mtu = 1500", ""},
		{"jumbo frames", 9000, "mtu = 1500", ""},
		{"auto", 1492, `mtu = "auto"`, ""},
		{"as long as the underlay's", 1500, "mtu = 1500",
			"packets of the tunnel's MTU, 1500, have up to 1568 bytes in the underlay with GRE, ESP and UDP encapsulation around them, and eth0 takes 1500: they leave in fragments; the longest that leaves in one piece has 1434: set mtu to 1434 or less on all routers of the overlay"},
		{"AES-CBC over PPPoE", 1492, "-",
			"packets of the tunnel's MTU, 1400, have up to 1508 bytes in the underlay with GRE, ESP and UDP encapsulation around them, and eth0 takes 1492: they leave in fragments; the longest that leaves in one piece has 1398"},
		{"outer_df", 1492, "mtu = 1480\nouter_df = \"always\"",
			"packets of the tunnel's MTU, 1480, have up to 1548 bytes in the underlay with GRE, ESP and UDP encapsulation around them, and eth0 takes 1492: they are lost"},
		{"auto in a tiny underlay", 600, `mtu = "auto"`,
			"packets of the tunnel's MTU, 576, have up to 644 bytes in the underlay with GRE, ESP and UDP encapsulation around them, and eth0 takes 600: they leave in fragments; the longest that leaves in one piece has 534: give eth0 a larger MTU"},
	} {
		h, _ := host(t)
		addresses := []string{"198.51.100.1/24"}
		settings, over6 := strings.CutPrefix(test.settings, nhs6)
		if over6 {
			addresses = append(addresses, "2001:db8::11/64")
		}
		eth0 := link("eth0", addresses...)
		eth0.MTU = test.underlay
		h.Links = func() ([]Link, error) { return []Link{eth0}, nil }
		text := strings.Replace(spokeText, "[interface.gre1.ipsec]",
			settings+"\n[interface.gre1.ipsec]", 1)
		if over6 {
			text = strings.Replace(text, "hub.example.net", "2001:db8::1", 1)
		}
		if test.settings == "-" {
			text = strings.Replace(spokeText, "[interface.gre1.ipsec]", cbc, 1)
		}
		var got []string
		for _, f := range h.Network(parse(t, text)) {
			got = append(got, f.Text)
		}
		if test.want == "" && len(got) > 0 ||
			test.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], test.want)) {
			t.Errorf("%s: found %q, want %q", test.name, got, test.want)
		}
	}
}

// A tunnel of the configuration, which a running daemon has made, is not compared with it.
func TestNetworkLeavesTunnelsOut(t *testing.T) {
	h, _ := host(t)
	h.Links = func() ([]Link, error) {
		return append([]Link{link("gre1", "10.255.0.11/24")}, usual...), nil
	}
	if got := h.Network(parse(t, spokeText)); len(got) > 0 {
		t.Errorf("found %v", got)
	}
}

// If the interfaces cannot be listed, that is a warning: nobody knows whether the configuration
// fits the host.
func TestNetworkNotLookedAt(t *testing.T) {
	h, _ := host(t)
	h.Links = func() ([]Link, error) { return nil, errors.New("no netlink") }
	want := []Finding{{
		About:    AboutNetwork,
		Severity: Warning,
		Text:     "it was not looked at: no netlink",
	}}
	if diff := cmp.Diff(want, h.Network(parse(t, spokeText))); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// A group for the API that the host does not have is an error. A group's number needs no name.
func TestGroup(t *testing.T) {
	h, _ := host(t)
	c := parse(t, "[daemon]\napi_group = \"operatrs\"\n"+spokeText)
	if got := h.daemon(c); got != nil {
		t.Errorf("found %v", got)
	}
	h.Group = lookupGroup
	got := h.daemon(c)
	if len(got) != 1 || got[0].Severity != Error ||
		!strings.Contains(got[0].Text, `this host has no group "operatrs"`) {
		t.Errorf("found %v", got)
	}
	c.Daemon.APIGroup = "12345"
	if got := h.daemon(c); got != nil {
		t.Errorf("of a number: found %v", got)
	}
}

// links returns this host's interfaces as package net lists them.
func TestLinks(t *testing.T) {
	got, err := links()
	if err != nil {
		t.Fatal(err)
	}
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	want := make([]Link, len(all))
	for n, i := range all {
		want[n] = Link{Name: i.Name, Loopback: i.Flags&net.FlagLoopback != 0, MTU: i.MTU}
		addrs, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			want[n].Addresses = append(want[n].Addresses, netip.MustParsePrefix(a.String()))
		}
	}
	for n := range got {
		got[n].Underlay = rtnl.Underlay{} // package net does not choose addresses
	}
	if diff := cmp.Diff(
		want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
	); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
