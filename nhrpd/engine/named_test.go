package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/packet"
)

// named makes an SA with a router that shares its NBMA address with others, and so has a name in
// its place.
func (n *node) named(name, real, identity string) sender {
	n.handle(event.PeerSecured{Peer: event.Peer{
		Interface: "gre1",
		ID:        peerAt(name),
		Outer:     addr(real),
		Identity:  identity,
		RemoteNAT: true,
	}})
	return sender{n.w.t, n, name}
}

// Only the kernel sees the name of a router. Packets and notices show the outer address.
func TestNamesStayInside(t *testing.T) {
	hub := hubAlone(t)
	spoke := hub.named("mark 1", "192.0.2.11", "spoke1")
	other := hub.named("mark 2", "192.0.2.11", "spoke2")
	reply := only(t, spoke.says(registrationFrom("10.1.0.2", "10.255.0.11")))
	if got := overlay.NATAddress(&reply, addr("10.255.0.11")); got != addr("192.0.2.11") {
		t.Errorf("the reply says that the client is at %v", got)
	}
	other.says(registrationFrom("10.1.0.3", "10.255.0.12"))
	if got := hub.neighbors[addr("10.255.0.12")]; got != peerid.Marked(2) {
		t.Errorf("neighbour at %v, want the name", got)
	}
	if b := hub.status().Bindings[1]; b.Peer != peerid.Marked(2) || b.Outer != addr("192.0.2.11") {
		t.Errorf("status: %+v", b)
	}
	if n := hub.last(output.NoticeBound); n.NBMA != addr("192.0.2.11") {
		t.Errorf("told %+v", n)
	}

	// The hub adds the outer address to a request that it passes on, too.
	public := hub.from("192.0.2.13", "spoke3")
	public.says(registrationFrom("192.0.2.13", "10.255.0.13"))
	request := only(t, other.says(requestFrom("10.1.0.3", "10.255.0.12", "10.255.0.13")))
	if got := overlay.NATAddress(&request, addr("10.255.0.12")); got != addr("192.0.2.11") {
		t.Errorf("the request says that its sender is at %v", got)
	}
	refusal := only(t, public.says(registrationFrom("192.0.2.13", "10.255.0.12")))
	if refusal.CIEs[0].Code != packet.CodeUniqueRegistered {
		t.Errorf("answered %v", refusal.CIEs[0].Code)
	}
	if n := hub.last(
		output.NoticeRejected,
	); n.Reason != "registration refused: another router has the address: 192.0.2.11 spoke2" {
		t.Errorf("told %q", n.Reason)
	}
}

// A packet cannot give an address that stands for a mark in the kernel.
func TestNamesFromOutside(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(*packet.Packet)
	}{
		{"source", func(p *packet.Packet) { p.SourceNBMA = addr("0.0.0.1") }},
		{"client", func(p *packet.Packet) { p.CIEs[0].NBMA = addr("0.0.0.1") }},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			hub := hubAlone(t)
			hub.named("mark 1", "192.0.2.11", "spoke1")
			p := registrationFrom("192.0.2.13", "10.255.0.13")
			tt.change(&p)
			if got := hub.from("192.0.2.13", "spoke3").says(p); len(got) != 0 ||
				len(hub.status().Bindings) != 0 {
				t.Errorf("answered %v", got)
			}
		})
	}
	n, hub := spokeAlone(t)
	n.named("mark 1", "192.0.2.12", "spoke2")
	ask := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	answer := answerTo(ask, 24, "10.255.0.12", "10.1.0.3")
	answer.Extensions[3].CIEs = []packet.CIE{overlay.NATCIE(addr("10.255.0.12"), addr("0.0.0.1"))}
	hub.says(answer)
	if s := n.status().Shortcuts; len(s) == 1 && s[0].Peer == peerid.Marked(1) {
		t.Errorf("shortcut %+v", s[0])
	}
}

// An answer through a router's own SA is that router's. An answer along the route that names an
// address with several routers could be about any of them.
func TestAnswersOfNamedRouters(t *testing.T) {
	n, hub := spokeAlone(t)
	spoke2 := n.named("mark 1", "192.0.2.12", "spoke2")
	n.named("mark 2", "192.0.2.12", "spoke3")
	ask := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	spoke2.says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
	if got := n.neighbors[addr("10.255.0.12")]; got != peerid.Marked(1) {
		t.Fatalf("neighbour at %v, want the name of who answered", got)
	}
	n.w.run(time.Second)
	ask = only(t, hub.says(indicationOf("172.16.1.10", "172.16.3.10")))
	hub.says(answerTo(ask, 24, "10.255.0.13", "192.0.2.12"))
	if n.has(output.NoticeShortcutDenied) != 1 || len(n.status().Shortcuts) != 1 {
		t.Errorf(
			"%d answers denied, shortcuts %+v",
			n.has(output.NoticeShortcutDenied),
			n.status().Shortcuts,
		)
	}
}

// When the NAT gets another address, or a router appears at another one, everything that refers to
// the router follows at once.
func TestPeersThatMove(t *testing.T) {
	hub := hubAlone(t)
	hub.named("mark 1", "192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("10.2.0.2", "10.255.0.12"))
	hub.named("mark 1", "192.0.2.21", "spoke1")
	hub.handle(event.PeerMoved{
		From: peerAt("192.0.2.12"),
		Peer: event.Peer{Interface: "gre1", ID: peerAt("192.0.2.22"), Identity: "spoke2"},
	})
	st := hub.status()
	if st.Bindings[0].Outer != addr("192.0.2.21") || st.Bindings[1].Peer != peerAt("192.0.2.22") ||
		hub.neighbors[addr("10.255.0.12")] != peerAt("192.0.2.22") {
		t.Errorf("bindings %+v, neighbours %v", st.Bindings, hub.neighbors)
	}
	if !st.Bindings[1].Secured || hub.has(output.NoticeMoved) != 2 ||
		hub.has(output.NoticeUnbound) != 0 {
		t.Errorf("%d moves, %d ends", hub.has(output.NoticeMoved), hub.has(output.NoticeUnbound))
	}
	hub.w.run(time.Minute)
	if len(hub.status().Bindings) != 2 {
		t.Errorf("later: %+v", hub.status().Bindings)
	}

	n, nhs := spokeAlone(t)
	ask := only(t, nhs.says(indicationOf("172.16.1.10", "172.16.2.10")))
	n.from("192.0.2.12", "spoke2").says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
	n.handle(event.PeerMoved{
		From: peerAt("192.0.2.12"),
		Peer: event.Peer{Interface: "gre1", ID: peerAt("192.0.2.22"), Identity: "spoke2"},
	})
	if got := n.neighbors[addr("10.255.0.12")]; got != peerAt("192.0.2.22") ||
		n.has(output.NoticeShortcutDown) != 0 {
		t.Errorf("the shortcut leads to %v", got)
	}
}

// Until the other routers have left a shared address, nothing tells which of them a packet comes
// from. A registration from there just before may have been one of theirs.
func TestSeparation(t *testing.T) {
	hub := hubAlone(t)
	first := hub.from("192.0.2.11", "spoke1")
	first.says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.w.run(time.Minute)
	// This is spoke2's packet, and arrives before the event about spoke2's SA.
	first.says(registrationFrom("10.1.0.3", "10.255.0.12"))
	separating := event.PeerSecured{Peer: event.Peer{
		Interface:  "gre1",
		ID:         peerAt("192.0.2.11"),
		Identity:   "spoke1",
		SharedWith: []string{"spoke2"},
		Separating: true,
	}}
	hub.handle(separating)
	if b := hub.status().Bindings; len(b) != 1 || b[0].Protocol != addr("10.255.0.11") {
		t.Errorf("bindings %+v", b)
	}
	if got := first.says(registrationFrom("10.1.0.3", "10.255.0.12")); len(got) != 0 {
		t.Errorf("while it is known of nobody: answered %v", got)
	}
	hub.handle(separating)
	if got := first.says(registrationFrom("10.1.0.3", "10.255.0.12")); len(got) != 0 {
		t.Errorf("answered %v", got)
	}
	hub.from("192.0.2.11", "spoke1")
	if got := first.says(registrationFrom("10.1.0.3", "10.255.0.12")); len(got) != 0 {
		t.Errorf("a packet that was under way is answered: %v", got)
	}
	hub.w.run(peers.SeparationTime)
	if got := first.says(registrationFrom("10.1.0.2", "10.255.0.11")); len(got) != 1 {
		t.Errorf("who stays is answered %v", got)
	}
	hub.named("mark 2", "192.0.2.11", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	if b := hub.status().Bindings; len(b) != 2 || b[1].Identity != "spoke2" ||
		hub.has(output.NoticeRejected) != 0 {
		t.Errorf("bindings %+v", b)
	}
}

// The same holds for an answer: the shortcut that came of it ends, and an older one stays.
func TestSeparationAfterAnAnswer(t *testing.T) {
	n, hub := spokeAlone(t)
	ask := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	first := n.from("192.0.2.12", "spoke2")
	first.says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
	n.w.run(time.Minute)
	ask = only(t, hub.says(indicationOf("172.16.1.10", "172.16.3.10")))
	// This is spoke3's packet, and arrives before the event about spoke3's SA.
	first.says(answerTo(ask, 24, "10.255.0.13", "192.0.2.12"))
	n.handle(event.PeerSecured{Peer: event.Peer{
		Interface:  "gre1",
		ID:         peerAt("192.0.2.12"),
		Identity:   "spoke2",
		SharedWith: []string{"spoke3"},
		Separating: true,
	}})
	if s := n.status().Shortcuts; len(s) != 1 || s[0].NextHop != addr("10.255.0.12") {
		t.Errorf("shortcuts %+v", s)
	}
}

// A router that comes back with another mark has its binding at once, without registering again.
func TestReunion(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "sent away"})
	hub.named("mark 3", "192.0.2.11", "spoke1")
	if got := hub.neighbors[addr("10.255.0.11")]; got != peerid.Marked(3) ||
		hub.has(output.NoticeMoved) != 0 {
		t.Errorf("neighbour at %v", got)
	}
}

// The kernel's route behind a name is wanted again after a restart. If another router has the name
// by then, what was saved under the name ends.
func TestNamesAfterRestart(t *testing.T) {
	hub := hubAlone(t)
	hub.named("mark 1", "192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.named("mark 2", "192.0.2.11", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	saved := hub.engine.Save()

	again := hubAlone(t)
	again.restore(saved)
	marked := slices.Clone(again.out.Marked)
	again.carryOut()
	want := []output.MarkedChange{
		{Interface: "gre1", Mark: 1, Outer: addr("192.0.2.11")},
		{Interface: "gre1", Mark: 2, Outer: addr("192.0.2.11")},
	}
	if diff := cmp.Diff(want, marked, cmpopts.EquateComparable(addr("0.0.0.0"))); diff != "" {
		t.Error(diff)
	}
	again.handle(event.PeersSecured{Interface: "gre1", Peers: []event.Peer{
		{Interface: "gre1", ID: peerid.Marked(1), Outer: addr("192.0.2.11"), Identity: "spoke3"},
		{Interface: "gre1", ID: peerid.Marked(2), Outer: addr("192.0.2.11"), Identity: "spoke2"},
	}})
	if b := again.status().Bindings; len(b) != 1 || b[0].Identity != "spoke2" {
		t.Errorf("bindings %+v", b)
	}
}

// Two routers behind one address cannot have a shortcut to each other, so the hub does not indicate
// one.
func TestNoIndicationBehindOneAddress(t *testing.T) {
	hub := hubAlone(t)
	hub.named("mark 1", "192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	hub.named("mark 2", "192.0.2.11", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	before := len(hub.sent)
	hub.handle(event.Redirected{
		Interface: "gre1",
		From:      peerid.Marked(1),
		Packet:    ipv4(addr("10.255.0.11"), addr("10.255.0.12")),
	})
	if got := hub.sentSince(before); len(got) != 0 {
		t.Errorf("sent %v", typesOf(got))
	}
}

// If a router asked through the hub from an address that several routers share, nothing tells which
// of the routers that dial from there it was. So all routers there that have an SA are admitted.
func TestVisitors(t *testing.T) {
	n, hub := spokeAlone(t)
	early := n.named("mark 1", "192.0.2.12", "spoke2")
	request := requestFrom("10.1.0.3", "10.255.0.12", "172.16.1.10")
	request.Extensions[3].CIEs = []packet.CIE{
		overlay.NATCIE(addr("10.255.0.12"), addr("192.0.2.12")),
	}
	reply := only(t, hub.says(request))
	if reply.CIEs[0].Code != packet.CodeSuccess {
		t.Fatalf("answered %v", reply.CIEs[0].Code)
	}
	n.named("mark 2", "192.0.2.12", "spoke3")
	for _, p := range n.status().Peers {
		if p.Outer == addr("192.0.2.12") && !cmp.Equal(p.Reasons, []string{"answer"}) {
			t.Errorf("%s has the interests %v", p.Identity, p.Reasons)
		}
	}
	n.handle(event.PeerLost{Interface: "gre1", ID: peerAt(early.nbma), Reason: "gone"})
	for _, p := range n.status().Peers {
		if p.ID == peerAt(early.nbma) {
			t.Errorf("still there: %+v", p)
		}
	}
}
