package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"

	"github.com/google/go-cmp/cmp"
)

// When a hub blocks an identity, the client's binding and prefixes end, the other clients get a
// purge, and the hub closes the SA. The client may not come back until the block is taken back.
func TestBlockOnTheHub(t *testing.T) {
	hub, spoke := hubFor(t, "172.16.0.0/12")
	other := hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	spoke.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
	before := len(hub.sent)
	hub.handle(event.Block{Identity: "SPOKE1"})
	if b := hub.status().Bindings; len(b) != 1 || b[0].Identity != "spoke2" {
		t.Errorf("bindings %+v", b)
	}
	if len(hub.shortcuts) > 0 || hub.neighbors[addr("10.255.0.11")].IsValid() {
		t.Errorf("routes %v, neighbours %v", hub.shortcuts, hub.neighbors)
	}
	purge := only(t, hub.sentSince(before))
	if purge.Type != packet.PurgeRequest || purge.DestProtocol != addr("10.255.0.12") ||
		purge.CIEs[0].Protocol != addr("10.255.0.11") ||
		purge.CIEs[0].NBMA != addr("192.0.2.11") {
		t.Errorf("told %+v", purge)
	}
	if !slices.Contains(hub.closed, peerAt("192.0.2.11")) ||
		slices.Contains(hub.closed, peerAt("192.0.2.12")) {
		t.Errorf("closed %v", hub.closed)
	}
	again := hub.from("192.0.2.66", "spoke1") // from any address
	if n := hub.last(output.NoticeProhibited); n.Identity != "spoke1" ||
		n.Reason != "its identity spoke1 is blocked" {
		t.Errorf("said %+v", n)
	}
	if again.says(registrationFrom("192.0.2.66", "10.255.0.11")); len(hub.status().Bindings) != 1 {
		t.Errorf("registered again: %+v", hub.status().Bindings)
	}
	hub.handle(event.Unblock{Identity: "spoke1"})
	if got := only(
		t, hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11")),
	); got.CIEs[0].Code != packet.CodeSuccess {
		t.Errorf("after the block: %s", got.CIEs[0].Code)
	}
	_ = other
}

// A block with a time ends by itself.
func TestBlockForATime(t *testing.T) {
	hub := hubAlone(t)
	hub.handle(event.Block{Identity: "spoke1", Until: hub.w.now.Add(time.Hour)})
	hub.handle(event.Block{Identity: "spoke2"})
	want := []event.Block{
		{Identity: "spoke1", Since: hub.w.now, Until: hub.w.now.Add(time.Hour)},
		{Identity: "spoke2", Since: hub.w.now},
	}
	if d := cmp.Diff(want, hub.engine.Blocked()); d != "" {
		t.Errorf("blocked (- want, + got):\n%s", d)
	}
	hub.w.run(time.Hour - time.Second)
	if got := hub.engine.Blocked(); len(got) != 2 {
		t.Errorf("a second before the hour: %+v", got)
	}
	hub.w.run(time.Second)
	if got := hub.engine.Blocked(); len(got) != 1 || got[0].Identity != "spoke2" ||
		hub.last(output.NoticeUnblocked).Identity != "spoke1" {
		t.Errorf("after the hour: %+v", got)
	}
}

// A saved block ends at a time of the wall clock, even if the clock is set while the block lasts.
func TestBlockEndsByTheClock(t *testing.T) {
	hub := hubAlone(t)
	hub.handle(event.Block{Identity: "spoke1", Until: hub.w.now.Add(time.Hour)})
	for range 3 {
		if at, ok := hub.engine.Deadline(); !ok || at.After(hub.w.now.Add(time.Minute)) {
			t.Errorf("it is looked at again after %v, %v", at.Sub(hub.w.now), ok)
		}
		hub.w.run(time.Minute)
	}
}

// A second block of an identity only changes the time. A block without an identity does nothing.
func TestBlockAgain(t *testing.T) {
	hub := hubAlone(t)
	hub.handle(event.Block{Identity: "spoke1", Until: hub.w.now.Add(time.Hour)})
	hub.handle(event.Block{Identity: "Spoke1"})
	hub.handle(event.Block{Identity: ""})
	hub.w.run(2 * time.Hour)
	if got := hub.engine.Blocked(); len(got) != 1 || !got[0].Until.IsZero() ||
		got[0].Identity != "spoke1" {
		t.Errorf("blocked: %+v", got)
	}
}

// When the hub blocks one of two spokes that have a shortcut, the shortcut ends on both at once.
// The hub takes back the router that the shortcut led to, and the other spoke closes its SA.
func TestBlockEndsLiveShortcuts(t *testing.T) {
	m := newMesh(t)
	up := func() bool {
		m.pingPong(m.spoke1, "172.16.1.10", m.spoke2, "172.16.2.10")
		return m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() &&
			m.spoke2.shortcuts[mustPrefix(lan1)].IsValid()
	}
	for range 100 {
		if up() {
			break
		}
		m.run(50 * time.Millisecond)
	}
	if !up() {
		t.Fatalf("no shortcut\n%s", m)
	}
	m.hub.handle(event.Block{Identity: "spoke2"})
	m.run(time.Second)
	if m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() ||
		m.spoke1.neighbors[addr("10.255.0.12")].IsValid() {
		t.Errorf("spoke1 still leads to spoke2: %v %v", m.spoke1.shortcuts, m.spoke1.neighbors)
	}
	if m.hasSA(m.spoke1, m.spoke2) || m.hasSA(m.hub, m.spoke2) {
		t.Errorf("SAs are left: %v %v", m.hasSA(m.spoke1, m.spoke2), m.hasSA(m.hub, m.spoke2))
	}
	if m.ping(m.spoke1, "172.16.1.10", "172.16.0.10") == nil {
		t.Error("spoke1 does not reach the hub any more")
	}
	for _, p := range m.spoke1.status().Peers {
		if p.Identity == "spoke2" && len(p.Reasons) > 0 {
			t.Errorf("spoke1 still wants spoke2 for %v", p.Reasons)
		}
	}
}

// A spoke may block another spoke by itself.
func TestBlockOnASpoke(t *testing.T) {
	m := newMesh(t)
	for range 100 {
		m.pingPong(m.spoke1, "172.16.1.10", m.spoke2, "172.16.2.10")
		m.run(50 * time.Millisecond)
	}
	if !m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() {
		t.Fatalf("no shortcut\n%s", m)
	}
	m.spoke1.handle(event.Block{Identity: "spoke2"})
	if m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() ||
		!slices.Contains(m.spoke1.closed, m.spoke2.seenAs()) {
		t.Errorf("right after: %v, closed %v", m.spoke1.shortcuts, m.spoke1.closed)
	}
	m.run(time.Second)
	if m.spoke2.shortcuts[mustPrefix(lan1)].IsValid() {
		t.Errorf("spoke2 still leads to spoke1: %v", m.spoke2.shortcuts)
	}
	m.run(20 * time.Second)
	for range 100 {
		m.pingPong(m.spoke1, "172.16.1.10", m.spoke2, "172.16.2.10")
		m.run(50 * time.Millisecond)
	}
	if m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() ||
		m.spoke2.shortcuts[mustPrefix(lan1)].IsValid() {
		t.Errorf("a shortcut came back: %v %v", m.spoke1.shortcuts, m.spoke2.shortcuts)
	}
	if way := m.ping(m.spoke1, "172.16.1.10", "172.16.2.10"); len(way) != 3 {
		t.Errorf("traffic takes %v", way)
	}
}

// If one of several identities at an address is blocked, its SAs end and those of the others stay.
func TestBlockOneOfSeveralAtAnAddress(t *testing.T) {
	hub := hubAlone(t)
	hub.handle(event.PeerSecured{Peer: event.Peer{
		Interface:  "gre1",
		ID:         peerAt("192.0.2.11"),
		Identity:   "spoke17",
		SharedWith: []string{"spoke18"},
	}})
	hub.engine.Handle(hub.w.now, event.Block{Identity: "spoke17"}, &hub.out)
	want := []output.Expelled{{
		PeerKey:  output.PeerKey{Interface: "gre1", ID: peerAt("192.0.2.11")},
		Identity: "spoke17",
	}}
	if d := cmp.Diff(
		want, hub.out.Expelled, cmp.Comparer(func(a, b output.PeerKey) bool { return a == b }),
	); d != "" || len(hub.out.Closed) > 0 {
		t.Errorf("closed %v, expelled (- want, + got):\n%s", hub.out.Closed, d)
	}
	hub.out.Reset()
	hub.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerAt("192.0.2.11"), Identity: "spoke18"},
		},
	)
	if got := only(
		t, sender{t, hub, "192.0.2.11"}.says(registrationFrom("192.0.2.11", "10.255.0.18")),
	); got.CIEs[0].Code != packet.CodeSuccess {
		t.Errorf("the other: %s", got.CIEs[0].Code)
	}
}

// A rule that is taken away works like a block, but lets the next SA stay: that SA is barred.
func TestRuleTakenAway(t *testing.T) {
	hub := hubAlone(
		t, allowing(t, "spoke1: 10.255.0.11", "spoke2: 10.255.0.12", "spoke3: 10.255.0.13"),
	)
	hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	third := hub.client("192.0.2.13", "spoke3", "10.255.0.13")
	before := len(hub.sent)
	hub.configure(allowing(t, "spoke2: 10.255.0.12", "spoke3: 10.255.0.99"))
	if b := hub.status().Bindings; len(b) != 1 || b[0].Identity != "spoke2" {
		t.Errorf("bindings %+v", b)
	}
	if !slices.Contains(hub.closed, peerAt("192.0.2.11")) || len(hub.closed) != 1 {
		t.Errorf("closed %v", hub.closed)
	}
	sent := hub.sentSince(before)
	if len(sent) != 2 {
		t.Fatalf("%d packets sent, want one to spoke3 and one to spoke2", len(sent))
	}
	if own := sent[0]; own.Type != packet.PurgeRequest || len(own.CIEs) != 1 ||
		own.DestProtocol != addr("10.255.0.13") || own.CIEs[0].Protocol != addr("10.255.0.13") {
		t.Errorf("spoke3, which keeps its SA, was told %+v", own)
	}
	told := sent[1] // one purge names both
	if len(told.CIEs) != 2 || told.DestProtocol != addr("10.255.0.12") ||
		told.CIEs[0].Protocol != addr("10.255.0.11") ||
		told.CIEs[1].Protocol != addr("10.255.0.13") {
		t.Errorf("told %+v", told)
	}
	// spoke3 now may have another address only, and keeps its SA.
	if got := only(
		t, third.says(registrationFrom("192.0.2.13", "10.255.0.13")),
	); got.CIEs[0].Code != packet.CodeProhibited {
		t.Errorf("its old address: %s", got.CIEs[0].Code)
	}
	spoke := hub.from("192.0.2.11", "spoke1")
	if got := only(
		t, spoke.says(registrationFrom("192.0.2.11", "10.255.0.11")),
	); got.CIEs[0].Code != packet.CodeProhibited || len(hub.closed) != 1 {
		t.Errorf("a new SA: %s, closed %v", got.CIEs[0].Code, hub.closed)
	}
}

// If an NHS says that a router is shut out, everything that leads to the router ends. The word of
// any other router ends nothing.
func TestWhoMayShutOut(t *testing.T) {
	for _, c := range []struct {
		rule, from, says string
		ends             bool
	}{
		{"the NHS itself", "192.0.2.1", "10.255.0.1", true},
		{"another in its name", "192.0.2.66", "10.255.0.1", false},
		{"another through the NHS", "192.0.2.1", "10.255.0.66", false},
	} {
		m := newMesh(t)
		for range 100 {
			m.pingPong(m.spoke1, "172.16.1.10", m.spoke2, "172.16.2.10")
			m.run(50 * time.Millisecond)
		}
		if c.from != "192.0.2.1" {
			m.spoke1.from(c.from, "mallory")
		}
		purge := requestFrom("192.0.2.1", c.says, "10.255.0.11")
		purge.Type, purge.CIEs = packet.PurgeRequest, []packet.CIE{
			{PrefixLength: 32, Protocol: addr("10.255.0.12")},
		}
		if !m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() {
			t.Fatalf("no shortcut\n%s", m)
		}
		sender{t, m.spoke1, c.from}.says(purge)
		if ended := !m.spoke1.shortcuts[mustPrefix(lan2)].IsValid(); ended != c.ends {
			t.Errorf("%s: ended %v", c.rule, ended)
		}
	}
}

// What was saved for a blocked identity is not restored.
func TestRestoreOfBlocked(t *testing.T) {
	hub := hubAlone(t)
	hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	saved := hub.engine.Save()
	restarted := hubAlone(t)
	restarted.handle(event.Block{Identity: "spoke1"})
	restarted.restore(saved)
	restarted.carryOut()
	if b := restarted.status().Bindings; len(b) > 0 || len(restarted.neighbors) > 0 {
		t.Errorf("restored %+v", b)
	}
}

// A router that asked under another overlay address and got an answer is shut out by its NBMA
// address. An NHS is never shut out in this way, whatever the purge says.
func TestShutOutByNBMAAddress(t *testing.T) {
	spoke, hub := spokeAlone(t)
	hub.says(requestFrom("192.0.2.66", "10.255.0.99", "172.16.1.10"))
	spoke.from("192.0.2.66", "mallory")
	if !spoke.admits[peerAt("192.0.2.66")].ID.IsValid() {
		t.Fatalf("not admitted after the question: %v", spoke.admits)
	}
	purge := requestFrom("192.0.2.1", "10.255.0.1", "10.255.0.11")
	purge.Type, purge.CIEs = packet.PurgeRequest, []packet.CIE{
		{PrefixLength: 32, Protocol: addr("10.255.0.66"), NBMA: addr("192.0.2.66")},
	}
	hub.says(purge)
	if spoke.admits[peerAt("192.0.2.66")].ID.IsValid() ||
		!slices.Contains(spoke.closed, peerAt("192.0.2.66")) {
		t.Errorf("admitted %v, closed %v", spoke.admits, spoke.closed)
	}
	purge.CIEs[0].NBMA = addr("192.0.2.1")
	hub.says(purge)
	if !spoke.registered() || slices.Contains(spoke.closed, peerAt("192.0.2.1")) {
		t.Error("the NHS shut itself out")
	}
}

// A block ends admission at once, even where a lasting reason stays, such as a static map or an
// NHS. When the block is taken back, the router that is there is admitted again.
func TestBlockEndsAdmission(t *testing.T) {
	m := newMesh(t, func(c *overlay.InterfaceConfig) { c.Server = true })
	m.hub.configure(func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.77"), NBMA: addr("192.0.2.12")}}
	})
	if !m.hub.admits[peerAt("192.0.2.12")].ID.IsValid() ||
		!m.spoke1.admits[peerAt("192.0.2.1")].NHS {
		t.Fatalf("admitted: %v, %v", m.hub.admits, m.spoke1.admits)
	}
	m.hub.handle(event.Block{Identity: "spoke2"})
	if m.hub.admits[peerAt("192.0.2.12")].ID.IsValid() {
		t.Errorf("the hub still admits spoke2: %v", m.hub.admits)
	}
	m.spoke1.handle(event.Block{Identity: "hub"})
	if len(m.spoke1.admits) > 0 {
		t.Errorf("spoke1 still admits %v", m.spoke1.admits)
	}
	m.run(10 * time.Second)
	m.spoke1.handle(event.Unblock{Identity: "hub"})
	m.hub.handle(event.Unblock{Identity: "spoke2"})
	m.until("all is as before", time.Minute, func() bool {
		return m.spoke1.registered() && m.spoke2.registered() &&
			m.spoke1.admits[peerAt("192.0.2.1")].NHS &&
			m.hub.admits[peerAt("192.0.2.12")].ID.IsValid()
	})
}

// If a router is blocked while its SA is only in the kernel, after a restart of strongSwan, nothing
// waits for the router when it comes back.
func TestBlockedWhileUnlisted(t *testing.T) {
	n, hub := spokeAlone(t)
	ask := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	n.from("192.0.2.12", "spoke2").says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
	n.handle(event.PeersSecured{
		Interface: "gre1",
		Peers:     []event.Peer{{Interface: "gre1", ID: peerAt(hub.nbma), Identity: "hub"}},
	})
	if len(n.shortcuts) != 1 {
		t.Fatalf("the restart ended the shortcut: %v", n.shortcuts)
	}
	n.handle(event.Block{Identity: "spoke2"})
	n.from("192.0.2.12", "spoke2")
	if len(n.shortcuts) != 0 || len(n.neighbors) != 1 {
		t.Errorf("routes %v, neighbours %v", n.shortcuts, n.neighbors)
	}
}
