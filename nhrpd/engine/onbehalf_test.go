package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/packet"
)

// natTold returns a request that gives an NBMA address in the NAT address extension.
func natTold(p packet.Packet, nbma string) packet.Packet {
	p = clone(p)
	p.Extensions[3].CIEs = []packet.CIE{overlay.NATCIE(p.SourceProtocol, addr(nbma))}
	return p
}

// passedBy returns a request with the record of a transit NHS.
func passedBy(p packet.Packet, nbma, overlay string) packet.Packet {
	p = clone(p)
	p.Extensions[1].CIEs = []packet.CIE{{NBMA: addr(nbma), Protocol: addr(overlay)}}
	return p
}

// knowingHub returns a hub with an NHS, a static map, and these clients: spoke1 and spoke2, spoke3
// behind NAT, spoke4 whose SA went, and mallory.
func knowingHub(t testing.TB) *node {
	cfg := hubConfig()
	cfg.NHS = []overlay.NHSConfig{{Name: "192.0.2.2", Protocol: addr("10.255.0.2")}}
	cfg.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	hub.addRoutes(viaTunnel(lan1, "10.255.0.11"), viaTunnel(lan2, "10.255.0.12"))
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	hub.from("192.0.2.13", "spoke3").says(registrationFrom("10.1.2.3", "10.255.0.13"))
	hub.from("192.0.2.14", "spoke4").says(registrationFrom("192.0.2.14", "10.255.0.14"))
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.14"), Reason: "dead peer"})
	hub.w.run(2 * peers.LostGrace)
	hub.from("192.0.2.66", "mallory").says(registrationFrom("192.0.2.66", "10.255.0.66"))
	hub.from("192.0.2.99", "static")
	hub.from("192.0.2.2", "upper")
	return hub
}

// A hub passes a resolution request on only if it leads the answer to the router that it names. A
// request in the sender's own name must lead to the sender, and one in the name of a router that
// the hub knows must lead to that router. NHSs and routers with a static map are believed.
func TestWhoMayAskInWhoseName(t *testing.T) {
	const mallory = "192.0.2.66"
	own, spoke1 := requestFrom(mallory, "10.255.0.66", host2),
		requestFrom(mallory, "10.255.0.11", host2)
	withoutNAT := clone(spoke1)
	withoutNAT.Extensions = withoutNAT.Extensions[:3]
	elsewhere := requestFrom("192.0.2.77", "10.255.0.11", host2)
	for _, tt := range []struct {
		rule string
		from string
		asks packet.Packet
		goes bool
	}{
		{"for itself", mallory, own, true},
		{
			"for itself, to another address than its own", mallory,
			requestFrom("192.0.2.77", "10.255.0.66", host2), false,
		},
		{
			"for itself, to another address behind NAT than its own", mallory,
			natTold(own, "192.0.2.77"), false,
		},
		{
			"for itself, to the address that the NAT gave it", mallory,
			natTold(requestFrom("10.9.9.9", "10.255.0.66", host2), mallory), true,
		},
		{"for another, to itself", mallory, spoke1, false},
		{"for another, to itself, without the NAT address extension", mallory, withoutNAT, false},
		{
			"for another, to itself behind NAT", mallory,
			natTold(requestFrom("192.0.2.11", "10.255.0.11", host2), mallory), false,
		},
		{"for another, to a third address", mallory, elsewhere, false},
		{
			"for another, to that one: a hub that it is registered with as well", mallory,
			requestFrom("192.0.2.11", "10.255.0.11", host2), true,
		},
		{
			"for another behind NAT, whose address this hub fills in", mallory,
			requestFrom("10.1.2.3", "10.255.0.13", host2), true,
		},
		{"for the hub's own NHS", mallory, requestFrom(mallory, "10.255.0.2", host2), false},
		{
			"for a router with a static map", mallory, requestFrom(mallory, "10.255.0.99", host2),
			false,
		},
		{
			"for one whose SA went while its address is still its own", mallory,
			requestFrom(mallory, "10.255.0.14", host2), false,
		},
		{
			"for one that nobody knows here: it may be behind the sender", mallory,
			requestFrom("192.0.2.77", "10.255.0.77", host2), true,
		},
		{"an NHS, for a client", "192.0.2.2", elsewhere, true},
		{"a router with a static map, for a client", "192.0.2.99", elsewhere, true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			hub := knowingHub(t)
			got := only(t, sender{t, hub, tt.from}.says(tt.asks))
			switch {
			case tt.goes && got.Type != packet.ResolutionRequest:
				t.Errorf("answered with %s %+v", got.Type, got.CIEs)
			case !tt.goes &&
				(got.Type != packet.ResolutionReply ||
					got.CIEs[0].Code != packet.CodeProhibited ||
					dropped(hub, overlay.DropProhibited) != 1):
				t.Errorf(
					"answered with %s %+v, dropped %v",
					got.Type, got.CIEs, hub.engine.Stats().Dropped,
				)
			case !tt.goes && hub.last(output.NoticeRejected).Identity != "mallory":
				t.Errorf("the log says %+v", hub.last(output.NoticeRejected))
			}
		})
	}
}

// The same rules hold for requests that the hub answers, for itself or from a static map. It makes
// no difference if the sender claims that a transit NHS passed the request.
func TestWhoIsAnsweredInWhoseName(t *testing.T) {
	const mallory, there = "192.0.2.66", "172.16.0.10"
	for _, tt := range []struct {
		rule     string
		asks     packet.Packet
		answered bool
	}{
		{"for itself", requestFrom(mallory, "10.255.0.66", there), true},
		{
			"for itself, from behind a NAT that it does not know of",
			requestFrom("10.9.9.9", "10.255.0.66", there), true,
		},
		{
			"for itself, to another address than its own",
			passedBy(requestFrom("192.0.2.77", "10.255.0.66", there), mallory, "10.255.0.66"),
			false,
		},
		{"for another, to itself", requestFrom("192.0.2.11", "10.255.0.11", there), false},
		{
			"for another, to itself, passed on",
			passedBy(requestFrom(mallory, "10.255.0.11", there), mallory, "10.255.0.66"), false,
		},
		{
			"for another, to a third address",
			passedBy(requestFrom("192.0.2.77", "10.255.0.11", there), mallory, "10.255.0.66"),
			false,
		},
		{
			"for another, to that one",
			passedBy(requestFrom("192.0.2.11", "10.255.0.11", there), mallory, "10.255.0.66"), true,
		},
	} {
		for _, dest := range []string{there, "10.255.0.99"} {
			t.Run(tt.rule+", of "+dest, func(t *testing.T) {
				hub, asks := knowingHub(t), clone(tt.asks)
				asks.DestProtocol = addr(dest)
				asks.Flags &^= packet.ResolutionAuthoritative // a map's answer is not authoritative
				got := only(t, sender{t, hub, mallory}.says(asks))
				code := packet.CodeProhibited
				if tt.answered {
					code = packet.CodeSuccess
				}
				if got.CIEs[0].Code != code ||
					len(hub.engine.ifaces["gre1"].Responder.Answers) > 0 != tt.answered {
					t.Errorf("answered with %s", got.CIEs[0].Code)
				}
			})
		}
	}
}

// A registered client cannot move another router's answer to itself. The router that got the answer
// stays admitted, and hears when the answer stops being true.
func TestNobodyTakesOverAnothersAnswer(t *testing.T) {
	m := newMesh(t)
	m.spoke2.configure(func(c *overlay.InterfaceConfig) { c.Shortcut = false })
	m.ping(m.spoke1, host1, host2)
	m.until("a shortcut one way", 5*time.Second, func() bool {
		return len(m.spoke1.shortcuts) == 1
	})
	mallory := m.hub.from("192.0.2.66", "mallory")
	mallory.says(registrationFrom("192.0.2.66", "10.255.0.66"))
	mallory.says(requestFrom("192.0.2.66", "10.255.0.11", host2))
	m.run(time.Minute)
	if got := m.ping(m.spoke1, host1, host2); !slices.Equal(got, []string{"spoke1", "spoke2"}) ||
		m.spoke2.admitsData("192.0.2.66") {
		t.Errorf("traffic goes %v, mallory is admitted: %v", got, m.spoke2.admitsData("192.0.2.66"))
	}
	m.spoke2.removeRoutes(lanRoute(lan2))
	m.run(time.Second)
	if len(m.spoke1.shortcuts) != 0 {
		t.Errorf(
			"spoke1 was not told that its answer does not hold any more: %v", m.spoke1.shortcuts,
		)
	}
}

// If an NHS passes on questions in one name from two addresses, they get two answers. Neither ends
// the other, and both are taken back.
func TestAnswersInOneNameToTwoAddresses(t *testing.T) {
	n, hub := spokeAlone(t)
	n.from("192.0.2.12", "spoke2")
	n.from("192.0.2.66", "mallory")
	for _, nbma := range []string{"192.0.2.12", "192.0.2.66"} {
		hub.says(passedBy(requestFrom(nbma, "10.255.0.12", host1), "192.0.2.1", "10.255.0.1"))
	}
	n.w.run(2 * admission.AdmissionGrace)
	if !n.admitsData("192.0.2.12") ||
		len(n.engine.ifaces["gre1"].Responder.Answers) != 2 {
		t.Errorf("admits %v", n.admits)
	}
	before := len(n.sent)
	n.removeRoutes(lanRoute(lan1))
	var to []peerid.ID
	for _, s := range n.sent[before:] {
		to = append(to, s.to)
	}
	if !slices.Equal(to, []peerid.ID{peerAt("192.0.2.12"), peerAt("192.0.2.66")}) {
		t.Errorf("taken back from %v", to)
	}
}

// A hub passes purges and their replies on only in the sender's own name.
func TestNobodyPurgesInAnothersName(t *testing.T) {
	reply := func(nbma, overlay, from string) packet.Packet {
		p := purgeOf(nbma, overlay, from, lan2)
		p.Type = packet.PurgeReply
		return p
	}
	const mallory = "192.0.2.66"
	for _, tt := range []struct {
		rule string
		from string
		says packet.Packet
		goes bool
	}{
		{"its own purge", mallory, purgeOf(mallory, "10.255.0.66", "10.255.0.11", lan2), true},
		{"another's", mallory, purgeOf("192.0.2.12", "10.255.0.12", "10.255.0.11", lan2), false},
		{
			"that of the hub's own NHS", mallory,
			purgeOf("192.0.2.2", "10.255.0.2", "10.255.0.11", lan2), false,
		},
		{
			"that of one who nobody knows here", mallory,
			purgeOf("192.0.2.77", "10.255.0.77", "10.255.0.11", lan2), true,
		},
		{
			"from an NHS", "192.0.2.2", purgeOf("192.0.2.12", "10.255.0.12", "10.255.0.11", lan2),
			true,
		},
		{"its own reply", mallory, reply("192.0.2.11", "10.255.0.11", "10.255.0.66"), true},
		{"another's reply", mallory, reply("192.0.2.11", "10.255.0.11", "10.255.0.12"), false},
	} {
		hub := knowingHub(t)
		got := len(sender{t, hub, tt.from}.says(tt.says))
		if (got == 1) != tt.goes || (dropped(hub, overlay.DropNotOwner) == 0) != tt.goes {
			t.Errorf("%s: %d packets sent on, dropped %v", tt.rule, got, hub.engine.Stats().Dropped)
		}
	}
}

// A spoke that is registered with its region's hub and with the central one gets answers whichever
// of the two its questions pass, from behind NAT too.
func TestQuestionsThroughASecondHub(t *testing.T) {
	for _, nat := range []bool{false, true} {
		h := newHierarchy(t, nat)
		h.spoke1.configure(func(c *overlay.InterfaceConfig) {
			c.NHS = append(c.NHS, overlay.NHSConfig{Name: "192.0.2.1"})
		})
		h.spoke1.handle(event.NHSResolved{
			Interface: "gre1",
			Name:      "192.0.2.1",
			NBMA:      []netip.Addr{addr("192.0.2.1")},
		})
		h.until("registered with both", 5*time.Second, func() bool {
			return h.central.at("10.255.1.11").IsValid()
		})
		h.wire = nil
		h.ping(h.spoke1, host1, host2)
		h.until("a shortcut", 5*time.Second, func() bool { return len(h.spoke1.shortcuts) == 1 })
		if got := h.way(packet.ResolutionRequest)[:2]; !slices.Equal(got, []string{
			"spoke1>west", "west>central",
		}) {
			t.Errorf("behind NAT %v: the question went %v", nat, got)
		}
	}
}
