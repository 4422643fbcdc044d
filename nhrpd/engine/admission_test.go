package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/packet"
)

// admitsAs reports whether the node's kernel takes data from an NBMA address, and what that peer is
// admitted as.
func (n *node) admitsAs(nbma string) (as admission.As, ok bool) {
	c, ok := n.admits[peerAt(nbma)]
	return admission.As{NHS: c.NHS, Shared: c.Shared}, ok
}

func (n *node) admitsData(nbma string) bool {
	_, ok := n.admitsAs(nbma)
	return ok
}

// A spoke admits its NHS from the start, and no other router. A hub admits the clients that are
// registered and those with a static map.
func TestAdmissionOfNHSAndClients(t *testing.T) {
	spoke, _ := spokeAlone(t)
	if as, ok := spoke.admitsAs("192.0.2.1"); !ok || !as.NHS || len(spoke.admits) != 1 {
		t.Errorf("the spoke admits %v", spoke.admits)
	}

	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.50"), NBMA: addr("192.0.2.50")}}
	})
	other := hub.from("192.0.2.66", "other")
	other.says(requestFrom("192.0.2.66", "10.255.0.66", "172.16.0.5"))
	hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	for nbma, want := range map[string]bool{
		"192.0.2.11": true,
		"192.0.2.50": true,
		"192.0.2.66": false,
		"192.0.2.12": false,
	} {
		if as, ok := hub.admitsAs(nbma); ok != want || as.NHS {
			t.Errorf("%s is admitted: %v, as %+v; want %v", nbma, ok, as, want)
		}
	}
	for _, p := range hub.status().Peers {
		if p.Admitted != hub.admitsData(p.ID.String()) {
			t.Errorf("the status says that %s is admitted: %v", p.ID, p.Admitted)
		}
	}
}

// A spoke answers the question of any router, but admits only those whose question came along its
// NHS. What other routers say of themselves, and that they have an SA, admits none of them.
func TestOnlyAnNHSVouchesForRequesters(t *testing.T) {
	spoke, hub := spokeAlone(t)
	spoke.from("192.0.2.66", "blocked").says(requestFrom("192.0.2.66", "10.255.0.66", host1))
	spoke.from("192.0.2.12", "spoke2")
	if spoke.admitsData("192.0.2.66") || spoke.admitsData("192.0.2.12") {
		t.Fatalf("admitted without anybody's word: %v", spoke.admits)
	}
	hub.says(requestFrom("192.0.2.12", "10.255.0.12", host1))
	if as, ok := spoke.admitsAs("192.0.2.12"); !ok || as.NHS {
		t.Errorf("the NHS passed its question on, and it is admitted: %v, as %+v", ok, as)
	}
	p := registrationFrom("192.0.2.66", "10.255.0.66")
	if got := only(
		t, sender{t, spoke, "192.0.2.66"}.says(p),
	); got.CIEs[0].Code != packet.CodeProhibited {
		t.Errorf("a spoke takes registrations: %s", got.CIEs[0].Code)
	}
	if spoke.admitsData("192.0.2.66") {
		t.Error("another router admitted itself by registering with a spoke")
	}
}

// A requester behind NAT may be any router at its address, so all of them are admitted.
func TestRequestersBehindNATAreAdmittedAsAll(t *testing.T) {
	spoke, hub := spokeAlone(t)
	p := requestFrom("192.168.1.2", "10.255.0.12", host1)
	p.Extensions[3].CIEs = []packet.CIE{overlay.NATCIE(addr("10.255.0.12"), addr("192.0.2.12"))}
	hub.says(p)
	if as, ok := spoke.admitsAs("192.0.2.12"); !ok || !as.Shared {
		t.Errorf("admitted: %v, as %+v", ok, as)
	}
}

// Both ends of a shortcut admit each other's data before the first packet can arrive, and until
// after the last one can.
func TestAdmissionOutlivesItsReason(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	if !m.spoke1.admitsData("192.0.2.12") || !m.spoke2.admitsData("192.0.2.11") {
		t.Fatalf("a shortcut without admission\n%s", m)
	}
	m.hub.client("192.0.2.99", "late", "10.255.0.99")
	b := m.hub.engine.ifaces["gre1"].server.Bindings[addr("10.255.0.99")]
	if !m.hub.admitsData("192.0.2.99") {
		t.Fatal("a client is not admitted")
	}
	m.hub.engine.router.Enter(m.now, &m.hub.out)
	b.Server.Unbind(b, "for the test")
	m.hub.carryOut()
	m.run(admission.AdmissionGrace - time.Millisecond)
	if !m.hub.admitsData("192.0.2.99") {
		t.Error("packets under way are dropped")
	}
	m.run(time.Millisecond)
	if m.hub.admitsData("192.0.2.99") {
		t.Error("admitted for ever")
	}
}

// A router whose SA this end closes is no longer admitted. If it dials again without a reason, it
// gets an SA at most.
func TestClosingEndsAdmission(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	ifc := m.spoke1.engine.ifaces["gre1"]
	m.spoke1.engine.router.Enter(m.now, &m.spoke1.out)
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		ifc.Requester.EndShortcut(s, "for the test")
	}
	for _, a := range ordered.Values(ifc.Responder.Answers, resolution.AnswerKey.Compare) {
		ifc.Responder.DropAnswer(a)
	}
	ifc.peers.ClosePeer(
		ifc.peers.ByID[peerAt("192.0.2.12")],
		"for the test",
	)
	m.spoke1.carryOut()
	if m.spoke1.admitsData("192.0.2.12") {
		t.Error("admitted after its SA was closed")
	}
	if !m.spoke1.admitsData("192.0.2.1") {
		t.Error("the NHS is not admitted any more")
	}
}

// After a restart the engine admits the same routers as before, without waiting for any of them.
func TestRestartAdmitsAsBefore(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	for _, n := range m.nodes {
		before := n.engine.Admitted("gre1")
		e := New(nil, 1)
		e.Configure(
			m.now,
			overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
			&output.Output{},
		)
		e.Restore(m.now, n.engine.Save(), &output.Output{})
		after := map[peerid.ID]bool{}
		for _, a := range e.Admitted("gre1") {
			after[a.ID] = true
		}
		for _, a := range before {
			if !after[a.ID] {
				t.Errorf("%s does not admit %s after its restart", n.name, a.ID)
			}
		}
	}
}

// A router that the rules allow nothing is not admitted, whatever reason there is. Once the rules
// allow it again, it is admitted.
func TestRulesBeforeReasons(t *testing.T) {
	ruled := allowing(t, "spoke1: 10.255.0.11")
	mapped := func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.50"), NBMA: addr("192.0.2.50")}}
	}
	hub := hubAlone(t, mapped, ruled)
	hub.from("192.0.2.50", "somebody")
	if hub.admitsData("192.0.2.50") {
		t.Error("an identity without a rule is admitted at the address of a static map")
	}
	cfg := hub.cfg
	cfg.Policy = nil
	hub.engine.Configure(
		hub.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{cfg}},
		&hub.out,
	)
	hub.carryOut()
	hub.from("192.0.2.50", "somebody")
	if !hub.admitsData("192.0.2.50") {
		t.Error("not admitted without rules")
	}
}

// Admitted returns what all admission changes so far amount to.
func TestAdmittedIsWhatWasTold(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	for _, n := range m.nodes {
		list := n.engine.Admitted("gre1")
		for _, c := range list {
			if n.admits[c.ID] != c {
				t.Errorf("%s: %+v, told %+v", n.name, c, n.admits[c.ID])
			}
		}
		if len(list) != len(n.admits) {
			t.Errorf("%s: %d admitted, %d told", n.name, len(list), len(n.admits))
		}
	}
	if m.spoke1.engine.Admitted("gre9") != nil {
		t.Error("an interface that is not there admits somebody")
	}
}

// When an answer is taken back, its requester stays admitted until the answer would have expired,
// since the purge may have been lost.
func TestAdmissionOutlivesAnswerTakenBack(t *testing.T) {
	spoke, hub := spokeAlone(t)
	spoke.from("192.0.2.12", "spoke2")
	hub.says(requestFrom("192.0.2.12", "10.255.0.12", host1))
	spoke.w.run(time.Minute)
	spoke.addRoutes(event.Route{Prefix: mustPrefix("172.16.1.0/30"), Device: "eth2"})
	purged := slices.ContainsFunc(spoke.sentSince(0), func(p packet.Packet) bool {
		return p.Type == packet.PurgeRequest
	})
	if spoke.w.run(8 * time.Minute); !purged || !spoke.admitsData("192.0.2.12") {
		t.Errorf("taken back: %v, and its data dropped\n%s", purged, spoke.w)
	}
	if spoke.w.run(time.Minute + admission.AdmissionGrace); spoke.admitsData("192.0.2.12") {
		t.Error("admitted for ever")
	}
}
