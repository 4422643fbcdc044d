package preflight

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// usual are the interfaces of a host that has what the configurations of these tests name.
var usual = []Link{
	{Name: "lo", Loopback: true, Addresses: prefixes("127.0.0.1/8", "::1/128")},
	{Name: "eth0", Addresses: prefixes("198.51.100.1/24", "2001:db8::1/64")},
	{Name: "eth1", Addresses: prefixes("172.16.1.1/24")},
	{Name: "eth2"},
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
// wrong, and what may only not be there yet.
func TestNetwork(t *testing.T) {
	for _, test := range []struct {
		name, old, new string
		want           string // the beginning, with the severity; empty if nothing is found
	}{
		{"as it is", "", "", ""},
		{"an address", `"eth0"`, `"198.51.100.1"`, ""},
		{"no such device", `"eth0"`, `"eth7"`,
			"error: network: gre1: this host has no device eth7, so nothing can be sent: set underlay to one of eth0, eth1"},
		{"PPPoE", `"eth0"`, `"ppp0"`,
			"warning: network: gre1: there is no device ppp0 yet, and nothing can be sent until there is one with an IPv4 address"},
		{"VLAN", `"eth0"`, `"eth0.7"`,
			"warning: network: gre1: there is no device eth0.7 yet, and nothing can be sent until there is one with an IPv4 address"},
		{"DHCP", `"eth0"`, `"eth2"`,
			"warning: network: gre1: eth2 has no IPv4 address yet, and nothing can be sent until it has one"},
		{"loopback", `"eth0"`, `"lo"`,
			"error: network: gre1: lo is the loopback device and has no address that others can reach: set underlay to one of eth0, eth1"},
		{"no such address", `"eth0"`, `"192.0.2.77"`,
			"error: network: gre1: no device of this host has the address 192.0.2.77, so nothing can be sent: set underlay to an address or a device of this host (eth0, eth1)"},
		{"VRRP", `"eth0"`, `"198.51.100.77"`,
			"warning: network: gre1: no device has the address 198.51.100.77 yet, and nothing can be sent until one has it; it is of the network of eth0"},
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

// A tunnel of the configuration, which a running daemon has made, is not compared with it.
func TestNetworkLeavesTunnelsOut(t *testing.T) {
	h, _ := host(t)
	h.Links = func() ([]Link, error) {
		return append([]Link{{Name: "gre1", Addresses: prefixes("10.255.0.11/24")}}, usual...), nil
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
		want[n] = Link{Name: i.Name, Loopback: i.Flags&net.FlagLoopback != 0}
		addrs, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			want[n].Addresses = append(want[n].Addresses, netip.MustParsePrefix(a.String()))
		}
	}
	if diff := cmp.Diff(
		want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
