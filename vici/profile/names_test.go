package profile

import (
	"net/netip"
	"testing"
)

// The name of every connection tells its interface and its peer, whatever the interface is
// called: also like another interface's connection to a peer, or like one of the endings that
// names of ours have.
func TestNamesTellInterfaceAndPeer(t *testing.T) {
	interfaces := []string{
		"gre1", "dmvpn", "dmvpn-10.0.0.1", "dmvpn-10.0.0.1-any", "dmvpn-any", "any", "-any",
		"a-1.1.1.1-nat", "a-1.1.1.1-nat-5",
		"a-1.1.1.1", "a", "a-nat", "a-nat-5", "a-any-nat", "1.1.1.1", "-1.1.1.1", "a-b-1.1.1.1",
		"a-1.1.1", "cygnet-a",
	}
	peers := []netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("1.1.1.1"),
		netip.MustParseAddr("2001:db8::1")}
	means := map[string]string{}
	for _, iface := range interfaces {
		for _, peer := range peers {
			names := []string{ConnectionName(iface, peer)}
			if peer.IsValid() {
				names = append(names, SharedName(iface, peer), RecallName(iface, peer, 4500))
			}
			for i, name := range names {
				gotIface, gotPeer, ok := ParseName(name)
				if !ok || gotIface != iface || gotPeer != peer {
					t.Errorf("%s of interface %q and peer %v is read as interface %q and peer %v",
						name, iface, peer, gotIface, gotPeer)
				}
				if GivesMarks(name) != (i > 0) {
					t.Errorf("%s is taken for a connection that gives marks: %v", name,
						GivesMarks(name))
				}
				if other, there := means[name]; there {
					t.Errorf("%s is the name of %s and of %s %v", name, other, iface, peer)
				}
				means[name] = iface + " " + peer.String()
			}
		}
	}
}

func TestNamesOfConnectionsThatMark(t *testing.T) {
	address := netip.MustParseAddr("192.0.2.11")
	for _, tt := range []struct {
		name string
		want bool
	}{
		{ConnectionName("gre1", netip.Addr{}), false},
		{ConnectionName("gre1", address), false},
		{SharedName("gre1", address), true},
		{RecallName("gre1", address, 4500), true},
		{ConnectionName("gre-nat-1", netip.Addr{}), false},
		{"site", false},
	} {
		if got := GivesMarks(tt.name); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if iface, peer, ok := ParseName(RecallName("gre1", address, 4500)); iface != "gre1" ||
		peer != address || !ok {
		t.Errorf("parsed as %q %v %v", iface, peer, ok)
	}
	if iface, _, ok := ParseName(ConnectionName("gre-nat-1", netip.Addr{})); iface != "gre-nat-1" ||
		!ok {
		t.Errorf("parsed as %q", iface)
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name, iface, peer string
	}{
		{"cygnet-gre1", "gre1", ""},
		{"cygnet-gre1-192.0.2.1", "gre1", "192.0.2.1"},
		{"cygnet-gre-east-2001:db8::1", "gre-east", "2001:db8::1"},
		{"cygnet-gre-east", "gre-east", ""},
		{"cygnet-gre-2", "gre-2", ""},
		{"cygnet-gre1-nat", "gre1-nat", ""},
	} {
		iface, peer, ok := ParseName(test.name)
		if !ok || iface != test.iface || (peer.IsValid() && peer.String() != test.peer) ||
			(!peer.IsValid() && test.peer != "") {
			t.Errorf("%s is %q, %v, %v", test.name, iface, peer, ok)
		}
		if back := ConnectionName(iface, peer); back != test.name {
			t.Errorf("%s became %s", test.name, back)
		}
	}
	if iface, addr,
		ok := ParseName(SharedName("gre-east", netip.MustParseAddr("192.0.2.1"))); !ok ||
		iface != "gre-east" || addr.String() != "192.0.2.1" {
		t.Errorf("the connection of a shared address is %q, %v, %v", iface, addr, ok)
	}
	for _, foreign := range []string{"", "site", "cygnet", "cygnet-", "Cygnet-gre1"} {
		if iface, _, ok := ParseName(foreign); ok {
			t.Errorf("%q is taken for ours: %q", foreign, iface)
		}
	}
}
