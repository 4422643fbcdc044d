package engine

import (
	"fmt"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/packet"
)

// Of two routers behind one address, one is blocked and the other goes. What the other registered
// ends with its SA, although the blocked one has an SA for a moment.
func TestOnlyTheBlockedOneIsLeft(t *testing.T) {
	hub := hubAlone(t, accepting("172.18.0.0/16"), func(c *overlay.InterfaceConfig) {
		c.Limits.Prefixes = 10
	})
	hub.handle(event.Block{Identity: "a"})
	s := hub.sharedBy("192.0.2.11", "a", "b")
	s.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	s.says(announcementFrom("192.0.2.11", "10.255.0.11", "172.18.7.0/24"))
	if len(hub.shortcuts) != 1 {
		t.Fatalf("routes %v\n%s", hub.shortcuts, hub.w)
	}
	hub.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerAt("192.0.2.11"), Identity: "a"},
		},
	)
	if len(hub.shortcuts)+len(hub.neighbors) != 0 {
		t.Errorf("routes %v, neighbours %v\n%s", hub.shortcuts, hub.neighbors, hub.w)
	}
}

// sharedBy makes SAs with several routers at one address. The first identity is the one that came
// first.
func (n *node) sharedBy(nbma string, identities ...string) sender {
	n.handle(event.PeerSecured{Peer: event.Peer{
		Interface:  "gre1",
		ID:         peerAt(nbma),
		Identity:   identities[0],
		SharedWith: identities[1:],
	}})
	return sender{n.w.t, n, nbma}
}

// Two routers behind one NAT address register, come and go. While one of them is there, neither
// counts as gone. No binding ends or moves, and no notice is repeated.
func TestSharedAddress(t *testing.T) {
	n := hubAlone(t)
	n.from("192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	both := n.sharedBy("192.0.2.11", "spoke1", "spoke2")
	for range 3 {
		both.says(registrationFrom("10.1.0.2", "10.255.0.11"))
		both.says(registrationFrom("10.1.0.3", "10.255.0.12"))
	}
	n.from("192.0.2.11", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	if bindings := n.status().Bindings; len(bindings) != 2 {
		t.Fatalf("bindings: %+v", bindings)
	}
	n.sharedBy("192.0.2.11", "spoke2", "spoke1")
	for kind, want := range map[output.NoticeKind]int{
		output.NoticePeerSecured: 1,
		output.NoticeBound:       2,
		output.NoticePeerLost:    0,
		output.NoticeUnbound:     0,
		output.NoticeMoved:       0,
		output.NoticeRejected:    0,
	} {
		if got := n.has(kind); got != want {
			t.Errorf("%d notices of kind %d, want %d", got, kind, want)
		}
	}
}

// A router that leaves a shared address takes its binding along. No other router at the address may
// have the binding then.
func TestSharerMoves(t *testing.T) {
	n := hubAlone(t)
	n.sharedBy("192.0.2.11", "spoke1", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	n.from("192.0.2.12", "spoke3").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	if n.has(output.NoticeRejected) != 1 {
		t.Error("another router has the address of one of the sharers")
	}
	n.from("192.0.2.13", "spoke2").says(registrationFrom("192.0.2.13", "10.255.0.12"))
	if n.has(output.NoticeMoved) != 1 || n.status().Bindings[0].Identity != "spoke2" {
		t.Errorf("%d moves, bindings: %+v", n.has(output.NoticeMoved), n.status().Bindings)
	}
	n.from("192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.12"))
	if n.has(output.NoticeRejected) != 2 {
		t.Error("spoke1 has the address of spoke2, which is elsewhere now")
	}
}

// If a new identity takes the place of the only router at an address, it is another router: the
// binding ends.
func TestSuccessorIsNoSharer(t *testing.T) {
	n := hubAlone(t)
	n.from("192.0.2.11", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	n.from("192.0.2.11", "spoke2")
	if n.has(output.NoticePeerLost) != 1 || n.has(output.NoticeUnbound) != 1 {
		t.Errorf(
			"%d peers lost, %d bindings ended, want 1 and 1",
			n.has(output.NoticePeerLost), n.has(output.NoticeUnbound),
		)
	}
}

// No shortcut leads to an address that several routers share without marks. A shortcut that is up
// ends when a second router comes, further answers are refused, and the traffic stays on the hub.
func TestNoShortcutToSharedAddress(t *testing.T) {
	n, hub := spokeAlone(t)
	ask := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	spoke2 := n.from("192.0.2.12", "spoke2")
	spoke2.says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
	if n.has(output.NoticeShortcutUp) != 1 {
		t.Fatal("no shortcut")
	}
	n.sharedBy("192.0.2.12", "spoke2", "spoke3")
	if n.has(output.NoticeShortcutDown) != 1 || len(n.status().Shortcuts) != 0 {
		t.Errorf("shortcuts: %+v", n.status().Shortcuts)
	}
	n.w.explains(n, "", "172.16.2.10", report.VerdictShared)
	n.w.run(time.Second)
	ask = only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	spoke2.says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
	if n.has(output.NoticeShortcutUp) != 1 || n.has(output.NoticeShortcutDenied) != 1 {
		t.Errorf(
			"%d shortcuts, %d answers denied, want 1 and 1",
			n.has(output.NoticeShortcutUp), n.has(output.NoticeShortcutDenied),
		)
	}
	n.w.explains(n, "", "172.16.2.10", report.VerdictShared)
}

// An address whose routers were told apart is remembered only while their packets may still arrive,
// even if no packet comes from there again.
func TestSeparationsAreForgotten(t *testing.T) {
	n := hubAlone(t)
	for i := range 100 {
		at := event.Peer{
			Interface: "gre1",
			ID:        peerAt(fmt.Sprintf("198.51.100.%d", 1+i)),
			Identity:  "a",
		}
		apart := at
		apart.SharedWith, apart.Separating = []string{"b"}, true
		n.handle(event.PeerSecured{Peer: at})
		n.handle(event.PeerSecured{Peer: apart})
		n.handle(event.PeerLost{Interface: "gre1", ID: at.ID, Reason: "gone"})
		n.w.run(peers.SeparationTime / 2)
	}
	if err := n.engine.ifaces["gre1"].peers.Check(); err != nil {
		t.Error(err)
	}
}

// behindAddress turns a request into an answer whose router is behind a NAT.
func behindAddress(p packet.Packet, address, private, public string) packet.Packet {
	p = answerTo(p, 24, address, private)
	*p.Extension(packet.ExtensionNATAddress) = packet.Extension{Type: packet.ExtensionNATAddress,
		CIEs: []packet.CIE{overlay.NATCIE(addr(address), addr(public))}}
	return p
}

// A router behind the NAT address of a known router is another one. Until it has an SA of its own,
// nothing for it goes to that address, and its questions are answered along the route.
func TestAnotherRouterAtANATAddress(t *testing.T) {
	const public = "198.51.100.7"
	n, hub := spokeAlone(t)
	n.handle(event.PeerSecured{Peer: event.Peer{
		Interface: "gre1",
		ID:        peerAt(public),
		Identity:  "spoke2",
		RemoteNAT: true,
	}})
	hub.says(indicationOf(host1, host2))
	sender{t, n, public}.says(behindAddress(n.lastTo(hub), "10.255.0.12", "192.168.7.12", public))
	if n.at("10.255.0.12") != peerAt(public) {
		t.Fatalf("no shortcut\n%s", n.w)
	}
	for range 2 {
		hub.says(indicationOf(host1, "172.16.3.3"))
		hub.says(behindAddress(n.lastTo(hub), "10.255.0.13", "192.168.7.13", public))
		if got := n.at("10.255.0.13"); got.IsValid() {
			t.Errorf("led to %v, where another router is\n%s", got, n.w)
		}
		// The new route ends the shortcut to that other router; the SA stays.
		n.addRoutes(viaTunnel("172.16.2.0/25", "10.255.0.1"))
		n.w.run(resolution.UnresolvedTime)
	}
	request := requestFrom("192.168.7.13", "10.255.0.13", host1)
	request.Extensions[3].CIEs = []packet.CIE{overlay.NATCIE(addr("10.255.0.13"), addr(public))}
	hub.says(request)
	if to := n.sent[len(n.sent)-1].to; to != peerAt(hub.nbma) {
		t.Errorf("answered through %v", to)
	}
}

// The router that dials from the NAT address which an answer named may be the one that the answer
// is about, or another one behind that NAT. So it is asked: if it is the one, it answers through
// its own SA.
func TestWhoComesFromANATAddressIsAskedWhoItIs(t *testing.T) {
	const public = "198.51.100.7"
	n, hub := spokeAlone(t)
	hub.says(indicationOf(host1, host2))
	answer := behindAddress(n.lastTo(hub), "10.255.0.12", "192.168.7.12", public)
	hub.says(answer)
	before := n.asked()
	n.handle(event.PeerSecured{Peer: event.Peer{
		Interface: "gre1",
		ID:        peerAt(public),
		Identity:  "who",
		RemoteNAT: true,
	}})
	if n.at("10.255.0.12").IsValid() || n.asked() != before+1 {
		t.Fatalf("asked %d times\n%s", n.asked()-before, n.w)
	}
	answer.RequestID = n.lastTo(hub).RequestID
	hub.says(answer)
	if n.at("10.255.0.12").IsValid() {
		t.Fatalf("led to whoever has an SA\n%s", n.w)
	}
	n.w.run(resolution.UnresolvedTime)
	hub.says(indicationOf(host1, host2))
	answer.RequestID = n.lastTo(hub).RequestID
	sender{t, n, public}.says(answer)
	if n.at("10.255.0.12") != peerAt(public) {
		t.Errorf("who answered through its SA is not led to\n%s", n.w)
	}
}
