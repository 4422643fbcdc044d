package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// purgeOf returns a purge request for prefixes.
func purgeOf(nbma, overlay, dest string, prefixes ...string) packet.Packet {
	p := packet.Packet{
		Type:           packet.PurgeRequest,
		HopCount:       255,
		RequestID:      5,
		SourceNBMA:     addr(nbma),
		SourceProtocol: addr(overlay),
		DestProtocol:   addr(dest),
	}
	for _, prefix := range prefixes {
		q := mustPrefix(prefix)
		p.CIEs = append(p.CIEs, packet.CIE{PrefixLength: uint8(q.Bits()), Protocol: q.Addr()})
	}
	return p
}

// RFC 2332 §5.2.5: when an answer stops being true, every router that it was given to gets a purge,
// directly or along the routes. A lost purge is repeated.
func TestPurgeReachesEverybodyWhoWasTold(t *testing.T) {
	tests := []struct {
		rule      string
		nat       bool
		protected bool
		losses    int // how many purge requests are lost
		way       []string
	}{
		{"directly through the SA", false, true, 0, []string{"spoke2>spoke1", "spoke2>spoke3"}},
		{"to a requester behind NAT", true, true, 0, []string{"spoke2>spoke1", "spoke2>spoke3"}},
		{
			"twice lost", false, true, 4,
			[]string{
				"spoke2>spoke1", "spoke2>spoke3", "spoke2>spoke1", "spoke2>spoke3", "spoke2>spoke1",
				"spoke2>spoke3",
			},
		},
		{
			"along the routes without IPsec", false, false, 0,
			[]string{
				"spoke2>east", "spoke2>east", "east>central", "east>spoke3", "central>west",
				"west>spoke1",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			h := newHierarchy(
				t,
				tt.nat,
				func(c *overlay.InterfaceConfig) { c.Protected = tt.protected },
			)
			h.ping(h.spoke1, host1, host2)
			h.ping(h.spoke3, "172.16.3.10", host2)
			h.until("both have a shortcut", 5*time.Second, func() bool {
				return len(h.spoke1.shortcuts) == 1 && len(h.spoke3.shortcuts) == 1
			})
			h.wire = nil
			lost := 0
			h.lose = func(from, to *node, data []byte) bool {
				h.record(from, to, data)
				if packet.Type(data[17]) == packet.PurgeRequest && lost < tt.losses {
					lost++
					return true
				}
				return false
			}
			h.spoke2.removeRoutes(lanRoute(lan2))
			h.run(10 * time.Second)
			if len(h.spoke1.shortcuts)+len(h.spoke3.shortcuts) != 0 {
				t.Errorf("not told: spoke1 %v, spoke3 %v", h.spoke1.shortcuts, h.spoke3.shortcuts)
			}
			if got := h.way(packet.PurgeRequest); !slices.Equal(got, tt.way) {
				t.Errorf("the purges went %v, want %v", got, tt.way)
			}
			if got := len(h.spoke2.engine.ifaces["gre1"].purges.ByID); got != 0 {
				t.Errorf("%d purges still wait for a reply", got)
			}
		})
	}
}

// RFC 2332 §5.2.5: a purge is sent until the reply comes, but at most three times.
func TestPurgeIsRepeatedThreeTimes(t *testing.T) {
	n, _ := spokeAlone(t)
	n.from("192.0.2.12", "spoke2").says(requestFrom("192.0.2.12", "10.255.0.12", host1))
	before := len(n.sent)
	n.removeRoutes(lanRoute(lan1))
	n.w.run(time.Minute)
	sent := n.sentSince(before)
	if len(sent) != purge.Tries || sent[0].Type != packet.PurgeRequest ||
		sent[0].RequestID != sent[2].RequestID {
		t.Errorf("sent %v", typesOf(sent))
	}
	want := purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.12", lan1)
	want.RequestID = sent[0].RequestID
	samePacket(t, sent[0], want)
}

// A reply ends the repetition only if it comes from the router that was told, or from where the
// purge went. A third router that guessed the id ends nothing.
func TestWhoConfirmsAPurge(t *testing.T) {
	for _, tt := range []struct {
		rule, from string
		tries      int
	}{
		{"who was told", "192.0.2.12", 1},
		{"an NHS that passes it on", "192.0.2.1", 1},
		{"a third router", "192.0.2.66", purge.Tries},
	} {
		n, _ := spokeAlone(t)
		n.from("192.0.2.66", "mallory")
		n.from("192.0.2.12", "spoke2").says(requestFrom("192.0.2.12", "10.255.0.12", host1))
		before := len(n.sent)
		n.removeRoutes(lanRoute(lan1))
		reply := only(t, n.sentSince(before))
		reply.Type = packet.PurgeReply
		sender{t, n, tt.from}.says(reply)
		n.w.run(time.Minute)
		if got := len(n.sentSince(before)); got != tt.tries ||
			(tt.tries == 1) != (dropped(n, overlay.DropThirdParty) == 0) {
			t.Errorf("%s: sent %d times, dropped %v", tt.rule, got, n.engine.Stats().Dropped)
		}
	}
}

// The same holds for a goodbye: only the router that it goes to ends the repetition.
func TestWhoConfirmsAGoodbye(t *testing.T) {
	n, hub := spokeAlone(t)
	mallory := n.from("192.0.2.66", "mallory")
	before := len(n.sent)
	n.handle(event.Leave{Interface: "gre1"})
	reply := only(t, n.sentSince(before))
	reply.Type = packet.PurgeReply
	mallory.says(reply)
	if n.left != 0 {
		t.Fatal("a third router ended the goodbye")
	}
	hub.says(reply)
	if n.left != 1 {
		t.Error("the NHS's reply did not end it")
	}
}

// If more answers have to be taken back than there is room to repeat, the purges for the others go
// once and ask for no reply.
func TestMorePurgesThanAreRepeated(t *testing.T) {
	// two of them for one router
	n, _ := spokeAlone(t, func(c *overlay.InterfaceConfig) { c.Limits.Answers = 8 })
	spoke2 := n.from("192.0.2.12", "spoke2")
	for range 5 {
		spoke2.says(requestFrom("192.0.2.12", "10.255.0.12", host1))
		spoke2.says(requestFrom("192.0.2.12", "10.255.0.12", "172.16.7.9"))
		n.addRoutes(lanRoute("172.16.7.0/24"))
		spoke2.says(requestFrom("192.0.2.12", "10.255.0.12", "172.16.7.9"))
		n.removeRoutes(lanRoute(lan1), lanRoute("172.16.7.0/24"))
		n.addRoutes(lanRoute(lan1))
	}
	quiet := 0
	for _, p := range n.sentSince(0) {
		if p.Type == packet.PurgeRequest && p.Flags&packet.PurgeNoReply != 0 {
			quiet++
		}
	}
	if quiet != 2 || dropped(n, overlay.DropTableFull) != 2 ||
		len(n.engine.ifaces["gre1"].purges.ByID) != 8 {
		t.Errorf(
			"%d without a reply, dropped %v, %d repeated",
			quiet, n.engine.Stats().Dropped, len(n.engine.ifaces["gre1"].purges.ByID),
		)
	}
}

// RFC 2332 §5.2.5: a purge gets a reply unless N is set, whether there was anything to forget or
// not. §5.2.6: the reply is the request with another type and the extensions filled in.
func TestPurgeReply(t *testing.T) {
	hub := hubAlone(t)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	request := purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.1", "172.16.99.0/24")
	request.Extensions = []packet.Extension{
		{Type: packet.ExtensionResponder, Compulsory: true},
		{Type: packet.ExtensionVendor, Data: []byte{0, 0, 12, 1}},
	}
	got := only(t, spoke1.says(request))
	want := clone(request)
	want.Type = packet.PurgeReply
	want.Extensions[0].CIEs = []packet.CIE{
		{MTU: 1400, HoldingTime: 600, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
	}
	samePacket(t, got, want)
	request.Flags = packet.PurgeNoReply
	if got := spoke1.says(request); len(got) != 0 {
		t.Errorf("sent %v in spite of N", typesOf(got))
	}
}

// RFC 2332 §5.2.5: a client that does not know its NHS's overlay address names its own as the
// destination of a purge. A purge for another router is passed on.
func TestWhereAPurgeGoes(t *testing.T) {
	hub := hubAlone(t)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	spoke1.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	request := purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.12", lan1)
	request.Extensions = []packet.Extension{
		{Type: packet.ExtensionForwardTransit, Compulsory: true},
	}
	got := only(t, spoke1.says(request))
	want := clone(request)
	want.HopCount--
	want.Extensions[0].CIEs = []packet.CIE{
		{MTU: 1400, HoldingTime: 600, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
	}
	samePacket(t, got, want)
	if to := hub.sent[len(hub.sent)-1].to; to != peerAt("192.0.2.12") {
		t.Errorf("sent on to %s", to)
	}
	spoke1.says(purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.11", "10.255.0.11/32"))
	if len(hub.status().Bindings) != 1 {
		t.Errorf("bindings %+v", hub.status().Bindings)
	}
}

// RFC 2332 §5.2.5: a purge ends everything inside its prefix that the sender may take back.
func TestPurgeOfAPrefix(t *testing.T) {
	hub := hubAlone(t)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	spoke1.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	second := registrationFrom("192.0.2.11", "10.255.0.11")
	second.CIEs[0].Protocol = addr("10.255.0.13")
	spoke1.says(second)
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	only(t, spoke1.says(purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.1", "10.255.0.0/28")))
	if b := hub.status().Bindings; len(b) != 1 || b[0].Protocol != addr("10.255.0.12") {
		t.Errorf("bindings %+v, want spoke2's alone", b)
	}

	n, via := spokeAlone(t)
	two := n.from("192.0.2.12", "spoke2")
	via.says(answerTo(
		only(t, via.says(indicationOf(host1, host2))), 24, "10.255.0.12", "192.0.2.12",
	))
	via.says(answerTo(
		only(t, via.says(indicationOf(host1, "172.16.3.9"))), 24, "10.255.0.12", "192.0.2.12",
	))
	two.says(purgeOf("192.0.2.12", "10.255.0.12", "10.255.0.11", "172.16.2.0/23"))
	if len(n.shortcuts) != 0 {
		t.Errorf("shortcuts %v", n.shortcuts)
	}
}

// RFC 2332 §5.2.5: a purge reply to no purge is ignored.
func TestUnsolicitedPurgeReply(t *testing.T) {
	n, hub := spokeAlone(t)
	p := purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.12", lan1)
	p.Type = packet.PurgeReply
	if got := hub.says(p); len(got) != 0 || dropped(n, overlay.DropUnsolicited) != 1 {
		t.Errorf("sent %v, dropped %v", typesOf(got), n.engine.Stats().Dropped)
	}
}

// RFC 2332 §6.2.1: the hub remembers an answer from a static map, and takes it back when the map
// changes.
func TestMapAnswerTakenBack(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
	})
	hub.from("192.0.2.99", "static")
	spoke1 := hub.from("192.0.2.11", "spoke1")
	ask := requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.99")
	ask.Flags &^= packet.ResolutionAuthoritative
	spoke1.says(ask)
	before := len(hub.sent)
	hub.addRoutes(viaTunnel("172.30.0.0/16", "10.255.0.12"))
	if len(hub.sent) != before {
		t.Fatalf("taken back without a reason: %v", typesOf(hub.sentSince(before)))
	}
	hub.configure(func(c *overlay.InterfaceConfig) { c.Maps[0].NBMA = addr("192.0.2.98") })
	got := only(t, hub.sentSince(before))
	want := purgeOf("192.0.2.1", "10.255.0.1", "10.255.0.11", "10.255.0.99/32")
	want.RequestID = got.RequestID
	samePacket(t, got, want)
}

// The router that answered may take its answer back even if it is not the next hop in the answer.
func TestPurgeByTheResponder(t *testing.T) {
	n, hub := spokeAlone(t)
	n.from("192.0.2.99", "static")
	reply := answerTo(
		only(t, hub.says(indicationOf(host1, "10.255.0.99"))), 32, "10.255.0.99", "192.0.2.99",
	)
	reply.Extensions[0].CIEs = []packet.CIE{{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")}}
	hub.says(reply)
	if n.at("10.255.0.99") != peerAt("192.0.2.99") {
		t.Fatalf("neighbours %v", n.neighbors)
	}
	hub.says(purgeOf("192.0.2.1", "10.255.0.1", "10.255.0.11", "10.255.0.99/32"))
	if n.at("10.255.0.99").IsValid() {
		t.Errorf("neighbours %v", n.neighbors)
	}
}

// A restarted daemon still knows its answers: it takes back those that have stopped being true.
func TestAnswersOutliveARestart(t *testing.T) {
	for _, changed := range []bool{false, true} {
		m := newMesh(t)
		m.makeShortcut()
		saved := m.spoke2.engine.Save()
		m.spoke2.down = true
		m.run(time.Second)
		if changed {
			m.spoke2.routes = slices.DeleteFunc(m.spoke2.routes, func(r event.Route) bool {
				return r == lanRoute(lan2)
			})
		}
		m.spoke2.boot(saved)
		m.run(5 * time.Second)
		if got := len(m.spoke1.shortcuts) == 0; got != changed {
			t.Errorf("the network went %v, spoke1 was told %v", changed, got)
		}
	}
}

// Saved answers that make no sense are not restored.
func TestRestoreOfNonsenseAnswers(t *testing.T) {
	n, _ := spokeAlone(t)
	good := report.SavedAnswer{
		Requester: addr("10.255.0.12"),
		NBMA:      addr("192.0.2.12"),
		Prefix:    mustPrefix(lan1),
		Dest:      addr(host1),
		Expires:   n.w.now.Add(time.Minute),
	}
	restore := func(a report.SavedAnswer) int {
		n.restore(report.Saved{Interfaces: []report.SavedInterface{
			{Name: "gre1", Answers: []report.SavedAnswer{a}},
		}})
		n.carryOut()
		return len(n.engine.ifaces["gre1"].Responder.Answers)
	}
	for name, change := range map[string]func(*report.SavedAnswer){
		"expired":          func(a *report.SavedAnswer) { a.Expires = n.w.now },
		"to ourselves":     func(a *report.SavedAnswer) { a.Requester = addr("10.255.0.11") },
		"to nowhere":       func(a *report.SavedAnswer) { a.NBMA = addr("0.0.0.0") },
		"for no prefix":    func(a *report.SavedAnswer) { a.Prefix = mustPrefix("172.16.1.5/24") },
		"for another host": func(a *report.SavedAnswer) { a.Dest = addr(host2) },
	} {
		bad := good
		change(&bad)
		if restore(bad) != 0 {
			t.Errorf("%s: restored", name)
		}
	}
	if restore(good) != 1 {
		t.Error("the good one was not restored")
	}
	n.w.run(time.Minute)
	if len(n.engine.ifaces["gre1"].Responder.Answers) != 0 {
		t.Error("outlives its holding time")
	}
}

// The clock of a router leaps, and the answer that it gave expires there while the requester uses
// it. The requester hears of that at once, and goes by the hub until it has a new answer. An answer
// whose requester sent nothing since it was given expires without a word.
func TestAnswerThatExpiresInUse(t *testing.T) {
	for _, used := range []bool{true, false} {
		m := newMesh(t)
		m.makeShortcut()
		m.run(time.Minute)
		if used {
			m.keepTalking(time.Minute)
		} else {
			clear(m.spoke2.uses)
		}
		before := len(m.spoke2.sent)
		m.spoke2.engine.Advance(m.now.Add(m.spoke2.cfg.HoldingTime), &m.spoke2.out)
		m.spoke2.carryOut()
		m.run(10 * underlayDelay)
		if n := m.spoke2.sentOf(packet.PurgeRequest, before); (n > 0) != used {
			t.Errorf("used %t: %d purges", used, n)
		}
		if m.ping(m.spoke1, host1, host2) == nil {
			t.Errorf("used %t: a packet is lost\n%s", used, m)
		}
	}
}
