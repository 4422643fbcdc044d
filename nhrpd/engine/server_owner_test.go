package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/packet"
)

// An overlay address stays its identity's own until the registration expires, even if the SA went
// before, the daemon was restarted or another router came to the NBMA address. The identity itself
// gets the address back at once, from any NBMA address. A goodbye gives the address up.
func TestAddressOutlastsItsSA(t *testing.T) {
	for _, c := range []struct {
		rule string
		cut  func(hub *node) *node
		free bool
	}{
		{"the SA was lost", func(hub *node) *node {
			hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"),
				Reason: "cut off"})
			return hub
		}, false},
		{"and the daemon was restarted", func(hub *node) *node {
			hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"),
				Reason: "cut off"})
			hub.w.run(time.Minute)
			hub.boot(hub.engine.Save())
			return hub
		}, false},
		{"the daemon was restarted without the SA", func(hub *node) *node {
			hub.boot(hub.engine.Save())
			return hub
		}, false},
		{"somebody else came to its NBMA address", func(hub *node) *node {
			hub.from("192.0.2.11", "mallory")
			return hub
		}, false},
		{"it said goodbye", func(hub *node) *node {
			p := requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.1")
			p.Type, p.CIEs = packet.PurgeRequest, []packet.CIE{
				{PrefixLength: 32, Protocol: addr("10.255.0.11")},
			}
			sender{hub.w.t, hub, "192.0.2.11"}.says(p)
			return hub
		}, true},
	} {
		hub := hubAlone(t)
		hub.client("192.0.2.11", "spoke1", "10.255.0.11")
		hub = c.cut(hub)
		hub.w.run(time.Minute)
		if len(hub.status().Bindings) > 0 {
			t.Fatalf("%s: still bound", c.rule)
		}
		want := packet.CodeUniqueRegistered
		if c.free {
			want = packet.CodeSuccess
		}
		if got := only(
			t,
			hub.from("192.0.2.66", "mallory").says(registrationFrom("192.0.2.66", "10.255.0.11")),
		); got.CIEs[0].Code != want {
			t.Errorf("%s: mallory is answered %s, want %s", c.rule, got.CIEs[0].Code, want)
		}
		if c.free {
			continue
		}
		if got := only(
			t, hub.from("192.0.2.12", "spoke1").says(registrationFrom("192.0.2.12", "10.255.0.11")),
		); got.CIEs[0].Code != packet.CodeSuccess {
			t.Errorf("%s: the owner is answered %s", c.rule, got.CIEs[0].Code)
		}
	}
}

// Once the registration would have expired, the address is free.
func TestAddressIsFreeInTheEnd(t *testing.T) {
	hub := hubAlone(t)
	hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "dead"})
	hub.w.run(11 * time.Minute)
	if got := only(
		t, hub.from("192.0.2.66", "other").says(registrationFrom("192.0.2.66", "10.255.0.11")),
	); got.CIEs[0].Code != packet.CodeSuccess {
		t.Errorf("answered %s", got.CIEs[0].Code)
	}
}

// Where rules say who may have an address, the rules alone decide.
func TestRulesDecideWithoutOwners(t *testing.T) {
	hub := hubAlone(t, allowing(t, "spoke{n}: 10.255.0.11"))
	hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "dead"})
	hub.w.run(time.Minute)
	if got := only(
		t, hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.11")),
	); got.CIEs[0].Code != packet.CodeSuccess {
		t.Errorf("answered %s", got.CIEs[0].Code)
	}
}
