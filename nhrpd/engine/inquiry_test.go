package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

const authorizerTimeout = 2 * time.Second

// asking has a hub ask an authorizer. Its default is to refuse, or with allow to allow.
func asking(allow bool) func(*overlay.InterfaceConfig) {
	return func(c *overlay.InterfaceConfig) {
		c.Authorizer = overlay.Authorizer{
			Socket: "/run/authz.sock", Timeout: authorizerTimeout, Allow: allow,
		}
		c.Accept, c.Limits.Prefixes = prefixesOf([]string{"172.16.0.0/12"}), 10
	}
}

// rules has the authorizer of a node answer every question with a ruling.
func (n *node) rules(r event.Ruling) {
	if r.Lifetime == 0 {
		r.Lifetime = time.Hour
	}
	n.authorizer = func(output.Inquiry) (event.Ruling, bool) { return r, true }
}

// nobodyRules has the authorizer of a node answer nothing any more.
func (n *node) nobodyRules() { n.authorizer = nil }

// reregister has a client register, and returns the node's replies to that within a time.
func (s sender) reregister(protocol string, within time.Duration) []packet.Packet {
	s.t.Helper()
	before := len(s.to.sent)
	s.says(registrationFrom(s.nbma, protocol))
	s.to.w.run(within)
	return slices.DeleteFunc(s.to.sentSince(before), func(p packet.Packet) bool {
		return p.Type != packet.RegistrationReply
	})
}

// code returns the code of the only reply.
func code(t *testing.T, replies []packet.Packet) packet.Code {
	t.Helper()
	return only(t, replies).CIEs[0].Code
}

// bound returns the overlay addresses of a node's clients.
func (n *node) bound() string {
	var list []string
	for _, b := range n.status().Bindings {
		list = append(list, b.Protocol.String())
	}
	return strings.Join(list, " ")
}

// A registration waits for the authorizer, which is told who asks for what, and is answered when
// the ruling comes. A refresh needs no other question while the ruling holds.
func TestAuthorizerAllows(t *testing.T) {
	hub := hubAlone(t, asking(false))
	spoke := hub.from("192.0.2.11", "spoke1")
	if got := spoke.says(registrationFrom("192.0.2.11", "10.255.0.11")); len(got) > 0 {
		t.Fatalf("answered before the ruling: %v", typesOf(got))
	}
	want := output.Inquiry{Interface: "gre1", Socket: "/run/authz.sock", Number: 1,
		Identity: "spoke1",
		Protocol: addr("10.255.0.11"), Outer: addr("192.0.2.11"), NBMA: addr("192.0.2.11")}
	if len(hub.inquiries) != 1 || fmt.Sprint(hub.inquiries[0]) != fmt.Sprint(want) {
		t.Fatalf("asked %+v, want %+v", hub.inquiries, want)
	}
	before := len(hub.sent)
	hub.handle(event.Ruling{Interface: "gre1", Inquiry: 1, Lifetime: time.Hour})
	if got := code(t, hub.sentSince(before)); got != packet.CodeSuccess {
		t.Errorf("replied %s", got)
	}
	hub.w.run(5 * time.Minute)
	if got := code(t, spoke.reregister("10.255.0.11", 0)); got != packet.CodeSuccess {
		t.Errorf("the refresh is replied to with %s", got)
	}
	if len(hub.inquiries) != 1 || hub.bound() != "10.255.0.11" {
		t.Errorf("asked %d times, bound %s", len(hub.inquiries), hub.bound())
	}
	st := hub.status().Authorizer
	if st.Asked != 1 || st.Allowed != 1 || st.Open != 0 || st.Rulings != 1 || !st.Silent.IsZero() {
		t.Errorf("status %+v", st)
	}
}

// What the authorizer refuses is refused with code 4, and its words are in the log. The next
// attempts are refused without another question until the ruling ends.
func TestAuthorizerRefuses(t *testing.T) {
	hub := hubAlone(t, asking(true))
	hub.rules(event.Ruling{Refused: true, Text: "account locked", Lifetime: time.Minute})
	spoke := hub.from("192.0.2.11", "spoke1")
	for range 3 {
		if got := code(t, spoke.reregister("10.255.0.11", time.Second)); got !=
			packet.CodeProhibited {
			t.Errorf("replied %s", got)
		}
	}
	if n := hub.last(output.NoticeRejected); n.Reason !=
		"registration refused: the authorizer refuses spoke1: account locked" {
		t.Errorf("said %q", n.Reason)
	}
	if len(hub.inquiries) != 1 || hub.bound() != "" {
		t.Errorf("asked %d times, bound %s", len(hub.inquiries), hub.bound())
	}
	hub.rules(event.Ruling{})
	hub.w.run(time.Minute)
	if got := code(t, spoke.reregister("10.255.0.11", time.Second)); got != packet.CodeSuccess {
		t.Errorf("after the ruling ended: replied %s", got)
	}
}

// The rules of the configuration come first: what they refuse is not asked about.
func TestRulesComeBeforeTheAuthorizer(t *testing.T) {
	hub := hubAlone(t, asking(true), allowing(t, "spoke1: 10.255.0.11"))
	hub.rules(event.Ruling{})
	for identity, protocol := range map[string]string{
		"spoke1": "10.255.0.12", "stranger": "10.255.0.11",
	} {
		got := code(t, hub.from("192.0.2.11", identity).reregister(protocol, time.Second))
		if got != packet.CodeProhibited || len(hub.inquiries) > 0 {
			t.Errorf("%s at %s: replied %s, asked %v", identity, protocol, got, hub.inquiries)
		}
	}
}

// Without an answer the default decides when the time-out is over.
func TestAuthorizerSilent(t *testing.T) {
	for _, tt := range []struct {
		allow bool
		want  packet.Code
	}{{false, packet.CodeProhibited}, {true, packet.CodeSuccess}} {
		hub := hubAlone(t, asking(tt.allow))
		spoke := hub.from("192.0.2.11", "spoke1")
		started := hub.w.now
		if got := spoke.reregister("10.255.0.11", authorizerTimeout-1); len(got) > 0 {
			t.Errorf("allow %t: answered before the time-out: %v", tt.allow, codes(got[0]))
		}
		before := len(hub.sent)
		hub.w.run(1)
		if got := code(t, hub.sentSince(before)); got != tt.want {
			t.Errorf("allow %t: replied %s", tt.allow, got)
		}
		st := hub.status().Authorizer
		if st.Unanswered != 1 || !st.Silent.Equal(started) || st.Open != 0 || st.Rulings != 0 {
			t.Errorf("allow %t: status %+v", tt.allow, st)
		}
		if n := hub.last(output.NoticeUnruled); n.Reason != "no answer within 2s" {
			t.Errorf("said %+v", n)
		}
	}
}

// A ruling that comes after the time-out counts for the next attempt, and shows that the authorizer
// answers. Much later it counts no more.
func TestAuthorizerLate(t *testing.T) {
	hub := hubAlone(t, asking(false))
	spoke := hub.from("192.0.2.11", "spoke1")
	if got := code(t, spoke.reregister("10.255.0.11", 3*time.Second)); got !=
		packet.CodeProhibited {
		t.Fatalf("replied %s", got)
	}
	hub.handle(event.Ruling{Interface: "gre1", Inquiry: 1, Lifetime: time.Hour})
	if got := code(t, spoke.reregister("10.255.0.11", 0)); got != packet.CodeSuccess {
		t.Errorf("after the late ruling: replied %s", got)
	}
	st := hub.status().Authorizer
	if st.Late != 1 || st.Allowed != 1 || !st.Silent.IsZero() ||
		hub.last(output.NoticeRuling).Kind != output.NoticeRuling {
		t.Errorf("status %+v", st)
	}
	other := hub.from("192.0.2.12", "spoke2")
	other.reregister("10.255.0.12", authorizerTimeout+inquiry.LateTime)
	hub.handle(event.Ruling{Interface: "gre1", Inquiry: 2, Lifetime: time.Hour})
	hub.handle(event.Ruling{Interface: "gre1", Inquiry: 77, Lifetime: time.Hour})
	if st := hub.status().Authorizer; st.Unsolicited != 2 || st.Rulings != 1 {
		t.Errorf("status %+v", st)
	}
}

// Who asks for many addresses uses up its own share of the questions, and nobody else's.
func TestFloodOfInquiries(t *testing.T) {
	hub := hubAlone(t, asking(true))
	flood := hub.from("192.0.2.66", "flood")
	for i := range 60 {
		flood.says(registrationFrom("192.0.2.66", fmt.Sprintf("10.255.0.%d", 100+i)))
	}
	if len(hub.inquiries) != inquiry.MostOpenOfOne {
		t.Errorf("asked %d questions, want %d", len(hub.inquiries), inquiry.MostOpenOfOne)
	}
	const dropped = "registration: too many wait for the authorizer"
	if n := hub.engine.Stats().Dropped[dropped]; n != 60-inquiry.MostOpenOfOne {
		t.Errorf("dropped %d", n)
	}
	hub.rules(event.Ruling{})
	spoke := hub.from("192.0.2.11", "spoke1")
	if got := code(t, spoke.reregister("10.255.0.11", time.Second)); got != packet.CodeSuccess {
		t.Errorf("another client: replied %s", got)
	}
}

// All questions of all strangers together are bounded, and so is what is kept of the rulings.
func TestInquiriesAreBounded(t *testing.T) {
	hub := hubAlone(t, asking(false), func(c *overlay.InterfaceConfig) {
		c.Address, c.Overlay = mustPrefix("10.255.0.1/16"), mustPrefix("10.255.0.0/16")
	})
	router := func(i int) (nbma, identity, protocol string) {
		return fmt.Sprintf("198.51.%d.%d", 100+i/200, 1+i%200), fmt.Sprint("s", i),
			fmt.Sprintf("10.255.%d.%d", 1+i/200, 1+i%200)
	}
	for i := range inquiry.MostOpen + 50 {
		nbma, identity, protocol := router(i)
		hub.from(nbma, identity).says(registrationFrom(nbma, protocol))
	}
	if len(hub.inquiries) != inquiry.MostOpen {
		t.Errorf("asked %d questions, want %d", len(hub.inquiries), inquiry.MostOpen)
	}
	if err := hub.engine.ifaces["gre1"].inquiries.Check(); err != nil {
		t.Error(err)
	}
	hub.rules(event.Ruling{Refused: true})
	one := hub.from("203.0.113.7", "one")
	for i := range 30 {
		hub.w.run(time.Second)
		one.says(registrationFrom("203.0.113.7", fmt.Sprintf("10.255.77.%d", 1+i)))
	}
	hub.w.run(time.Second)
	kept := hub.status().Authorizer.Rulings
	if kept != inquiry.MostRulingsOfOne {
		t.Errorf("%d rulings about one identity are kept", kept)
	}
}

// A registration that is repeated while the authorizer is asked is one question and one reply.
func TestRepeatedWhileAsked(t *testing.T) {
	hub := hubAlone(t, asking(true))
	spoke := hub.from("192.0.2.11", "spoke1")
	for range 3 {
		spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	}
	before := len(hub.sent)
	hub.handle(event.Ruling{Interface: "gre1", Inquiry: 1})
	if got := code(t, hub.sentSince(before)); got != packet.CodeSuccess || len(hub.inquiries) != 1 {
		t.Errorf("replied %s, asked %d", got, len(hub.inquiries))
	}
}

// When a ruling ends, the client stays registered while the authorizer is asked again, even if that
// does not answer. When it refuses, the client is out as by a block: the others are told, and the
// client itself is, too. The client keeps its SA, so that it learns why.
func TestAuthorizerChangesItsMind(t *testing.T) {
	hub := hubAlone(t, asking(false))
	hub.rules(event.Ruling{Lifetime: time.Minute})
	spoke := hub.from("192.0.2.11", "spoke1")
	spoke.reregister("10.255.0.11", time.Second)
	hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	hub.w.run(time.Second)
	hub.nobodyRules()
	hub.w.run(5 * time.Minute)
	if hub.bound() != "10.255.0.11 10.255.0.12" {
		t.Fatalf("while the authorizer is silent: bound %s", hub.bound())
	}
	if n := len(hub.inquiries); n < 4 || n > 2+2*9 {
		t.Errorf("asked %d times", n)
	}
	if got := code(t, spoke.reregister("10.255.0.11", 0)); got != packet.CodeSuccess {
		t.Errorf("the refresh meanwhile: replied %s", got)
	}
	before := len(hub.sent)
	hub.authorizer = func(q output.Inquiry) (event.Ruling, bool) {
		return event.Ruling{Refused: q.Identity == "spoke1", Text: "contract ended",
			Lifetime: time.Hour}, true
	}
	hub.w.run(time.Minute)
	if hub.bound() != "10.255.0.12" {
		t.Fatalf("bound %s", hub.bound())
	}
	told := map[netip.Addr]bool{}
	for _, p := range hub.sentSince(before) {
		if p.Type == packet.PurgeRequest && p.CIEs[0].Protocol == addr("10.255.0.11") {
			told[p.DestProtocol] = true
		}
	}
	if !told[addr("10.255.0.11")] || !told[addr("10.255.0.12")] {
		t.Errorf("told %v", told)
	}
	if n := hub.last(output.NoticeUnbound); n.Reason !=
		"the authorizer refuses spoke1: contract ended" {
		t.Errorf("said %q", n.Reason)
	}
	if len(hub.closed) > 0 {
		t.Errorf("closed %v", hub.closed)
	}
	if _, admitted := hub.admits[peerAt("192.0.2.11")]; admitted {
		t.Error("its data is still admitted")
	}
	if got := code(t, spoke.reregister("10.255.0.11", 0)); got != packet.CodeProhibited {
		t.Errorf("registered again: replied %s", got)
	}
}

// A ruling narrows what a client may announce: at once where it had announced more.
func TestRulingBoundsPrefixes(t *testing.T) {
	hub := hubAlone(t, asking(false))
	hub.rules(event.Ruling{})
	spoke := hub.from("192.0.2.11", "spoke1")
	spoke.reregister("10.255.0.11", time.Second)
	spoke.says(announcementFrom("192.0.2.11", "10.255.0.11", "172.20.1.0/24", "172.20.2.0/24"))
	if got := fmt.Sprint(hub.status().Bindings[0].Prefixes); got !=
		"[172.20.1.0/24 172.20.2.0/24]" {
		t.Fatalf("announced %s", got)
	}
	hub.rules(event.Ruling{Bounded: true, Announce: prefixesOf([]string{"172.20.2.0/23"})})
	hub.handle(event.Recheck{Interface: "gre1", Identity: "Spoke1"})
	hub.w.run(time.Second)
	if got := fmt.Sprint(hub.status().Bindings[0].Prefixes); got != "[172.20.2.0/24]" {
		t.Errorf("announced %s", got)
	}
	got := spoke.says(announcementFrom("192.0.2.11", "10.255.0.11",
		"172.20.3.0/24", "172.20.4.0/24"))
	if c := codes(only(t, got)); c[0] != packet.CodeSuccess || c[1] != packet.CodeProhibited {
		t.Errorf("replied %v", c)
	}
	if n := hub.last(output.NoticeRejected); n.Reason !=
		"registration refused: the authorizer lets spoke1 announce 172.20.2.0/23" {
		t.Errorf("said %q", n.Reason)
	}
}

// A ruling that allows no shortcut ends the direct paths of the client, and the hub indicates none.
func TestRulingWithoutShortcut(t *testing.T) {
	m := newMesh(t)
	m.hub.cfg.Authorizer = overlay.Authorizer{Socket: "/run/authz.sock", Timeout: time.Second}
	m.hub.rules(event.Ruling{})
	m.hub.engine.Configure(m.now, overlay.Config{
		Interfaces: []overlay.InterfaceConfig{m.hub.cfg}}, &m.hub.out)
	m.hub.carryOut()
	m.run(time.Second)
	m.hub.authorizer = func(q output.Inquiry) (event.Ruling, bool) {
		return event.Ruling{NoShortcut: q.Identity == "spoke2", Lifetime: time.Hour}, true
	}
	m.hub.handle(event.Recheck{Interface: "gre1"})
	m.run(time.Second)
	for range 10 {
		m.pingPong(m.spoke1, host1, m.spoke2, host2)
		m.run(time.Second)
	}
	if m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() || m.hasSA(m.spoke1, m.spoke2) {
		t.Errorf("a shortcut came: %v\n%s", m.spoke1.shortcuts, m)
	}
	m.hub.rules(event.Ruling{})
	m.hub.handle(event.Recheck{Interface: "gre1", Identity: "spoke2"})
	m.run(time.Second)
	m.makeShortcut()
}

// When the authorizer takes back what it allowed, the client's live shortcuts end on both sides,
// and the client knows that it is refused. Others go on.
func TestRefusalEndsLiveShortcuts(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.hub.cfg.Authorizer = overlay.Authorizer{Socket: "/run/authz.sock", Timeout: time.Second}
	m.hub.authorizer = func(q output.Inquiry) (event.Ruling, bool) {
		return event.Ruling{Refused: q.Identity == "spoke2", Lifetime: time.Hour}, true
	}
	m.hub.engine.Configure(m.now, overlay.Config{
		Interfaces: []overlay.InterfaceConfig{m.hub.cfg}}, &m.hub.out)
	m.hub.carryOut()
	m.run(time.Second)
	if m.spoke1.shortcuts[mustPrefix(lan2)].IsValid() ||
		m.spoke1.neighbors[addr("10.255.0.12")].IsValid() || m.hasSA(m.spoke1, m.spoke2) {
		t.Errorf("spoke1 still leads to spoke2: %v %v", m.spoke1.shortcuts, m.spoke1.neighbors)
	}
	if n := m.spoke2.status().NHS[0]; n.State != report.NHSRefused {
		t.Errorf("spoke2 is in state %d: %s", n.State, n.Error)
	}
	if n := m.spoke2.last(output.NoticeHubLost); !strings.Contains(n.Reason,
		"it leaves the overlay, or it does not allow us any more") {
		t.Errorf("when the registration was taken back, spoke2 said %q", n.Reason)
	}
	if !m.hasSA(m.hub, m.spoke2) || !m.spoke1.registered() ||
		m.ping(m.spoke1, host1, "172.16.0.10") == nil {
		t.Error("spoke2 has no SA to hear why, or spoke1 does not reach the hub")
	}
	if m.ping(m.spoke2, host2, "172.16.0.10") != nil {
		t.Error("spoke2 still reaches the hub's network")
	}
}

// After a restart the clients are still registered, and the authorizer is asked about each, a few
// at a time. Nobody is out before it has answered. It is asked again over a new connection.
func TestRestartAsksAgain(t *testing.T) {
	hub := hubAlone(t, asking(false))
	hub.rules(event.Ruling{})
	const clients = 100
	for i := range clients {
		nbma, protocol := fmt.Sprintf("192.0.2.%d", 100+i), fmt.Sprintf("10.255.0.%d", 100+i)
		hub.from(nbma, fmt.Sprint("s", i)).reregister(protocol, 10*time.Millisecond)
	}
	saved := hub.engine.Save()
	hub.nobodyRules()
	for i := range clients {
		hub.lists = append(hub.lists, event.Peer{Interface: "gre1",
			ID: peerAt(fmt.Sprintf("192.0.2.%d", 100+i)), Identity: fmt.Sprint("s", i)})
	}
	hub.inquiries = nil
	hub.boot(saved)
	if n := len(hub.inquiries); n != inquiry.MostBackground {
		t.Errorf("asked %d questions at once, want %d", n, inquiry.MostBackground)
	}
	hub.w.run(10 * time.Second)
	if n := len(hub.status().Bindings); n != clients {
		t.Errorf("while nobody answers, %d of %d are registered", n, clients)
	}
	hub.authorizer = func(q output.Inquiry) (event.Ruling, bool) {
		return event.Ruling{Refused: q.Identity == "s42", Lifetime: time.Hour}, true
	}
	hub.inquiries = nil
	hub.handle(event.AuthorizerUp{Interface: "gre1"})
	hub.w.run(2 * time.Second)
	st := hub.status()
	if len(st.Bindings) != clients-1 || strings.Contains(hub.bound()+" ", "10.255.0.142 ") ||
		st.Authorizer.Queued != 0 || len(hub.inquiries) != clients {
		t.Errorf("%d registered, %d questions, %+v", len(st.Bindings), len(hub.inquiries),
			st.Authorizer)
	}
	if n := hub.inquiries[0]; !n.Registered {
		t.Errorf("asked %+v", n)
	}
}

// A new connection to the authorizer gets the questions that are open.
func TestOpenQuestionsAreAskedAgain(t *testing.T) {
	hub := hubAlone(t, asking(false))
	spoke := hub.from("192.0.2.11", "spoke1")
	spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.rules(event.Ruling{})
	before := len(hub.sent)
	hub.handle(event.AuthorizerUp{Interface: "gre1"})
	hub.w.run(time.Second)
	if got := code(t, hub.sentSince(before)); got != packet.CodeSuccess ||
		hub.inquiries[1].Number != hub.inquiries[0].Number {
		t.Errorf("replied %s, asked %+v", got, hub.inquiries)
	}
}

// An authorizer that is configured while clients are registered is asked about them; when it is
// configured no more, what waits is handled at once.
func TestAuthorizerComesAndGoes(t *testing.T) {
	hub := hubAlone(t)
	hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	asking(false)(&hub.cfg)
	configure := func() {
		hub.engine.Configure(hub.w.now,
			overlay.Config{Interfaces: []overlay.InterfaceConfig{hub.cfg}}, &hub.out)
		hub.carryOut()
	}
	configure()
	if len(hub.inquiries) != 1 || hub.inquiries[0].Identity != "spoke1" ||
		!hub.inquiries[0].Registered {
		t.Fatalf("asked %+v", hub.inquiries)
	}
	other := hub.from("192.0.2.12", "spoke2")
	if got := other.says(registrationFrom("192.0.2.12", "10.255.0.12")); len(got) > 0 {
		t.Fatalf("answered %v", typesOf(got))
	}
	before := len(hub.sent)
	hub.cfg.Authorizer = overlay.Authorizer{}
	configure()
	if got := code(t, hub.sentSince(before)); got != packet.CodeSuccess {
		t.Errorf("replied %s", got)
	}
	if hub.bound() != "10.255.0.11 10.255.0.12" || hub.status().Authorizer != nil {
		t.Errorf("bound %s, %+v", hub.bound(), hub.status().Authorizer)
	}
}

// A client that has moved is asked about anew: held as before meanwhile.
func TestMovedClientIsAskedAbout(t *testing.T) {
	hub := hubAlone(t, asking(false))
	hub.rules(event.Ruling{})
	hub.from("192.0.2.11", "spoke1").reregister("10.255.0.11", time.Second)
	hub.handle(event.PeerMoved{From: peerAt("192.0.2.11"), Peer: event.Peer{
		Interface: "gre1", ID: peerAt("192.0.2.99"), Identity: "spoke1"}})
	if n := len(hub.inquiries); n != 2 || hub.inquiries[1].Outer != addr("192.0.2.99") ||
		!hub.inquiries[1].Registered || hub.bound() != "10.255.0.11" {
		t.Errorf("asked %+v, bound %s", hub.inquiries, hub.bound())
	}
}

// When the administrator clears a binding, the client's next registration asks the authorizer.
func TestClearAsksTheAuthorizer(t *testing.T) {
	hub := hubAlone(t, asking(false))
	hub.rules(event.Ruling{})
	hub.from("192.0.2.11", "spoke1").reregister("10.255.0.11", time.Second)
	hub.engine.Clear(hub.w.now, report.ClearBinding, addr("10.255.0.11"), &hub.out)
	hub.carryOut()
	hub.from("192.0.2.11", "spoke1").reregister("10.255.0.11", time.Second)
	if len(hub.inquiries) != 2 || hub.bound() != "10.255.0.11" {
		t.Errorf("asked %d times, bound %s", len(hub.inquiries), hub.bound())
	}
}

// A registration whose sender has lost its SA while the authorizer was asked is dropped.
func TestSenderGoneWhileAsked(t *testing.T) {
	hub := hubAlone(t, asking(true))
	spoke := hub.from("192.0.2.11", "spoke1")
	spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "lost"})
	hub.handle(event.Ruling{Interface: "gre1", Inquiry: 1})
	if hub.bound() != "" || hub.engine.Stats().Dropped["peer not secured"] != 1 {
		t.Errorf("bound %s, dropped %v", hub.bound(), hub.engine.Stats().Dropped)
	}
}

// Another router that is at the address when the ruling comes does not get what the ruling gives.
func TestAnotherIdentityWhileAsked(t *testing.T) {
	hub := hubAlone(t, asking(true))
	spoke := hub.from("192.0.2.11", "spoke1")
	spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.from("192.0.2.11", "other")
	hub.handle(event.Ruling{Interface: "gre1", Inquiry: 1})
	if hub.bound() != "" || len(hub.inquiries) != 2 || hub.inquiries[1].Identity != "other" {
		t.Errorf("bound %s, asked %+v", hub.bound(), hub.inquiries)
	}
}
