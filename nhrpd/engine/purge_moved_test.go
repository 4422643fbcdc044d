package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/packet"
)

// Without IPsec, a router believes a purge only from its NHS or from the NBMA address that it knows
// the sender by. So a spoke that moved takes its answers back along the NHS, and traffic to it goes
// by the hub at once.
func TestMovedSpokeTakesBackAlongTheNHS(t *testing.T) {
	for _, lost := range []int{0, 2} { // how many purges of the spoke that moved are lost
		m := newMesh(t, noIPsec)
		m.makeShortcut()
		var purges []string
		m.lose = func(from, to *node, data []byte) bool {
			if packet.Type(data[17]) != packet.PurgeRequest {
				return false
			}
			purges = append(purges, from.name+">"+to.name)
			return len(purges) <= lost
		}
		m.spoke2.local = addr("192.0.2.112")
		m.spoke2.handle(event.LocalAddress{Interface: "gre1", NBMA: m.spoke2.local})
		m.until(
			"spoke1 leaves the old address", time.Duration(lost)*purge.RetryInterval+time.Second,
			func() bool {
				return m.spoke1.at("10.255.0.12") != peerAt("192.0.2.12") &&
					len(m.spoke1.shortcuts) == 0
			},
		)
		if want := []string{"spoke2>hub", "hub>spoke1"}; !slices.Equal(purges[lost:], want) {
			t.Errorf("after %d losses the purges went %v, want %v", lost, purges[lost:], want)
		}
		if got := m.ping(m.spoke1, host1, host2); !slices.Equal(got, []string{
			"spoke1", "hub", "spoke2",
		}) {
			t.Errorf("a packet goes %v", got)
		}
		m.run(time.Second)
		if n := len(m.spoke2.engine.ifaces["gre1"].purges.ByID); n != 0 {
			t.Errorf("%d purges still wait for a reply: it was lost on the way back", n)
		}
	}
}

// A spoke that moved and is not registered yet can send its purge only directly. The others refuse
// it and do not reply, so the spoke repeats the purge, by way of the NHS once it is registered
// there.
func TestRefusedPurgeIsRepeatedAlongTheNHS(t *testing.T) {
	m := newMesh(t, noIPsec)
	m.makeShortcut()
	nhs := m.spoke2.engine.ifaces["gre1"].client.NHS[0].Registrations[0]
	nhs.Registered = false
	m.spoke2.local = addr("192.0.2.112")
	m.spoke2.handle(event.LocalAddress{Interface: "gre1", NBMA: m.spoke2.local})
	m.until(
		"refused",
		time.Second,
		func() bool { return dropped(m.spoke1, overlay.DropNotOwner) > 0 },
	)
	if len(m.spoke2.engine.ifaces["gre1"].purges.ByID) == 0 {
		t.Fatal("the purge was answered although it was refused")
	}
	m.until("spoke1 leaves the old address", 3*time.Second, func() bool {
		return m.spoke1.at("10.255.0.12") != peerAt("192.0.2.12")
	})
}

// A purge of what the sender may not take back gets no reply. Every other purge gets one, whether
// there was anything to take back or not.
func TestRefusedPurgesAreNotAnswered(t *testing.T) {
	n, hub := spokeAlone(t, noIPsec)
	spoke2, moved := n.from("192.0.2.12", "spoke2"), n.from("192.0.2.112", "spoke2")
	establish := func() {
		t.Helper()
		hub.says(answerTo(
			only(t, hub.says(indicationOf(host1, host2))), 24, "10.255.0.12", "192.0.2.12",
		))
		if len(n.shortcuts) != 1 {
			t.Fatalf("no shortcut: %+v", n.status().Shortcuts)
		}
	}
	establish()
	for _, tt := range []struct {
		rule     string
		from     sender
		purge    packet.Packet
		answered bool
		ends     bool
	}{
		{
			"from where it is not known", moved,
			purgeOf("192.0.2.112", "10.255.0.12", "10.255.0.11", lan2), false, false,
		},
		{
			"likewise, of more than the shortcut's prefix", moved,
			purgeOf("192.0.2.112", "10.255.0.12", "10.255.0.11", "172.16.0.0/16"), false, false,
		},
		{
			"of another router's shortcut", moved,
			purgeOf("192.0.2.112", "10.255.0.13", "10.255.0.11", lan2), false, false,
		},
		{
			"of nothing", moved,
			purgeOf("192.0.2.112", "10.255.0.12", "10.255.0.11", "172.16.9.0/24"), true, false,
		},
		{
			"along the NHS", hub, purgeOf("192.0.2.112", "10.255.0.12", "10.255.0.11", lan2), true,
			true,
		},
		{
			"from where it is known", spoke2,
			purgeOf("192.0.2.12", "10.255.0.12", "10.255.0.11", lan2), true, true,
		},
	} {
		if len(n.shortcuts) == 0 {
			establish()
		}
		got := tt.from.says(tt.purge)
		if answered := len(got) == 1 && got[0].Type == packet.PurgeReply; answered != tt.answered ||
			(len(n.shortcuts) == 0) != tt.ends {
			t.Errorf("%s: sent %v, shortcuts %v", tt.rule, typesOf(got), n.shortcuts)
		}
	}

	// An NHS that shuts out a router takes back what the router itself had said.
	hub.says(answerTo(
		only(t, hub.says(indicationOf(host1, "10.255.0.12"))), 32, "10.255.0.12", "192.0.2.12",
	))
	if !n.at("10.255.0.12").IsValid() {
		t.Fatalf("neighbours %v", n.neighbors)
	}
	if got := only(
		t, hub.says(purgeOf("192.0.2.1", "10.255.0.1", "10.255.0.11", "10.255.0.12/32")),
	); got.Type != packet.PurgeReply || n.at("10.255.0.12").IsValid() {
		t.Errorf("sent a %s, neighbours %v", got.Type, n.neighbors)
	}

	server := hubAlone(t, noIPsec, func(c *overlay.InterfaceConfig) {
		c.Accept, c.Limits.Prefixes = append(c.Accept, mustPrefix("172.20.0.0/16")), 10
	})
	spoke1 := sender{t, server, "192.0.2.11"}
	spoke1.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	announced := registrationFrom("192.0.2.11", "10.255.0.11")
	announced.CIEs = []packet.CIE{
		{PrefixLength: 24, HoldingTime: 600, Protocol: addr("172.20.1.0")},
	}
	spoke1.says(announced)
	for _, prefix := range []string{"10.255.0.11/32", "172.20.1.0/24"} {
		p := purgeOf("192.0.2.12", "10.255.0.12", "10.255.0.1", prefix)
		if got := (sender{t, server, "192.0.2.12"}).says(p); len(got) != 0 {
			t.Errorf("of somebody else's %s: sent %v", prefix, typesOf(got))
		}
		p = purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.1", prefix)
		if got := only(t, spoke1.says(p)); got.Type != packet.PurgeReply {
			t.Errorf("of its own %s: sent a %s", prefix, got.Type)
		}
		spoke1.says(registrationFrom("192.0.2.11", "10.255.0.11"))
		spoke1.says(announced)
	}
}
