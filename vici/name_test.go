package vici

import (
	"net/netip"
	"testing"
)

// The name of every connection tells its interface and its peer, whatever the interface is
// called: also like another interface's connection to a peer, or like one of the endings that
// names of ours have.
func TestNamesTellInterfaceAndPeer(t *testing.T) {
	interfaces := []string{
		"gre1", "dmvpn", "dmvpn-10.0.0.1", "dmvpn-10.0.0.1-any", "dmvpn-any", "any", "-any", "a-1.1.1.1-nat", "a-1.1.1.1-nat-5",
		"a-1.1.1.1", "a", "a-nat", "a-nat-5", "a-any-nat", "1.1.1.1", "-1.1.1.1", "a-b-1.1.1.1", "a-1.1.1", "cygnet-a",
	}
	peers := []netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("2001:db8::1")}
	means := map[string]string{}
	for _, iface := range interfaces {
		for _, peer := range peers {
			names := []string{connName(iface, peer)}
			if peer.IsValid() {
				names = append(names, sharedName(iface, peer), recallName(iface, peer, 4500))
			}
			for i, name := range names {
				gotIface, gotPeer, ok := parseName(name)
				if !ok || gotIface != iface || gotPeer != peer {
					t.Errorf("%s of interface %q and peer %v is read as interface %q and peer %v", name, iface, peer, gotIface, gotPeer)
				}
				if marking(name) != (i > 0) {
					t.Errorf("%s is taken for a connection that gives marks: %v", name, marking(name))
				}
				if other, there := means[name]; there {
					t.Errorf("%s is the name of %s and of %s %v", name, other, iface, peer)
				}
				means[name] = iface + " " + peer.String()
			}
		}
	}
}
