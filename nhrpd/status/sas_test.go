package status

import (
	"net/netip"
	"testing"

	"cygnet/nhrpd/api"
)

// If several routers share an address, packets reach the one with the newest CHILD_SA there.
func TestWhoIsReached(t *testing.T) {
	shared, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	peers := []api.Peer{
		{Interface: "gre1", NBMA: shared, SharedWith: []string{"b", "c"}},
		{Interface: "gre1", NBMA: shared, Mark: 7, SharedWith: []string{"d"}},
		{Interface: "gre1", NBMA: other, Identity: "e"},
	}
	sa := func(
		device string, remote netip.Addr, identity string, mark uint32, children ...uint32,
	) api.SA {
		out := api.SA{Interface: device, Remote: remote, RemoteIdentity: identity}
		for _, id := range children {
			out.Children = append(out.Children, api.ChildSA{ID: id, Mark: mark})
		}
		return out
	}
	MarkReached(peers, []api.SA{
		sa("gre1", shared, "a", 0, 3, 11),
		sa("gre1", shared, "b", 0, 12),
		sa("gre1", shared, "c", 0, 5),
		sa("gre1", shared, "d", 7, 40),
		sa("gre2", shared, "f", 0, 50),
		sa("gre1", other, "e", 0, 60),
	})
	if peers[0].Reached != "b" || peers[1].Reached != "d" || peers[2].Reached != "" {
		t.Errorf("reached are %q, %q and %q, want b, d and nobody",
			peers[0].Reached, peers[1].Reached, peers[2].Reached)
	}
}
