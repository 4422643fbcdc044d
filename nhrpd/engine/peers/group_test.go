package peers

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
)

// newGroup returns two interfaces of one router that share their SAs. What the router puts out is
// in the first one's output.
func newGroup(t *testing.T) (one, two *world) {
	t.Helper()
	one, two = newWorld(t), newWorld(t)
	two.Router = one.Router
	two.Config.Name = "gre2"
	g := &Group{}
	one.Join(g)
	two.Join(g)
	return one, two
}

// secureBoth reports an SA with a router to both interfaces, as the daemon does.
func secureBoth(one, two *world, id peerid.ID) {
	for _, w := range []*world{one, two} {
		w.PeerSecured(event.Peer{
			Interface: w.Config.Name, ID: id, Identity: "spoke1", Initiator: true})
	}
}

// wantSAs fails the test if strongSwan was asked for something else than want, in order.
func (w *world) wantSAs(want ...output.Security) {
	w.t.Helper()
	var got []output.Security
	for _, sa := range w.out.SAs {
		got = append(got, sa.Want)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("strongSwan was asked for %v, want %v", got, want)
	}
	w.out.SAs = nil
}

// What strongSwan is asked for is the most that any interface of a group wants.
func TestGroupWantsTheMostOfItsInterfaces(t *testing.T) {
	one, two := newGroup(t)
	accepts := one.reason(direct, ForBinding, false)
	one.wantSAs(output.SAAccept)
	dials := two.reason(direct, ForShortcut, true)
	one.wantSAs(output.SAInitiate)
	one.Release(&accepts.ref)
	one.wantSAs()
	two.Release(&dials.ref)
	one.wantSAs(output.SANone)
}

// An SA stays while any interface of a group has a reason for it or passes data, and the last one
// closes it for all.
func TestGroupClosesAnSAWithItsLastUse(t *testing.T) {
	one, two := newGroup(t)
	answer := one.reason(direct, ForAnswer, false)
	binding := two.reason(direct, ForBinding, false)
	secureBoth(one, two, direct)
	closed := func() int { return len(one.out.Closed) }
	silent := func(w *world) { w.CloseSilent(w.ByID[direct]) }

	one.pass(5 * time.Minute)
	silent(one)
	if closed() != 0 || !one.ByID[direct].Secured {
		t.Fatal("the SA is closed although the other interface has a binding")
	}
	if answer.ref.Peer != nil {
		t.Error("the answer still refers to a peer that nobody uses")
	}

	two.Release(&binding.ref)
	two.ByID[direct].Used(two.Now, two.Now)
	silent(one)
	if closed() != 0 {
		t.Fatal("the SA is closed although the other interface passes data")
	}

	one.pass(2 * time.Minute)
	later := one.reason(direct, ForAnswer, false)
	silent(two)
	if closed() != 1 || one.ByID[direct] != nil || two.ByID[direct] != nil {
		t.Errorf("closed %d times, want once for both: %+v, %+v", closed(), one.ByID, two.ByID)
	}
	if later.ref.Peer != nil {
		t.Error("an answer still refers to the peer whose SA is closed")
	}
}

// An answer that waits for its requester to take it keeps the SA for the whole group.
func TestGroupKeepsAnSAForAnAnswerInUse(t *testing.T) {
	one, two := newGroup(t)
	one.reason(direct, ForAnswer, false).inUse = true
	secureBoth(one, two, direct)
	one.pass(5 * time.Minute)
	two.CloseSilent(two.ByID[direct])
	if len(one.out.Closed) != 0 {
		t.Error("the SA is closed")
	}
}

// An interface that leaves closes an SA only if no other one needs it, and forgets it in any case.
func TestGroupKeepsAnSAWhenAnInterfaceLeaves(t *testing.T) {
	one, two := newGroup(t)
	binding := two.reason(direct, ForBinding, false)
	secureBoth(one, two, direct)
	one.Left = true
	one.ClosePeer(one.ByID[direct], "we leave the DMVPN")
	if len(one.out.Closed) != 0 || one.ByID[direct] != nil || !two.ByID[direct].Secured {
		t.Errorf("closed %v, first %v", one.out.Closed, one.ByID)
	}
	if empty := one.Leave(); empty {
		t.Error("the group has no interface although one is left")
	}
	two.Release(&binding.ref)
	two.Left = true
	two.ClosePeer(two.ByID[direct], "we leave the DMVPN")
	if len(one.out.Closed) != 1 {
		t.Errorf("closed %v, want the SA of the last interface", one.out.Closed)
	}
	if empty := two.Leave(); !empty {
		t.Error("the group has an interface although both left")
	}
}

// An interface where something shuts a router out ends what it has of the router itself. The other
// interface goes on.
func TestGroupKeepsAnSAThatOneInterfaceShutsOut(t *testing.T) {
	one, two := newGroup(t)
	two.reason(direct, ForBinding, false)
	secureBoth(one, two, direct)
	one.calls = nil
	one.ClosePeer(one.ByID[direct], "the NHS shut it out")
	one.wantCalls("end admission of 192.0.2.11")
	if len(one.out.Closed) != 0 || !one.ByID[direct].Secured || !two.ByID[direct].Secured {
		t.Errorf("closed %v", one.out.Closed)
	}
}

// Parked peers of two interfaces are different routers although they have one number.
func TestParkedPeersAreNotShared(t *testing.T) {
	one, two := newGroup(t)
	p := one.At(peerid.Parked(1))
	one.reason(p.ID, ForBinding, false)
	two.reason(p.ID, ForBinding, false)
	for q := range one.Elsewhere(p) {
		t.Errorf("%v is the same peer", q.ID)
	}
}
