package peers

import (
	"net/netip"
	"slices"
	"testing"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// marked returns where the kernel was told to send the packets of marked peers.
func (w *world) marked() map[peerid.ID]netip.Addr {
	routes := map[peerid.ID]netip.Addr{}
	for _, c := range w.out.Marked {
		if routes[peerid.Marked(c.Mark)] = c.Outer; c.Delete {
			delete(routes, peerid.Marked(c.Mark))
		}
	}
	return routes
}

// Two routers behind one NAT have a peer each. The kernel sends the packets of both to the NAT,
// each through its own SA, for as long as that SA is up.
func TestTwoRoutersBehindOneNAT(t *testing.T) {
	w := newWorld(t)
	first, second := w.reason(id1, ForBinding, false), w.reason(id2, ForBinding, false)
	w.secureBehind(nat, id1, "spoke1")
	w.secureBehind(nat, id2, "spoke2")
	if m := w.marked(); m[id1] != nat || m[id2] != nat {
		t.Errorf("packets of marked peers go to %v, want both to %s", m, nat)
	}
	if w.Outer(id1) != nat || w.Outer(id2) != nat || w.Outer(direct) != direct.Address() ||
		w.Outer(peerid.Marked(3)).IsValid() {
		t.Error("the outer addresses are not those of the events")
	}
	if list := w.Addresses.Behind(nat); len(list) != 2 || list[0].ID != id1 || list[1].ID != id2 {
		t.Errorf("behind the NAT are %v, want two peers in order", list)
	}
	w.PeerLost(id1, "gone", false)
	first.wantTold("secured", "lost")
	second.wantTold("secured")
	if m := w.marked(); m[id1].IsValid() || m[id2] != nat {
		t.Errorf("packets of marked peers go to %v, want only those of %s to the NAT", m, id2)
	}
}

// After a restart of strongSwan, its marks mean other routers. What waits for a router behind NAT
// waits at a parked peer, and goes to the router when it is back.
func TestParkAndRebind(t *testing.T) {
	w := newWorld(t)
	r1, r2 := w.reason(id1, ForBinding, false), w.reason(id2, ForBinding, false)
	answer := w.reason(id1, ForAnswer, false)
	w.secureBehind(nat, id1, "spoke1")
	w.secureBehind(nat, id2, "spoke2")
	for _, r := range []*reason{r1, r2, answer} {
		r.told = nil
	}
	successors := map[peerid.ID]*Peer{}
	for _, id := range []peerid.ID{id1, id2} {
		p := w.ByID[id]
		w.NotListed(p)
		w.Park(p, successors)
		if w.ByID[id] != nil {
			t.Errorf("%s is still known", id)
		}
	}
	r1.wantTold("lost", "waits at parked 1")
	answer.wantTold("lost", "waits at parked 1")
	r2.wantTold("lost", "waits at parked 2")
	if !r1.ref.Peer.ID.IsParked() || len(w.marked()) != 0 {
		t.Errorf("the kernel sends packets of marked peers to %v, want to nobody", w.marked())
	}

	w.secureBehind(nat, id1, "spoke2") // the mark that was the other router's
	r2.wantTold("back from parked 2 at mark 1")
	if len(w.ByID) != 1 {
		t.Errorf("%d peers are known, want only the router that is back", len(w.ByID))
	}
}

// A parked router that does not come back within the grace time is lost for good.
func TestParkedRouterIsLost(t *testing.T) {
	w := newWorld(t)
	r := w.reason(id1, ForBinding, false)
	w.secureBehind(nat, id1, "spoke1")
	w.NotListed(w.ByID[id1])
	w.Park(w.ByID[id1], map[peerid.ID]*Peer{})
	w.pass(ResyncGrace - 1)
	r.wantTold("secured", "lost", "waits at parked 1")
	w.pass(1)
	r.wantTold("lost for good")
	w.Release(&r.ref)
	if len(w.ByID) != 0 || len(w.Addresses.Behind(nat)) != 0 {
		t.Errorf("%d peers are known, want none", len(w.ByID))
	}
}

// If an answer went to a NAT address, each router behind it may be the one that asked, so each gets
// a reason of its own: the visit. It ends with the SA.
func TestVisits(t *testing.T) {
	w := newWorld(t)
	w.secureBehind(nat, id1, "spoke1")
	w.AdmitVisitors(atNAT)
	w.answered = true
	w.secureBehind(nat, id2, "spoke2")
	for _, id := range []peerid.ID{id1, id2} {
		if !w.ByID[id].Has(ForAnswer) {
			t.Errorf("the router %s has no visit", id)
		}
		w.PeerLost(id, "gone", false)
	}
	if len(w.ByID) != 0 {
		t.Errorf("%d peers are known, want none", len(w.ByID))
	}
}

// A visit ends when its router registers: the SA then stays for the registration alone.
func TestRegistrationEndsTheVisit(t *testing.T) {
	w := newWorld(t)
	w.secureBehind(nat, id1, "spoke1")
	w.AdmitVisitors(atNAT)
	w.reason(id1, ForBinding, false)
	if p := w.ByID[id1]; p.Has(ForAnswer) || len(p.Refs) != 1 {
		t.Errorf("the registered router is wanted for %v", p.ReasonNames())
	}
}

// A router that is wanted for another reason needs no visit.
func TestNoVisitBesideAnotherReason(t *testing.T) {
	w := newWorld(t)
	w.reason(id1, ForBinding, false)
	w.secureBehind(nat, id1, "spoke1")
	w.AdmitVisitors(atNAT)
	if w.ByID[id1].Has(ForAnswer) {
		t.Error("a registered router has a visit")
	}
}

// shared reports that a second router without marks is at an address, and whether one of the two is
// about to be sent away.
func (w *world) shared(id peerid.ID, separating bool) {
	w.PeerSecured(event.Peer{Interface: "gre1", ID: id, Identity: "spoke1", RemoteNAT: true,
		SharedWith: []string{"spoke2"}, Separating: separating})
}

// Where strongSwan gives no marks, an address with two routers is shared: what wants the peer hears
// that another router has joined.
func TestSharedAddress(t *testing.T) {
	w := newWorld(t)
	r := w.reason(atNAT, ForBinding, false)
	w.secure(atNAT, "spoke1")
	if w.Shared(w.ByID[atNAT]) {
		t.Error("an address with one router is shared")
	}
	w.shared(atNAT, false)
	r.wantTold("secured", "joined")
	if !w.Shared(w.ByID[atNAT]) || w.Separations.Separating(atNAT) {
		t.Error("an address with two routers is not shared")
	}
}

// While routers are being told apart, nobody knows which of them sent a packet. A router that may
// have registered just before registers again, through a new SA.
func TestSeparation(t *testing.T) {
	for _, ambiguous := range []bool{true, false} {
		w := newWorld(t)
		r := w.reason(atNAT, ForBinding, false)
		r.ambiguous = ambiguous
		w.secure(atNAT, "spoke1")
		w.shared(atNAT, true)
		if !w.Separations.Separating(atNAT) || w.Shared(w.ByID[atNAT]) {
			t.Error("the address is not being separated")
		}
		if closed := len(w.out.Closed) == 1; closed != ambiguous || w.Secured(atNAT) == ambiguous {
			t.Errorf("ambiguous %v: the SA is closed: %v", ambiguous, closed)
		}
		w.PeerLost(atNAT, "gone", false)
		w.pass(SeparationTime - 1)
		if !w.Separations.Separating(atNAT) {
			t.Error("packets in flight may be another router's, and are taken for certain")
		}
		w.pass(1)
		if w.Separations.Separating(atNAT) {
			t.Error("the address is taken for uncertain for ever")
		}
	}
}

// When a NAT gets another address, everything that wants the routers behind it hears so.
func TestNATMoves(t *testing.T) {
	w := newWorld(t)
	r := w.reason(id1, ForBinding, false)
	w.secureBehind(nat, id1, "spoke1")
	w.calls = nil
	moved := netip.MustParseAddr("198.51.100.2")
	w.secureBehind(moved, id1, "spoke1")
	r.wantTold("secured", "moved from 198.51.100.1 to mark 1")
	w.wantCalls("NAT moved from 198.51.100.1 to 198.51.100.2")
	before, now := w.Addresses.Behind(nat), w.Addresses.Behind(moved)
	if w.marked()[id1] != moved || len(before) != 0 || len(now) != 1 {
		t.Errorf("packets of the marked peer go to %v, want %s", w.marked(), moved)
	}
}

// An SA from a NAT address may be another router's than the one that an answer is about, unless
// something tells which router it is.
func TestMayBeElse(t *testing.T) {
	router := netip.MustParseAddr("10.255.0.11")
	other := netip.MustParseAddr("10.255.0.12")
	for _, tt := range []struct {
		rule           string
		nat, initiator bool
		about          []netip.Addr
		want           bool
	}{
		{"without NAT", false, false, []netip.Addr{other}, false},
		{"the peer dialled, and nothing tells who it is", true, false, nil, true},
		{"we dialled, and nothing tells who it is", true, true, nil, false},
		{"a reference is about that router", true, false, []netip.Addr{router}, false},
		{"a reference is about another router", true, true, []netip.Addr{other}, true},
		{"one of two is about another", true, true, []netip.Addr{router, other}, true},
	} {
		for _, ended := range []bool{false, true} {
			w := newWorld(t)
			w.PeerSecured(event.Peer{Interface: "gre1", ID: atNAT, Identity: "spoke1",
				RemoteNAT: tt.nat, Initiator: tt.initiator})
			for i, about := range tt.about {
				r := w.reason(atNAT, ForBinding, false)
				r.router = about
				if ended && i == 0 {
					w.Release(&r.ref)
				}
			}
			if got := w.ByID[atNAT].MayBeElse(router); got != tt.want {
				t.Errorf("%s (ended: %v): %v, want %v", tt.rule, ended, got, tt.want)
			}
		}
	}
}

// PeerInside finds a peer by its outer address, and no peer by its ID.
func TestPeerInside(t *testing.T) {
	w := newWorld(t)
	w.secureBehind(nat, id1, "spoke1")
	for prefix, want := range map[string]netip.Addr{
		"198.51.100.0/24": nat, "0.0.0.0/8": {}, "192.0.2.0/24": {},
	} {
		if got := w.Addresses.PeerInside(netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("the peer inside %s is %v, want %v", prefix, got, want)
		}
	}
	w.secure(direct, "spoke2")
	host := overlay.HostPrefix(direct.Address())
	if got := w.Addresses.PeerInside(host); got != direct.Address() {
		t.Errorf("a peer that came after the first look-up is %v, want %s", got, direct)
	}
	w.PeerLost(direct, "gone", false)
	if got := w.Addresses.PeerInside(host); got.IsValid() {
		t.Errorf("a peer that has gone is %s", got)
	}
}

// The peers behind a NAT come in the order of their IDs, whichever of them was there first.
func TestPeersOfOneNATInOrder(t *testing.T) {
	w := newWorld(t)
	for _, id := range []peerid.ID{id2, id1} {
		w.secureBehind(nat, id, "spoke "+id.String())
	}
	var ids []peerid.ID
	for _, p := range w.Addresses.Behind(nat) {
		ids = append(ids, p.ID)
		w.ClosePeer(p, "a test")
	}
	if !slices.Equal(ids, []peerid.ID{id1, id2}) {
		t.Errorf("the peers behind the NAT are %v", ids)
	}
	want := []output.PeerKey{{Interface: "gre1", ID: id1}, {Interface: "gre1", ID: id2}}
	if !slices.Equal(w.out.Closed, want) {
		t.Errorf("closed are %v, want %v", w.out.Closed, want)
	}
}
