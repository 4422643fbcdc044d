package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/peers"
)

// Of two routers behind one NAT address, one is blocked and the other goes. What depended on the
// other ends with its SA: its shortcut at once, its registration after the grace time.
func TestOnlyTheBlockedRouterIsLeft(t *testing.T) {
	at := func(identity string, others ...string) event.PeerSecured {
		return event.PeerSecured{Peer: event.Peer{
			Interface:  "gre1",
			ID:         peerAt("192.0.2.13"),
			Identity:   identity,
			SharedWith: others,
		}}
	}
	n, hub := spokeAlone(t)
	n.handle(event.Block{Identity: "a"})
	hub.says(answerTo(
		only(t, hub.says(indicationOf(host1, host2))), 24, "10.255.0.12", "192.0.2.13",
	))
	separating := at("a", "b")
	separating.Peer.Separating = true
	n.handle(separating)
	if len(n.shortcuts) != 1 {
		t.Fatalf("no shortcut: %+v", n.status().Shortcuts)
	}
	n.handle(at("a"))
	if len(n.shortcuts) != 0 || n.at("10.255.0.12").IsValid() {
		t.Errorf("want no route without an SA, have %v", n.shortcuts)
	}
	if err := n.broken(); err != nil {
		t.Error(err)
	}

	server := hubAlone(t)
	server.handle(at("b", "a"))
	sender{t, server, "192.0.2.13"}.says(registrationFrom("10.1.0.2", "10.255.0.12"))
	if len(server.status().Bindings) != 1 {
		t.Fatalf("bindings %+v", server.status().Bindings)
	}
	server.handle(event.Block{Identity: "a"})
	server.handle(at("a"))
	server.w.run(2 * peers.LostGrace)
	if b := server.status().Bindings; len(b) != 0 {
		t.Errorf("want the binding to end without an SA, have %+v", b)
	}
	server.w.run(time.Minute)
}
