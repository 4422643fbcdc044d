package sagroup

import (
	"net/netip"
	"testing"

	"cygnet/vici"

	"github.com/google/go-cmp/cmp"
)

// Each event about a group's SA becomes that of an interface, and is otherwise the same. What
// strongSwan reported, which several interfaces hear of, stays as it was. An event about charon
// itself is about no group.
func TestEventForInterface(t *testing.T) {
	nbma, before := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	key := func(iface string) vici.Key { return vici.Key{Interface: iface, NBMA: nbma} }
	peer := func(iface string) vici.Peer { return vici.Peer{Interface: iface, NBMA: nbma} }
	events := func(iface string) []vici.Event {
		return []vici.Event{
			vici.Up{Peer: peer(iface)},
			vici.Moved{From: vici.Key{Interface: iface, NBMA: before}, Peer: peer(iface)},
			vici.Renewed{Peer: peer(iface)},
			vici.Down{Key: key(iface), Reason: "closed"},
			vici.Failed{Key: key(iface), Reason: "no answer"},
			vici.Refused{Key: key(iface)},
			vici.Snapshot{Interface: iface, Peers: []vici.Peer{peer(iface)}},
		}
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	of, want := events("gre1"), events("gre2")
	for n, ev := range of {
		if got := About(ev); got != "gre1" {
			t.Errorf("%T is about the group %q, want gre1", ev, got)
		}
		if diff := cmp.Diff(want[n], ForInterface(ev, "gre2"), same); diff != "" {
			t.Errorf("%T: want (-), got (+):\n%s", ev, diff)
		}
	}
	if diff := cmp.Diff(events("gre1"), of, same); diff != "" {
		t.Errorf("the group's events changed: were (-), are (+):\n%s", diff)
	}
	if got := About(vici.Disconnected{}); got != "" {
		t.Errorf("that charon is gone is about the group %q, want none", got)
	}
}
