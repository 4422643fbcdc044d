package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// After a restart of strongSwan, a router may get the name that another router had before. It does
// not get that router's binding. The binding waits at a successor, and nothing for its router
// goes to the other one. When its router is back, the binding is in use again.
func TestNamesAreGivenOutAgain(t *testing.T) {
	hub := hubAlone(t)
	first := hub.named("mark 1", "192.0.2.11", "spoke1")
	first.says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.handle(event.PeersSecured{Interface: "gre1"})
	if at := hub.neighbors[addr("10.255.0.11")]; !at.IsParked() {
		t.Fatalf("spoke1's neighbour is at %v", at)
	}
	if _, ok := hub.admitsAs("mark 1"); ok {
		t.Error("whoever has the name next is admitted")
	}
	if got := first.says(registrationFrom("10.1.0.2", "10.255.0.11")); len(got) != 0 {
		t.Errorf("answered %v", typesOf(got))
	}

	hub.handle(event.PeersSecured{Interface: "gre1"}) // a second list of SAs changes nothing
	second := hub.named("mark 1", "192.0.2.11", "spoke2")
	second.says(registrationFrom("10.1.0.3", "10.255.0.12"))
	if b := hub.status().Bindings; len(b) != 2 || b[0].Identity != "spoke1" ||
		!b[0].Peer.IsParked() || b[1].Peer != peerid.Marked(1) {
		t.Errorf("bindings %+v", b)
	}
	if hub.has(output.NoticeUnbound) != 0 || hub.has(output.NoticeMoved) != 0 {
		t.Error("a binding ended or moved")
	}
	hub.named("mark 2", "192.0.2.11", "spoke1")
	if at := hub.neighbors[addr("10.255.0.11")]; at != peerid.Marked(2) {
		t.Errorf("spoke1 is back, and its neighbour at %v", at)
	}
	hub.w.run(time.Minute)
	if b := hub.status().Bindings; len(b) != 2 {
		t.Errorf("later: %+v", b)
	}
}

// A packet that waits for the SA of one router is not handled as one of the router that gets its
// name next.
func TestHeldPacketIsNotTheNextOnes(t *testing.T) {
	hub := hubAlone(t)
	late := sender{t, hub, "mark 1"} // sent through an SA from before the restart
	late.says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.handle(event.PeersSecured{Interface: "gre1"})
	hub.named("mark 1", "192.0.2.11", "spoke2")
	if b := hub.status().Bindings; len(b) != 0 {
		t.Errorf("bindings %+v", b)
	}
}

// From the moment that the SA behind a name is gone, the kernel sends nothing for the name: the
// packets would go into the SA of another router at the address.
func TestNamesLeadNowhereWithoutAnSA(t *testing.T) {
	hub := hubAlone(t)
	hub.named("mark 1", "192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.engine.Handle(
		hub.w.now,
		event.PeerLost{Interface: "gre1", ID: peerid.Marked(1), Reason: "gone"},
		&hub.out,
	)
	gone := []output.MarkedChange{{Interface: "gre1", Mark: 1, Delete: true}}
	if !slices.Equal(hub.out.Marked, gone) {
		t.Errorf("lost: %+v", hub.out.Marked)
	}
	hub.carryOut()
	hub.engine.Handle(
		hub.w.now,
		event.PeerSecured{Peer: event.Peer{
			Interface: "gre1",
			ID:        peerid.Marked(1),
			Outer:     addr("192.0.2.11"),
			Identity:  "spoke1",
		}},
		&hub.out,
	)
	back := []output.MarkedChange{
		{Interface: "gre1", Mark: 1, Outer: addr("192.0.2.11")},
	}
	if !slices.Equal(hub.out.Marked, back) {
		t.Errorf("back: %+v", hub.out.Marked)
	}
	hub.carryOut()
	if b := hub.status().Bindings; len(b) != 1 ||
		hub.neighbors[addr("10.255.0.11")] != peerid.Marked(1) {
		t.Errorf("bindings %+v", b)
	}
}

// A shortcut to a router that lost its name ends at once, since the hub has another way. An answer
// waits for the router: when that is back, under any name, it may use the answer and is admitted.
func TestShortcutsAndAnswersOfLostNames(t *testing.T) {
	n, hub := spokeAlone(t)
	spoke2 := n.named("mark 1", "192.0.2.12", "spoke2")
	spoke2.says(answerTo(
		only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10"))), 24, "10.255.0.12",
		"192.0.2.12",
	))
	request := requestFrom("10.1.0.3", "10.255.0.13", "172.16.1.10")
	request.Extensions[3].CIEs = []packet.CIE{
		overlay.NATCIE(addr("10.255.0.13"), addr("192.0.2.12")),
	}
	n.named("mark 2", "192.0.2.12", "spoke3").says(request)
	if len(n.status().Shortcuts) != 1 || n.neighbors[addr("10.255.0.12")] != peerid.Marked(1) {
		t.Fatalf("shortcuts %+v", n.status().Shortcuts)
	}
	if len(n.engine.ifaces["gre1"].Responder.Answers) != 1 {
		t.Fatalf("answers %+v", n.engine.ifaces["gre1"].Responder.Answers)
	}

	nhs := event.Peer{Interface: "gre1", ID: peerAt(hub.nbma), Identity: "hub"}
	n.handle(event.PeersSecured{Interface: "gre1", Peers: []event.Peer{nhs}})
	if s := n.status().Shortcuts; len(s) != 0 {
		t.Errorf("shortcuts %+v", s)
	}
	for name := range n.admits {
		if _, marked := name.Mark(); marked {
			t.Errorf("%s is admitted", name)
		}
	}
	n.named("mark 1", "192.0.2.12", "spoke3")
	for _, a := range n.engine.ifaces["gre1"].Responder.Answers {
		if a.Peer != peerid.Marked(1) {
			t.Errorf("the answer is to %v", a.Peer)
		}
	}
}

// Retired names are saved like others. After a restart of the daemon, the kernel sends nothing for
// them either.
func TestRetiredNamesAfterRestart(t *testing.T) {
	hub := hubAlone(t)
	hub.named("mark 1", "192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.handle(event.PeersSecured{Interface: "gre1"})
	saved := hub.engine.Save()
	again := hubAlone(t)
	again.restore(saved)
	if len(again.out.Marked) != 0 {
		t.Errorf("%+v", again.out.Marked)
	}
	again.carryOut()
	again.handle(event.PeersSecured{Interface: "gre1"})
	again.named("mark 2", "192.0.2.11", "spoke1")
	if at := again.neighbors[addr("10.255.0.11")]; at != peerid.Marked(2) {
		t.Errorf("neighbour at %v", at)
	}
}
