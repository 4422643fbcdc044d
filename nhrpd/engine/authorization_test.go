package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
	"cygnet/nhrpd/policy"
)

// allowing gives an interface rules. Each is "IDENTITY: ADDRESS", followed by "announce PREFIX" and
// "no shortcut" as needed, separated by commas.
func allowing(t testing.TB, rules ...string) func(*overlay.InterfaceConfig) {
	t.Helper()
	var list []policy.Rule
	for _, text := range rules {
		identity, rest, _ := strings.Cut(text, ": ")
		p, err := policy.ParsePattern(identity)
		if err != nil {
			t.Fatal(err)
		}
		r := policy.Rule{Identity: p, Shortcut: true, Source: "test"}
		for word := range strings.SplitSeq(rest, ", ") {
			prefix, announces := strings.CutPrefix(word, "announce ")
			if word == "no shortcut" {
				r.Shortcut = false
				continue
			}
			tmpl, err := policy.ParseTemplate(prefix, p.Captures())
			if err != nil {
				t.Fatal(err)
			}
			if announces {
				r.Announce, r.Bounded = append(r.Announce, tmpl), true
			} else {
				r.Addresses = append(r.Addresses, tmpl)
			}
		}
		list = append(list, r)
	}
	compiled := policy.New(list)
	return func(c *overlay.InterfaceConfig) { c.Policy, c.Limits.Prefixes = compiled, 10 }
}

// The rule of the proven identity decides what a router may register, whatever the packet says.
func TestRegistrationByRule(t *testing.T) {
	hub := hubAlone(t, allowing(t, "spoke{n}: 10.255.0.{n}"))
	for _, c := range []struct {
		identity, overlay string
		want              packet.Code
		says              string
	}{
		{"spoke17", "10.255.0.17", packet.CodeSuccess, ""},
		{
			"spoke17", "10.255.0.18", packet.CodeProhibited,
			`rule "spoke{n}" (test) gives spoke17 the address 10.255.0.17, not 10.255.0.18`,
		},
		{"SPOKE17", "10.255.0.17", packet.CodeSuccess, ""},
		{
			"mallory", "10.255.0.17", packet.CodeProhibited,
			"no peer rule matches its identity mallory",
		},
		{
			"spoke300", "10.255.0.44", packet.CodeProhibited,
			`rule "spoke{n}" (test) gives spoke300 the address nothing, not 10.255.0.44`,
		},
	} {
		node := hubAlone(t, allowing(t, "spoke{n}: 10.255.0.{n}"))
		reply := only(
			t, node.from("192.0.2.66", c.identity).says(registrationFrom("192.0.2.66", c.overlay)),
		)
		if got := reply.CIEs[0]; got.Code != c.want ||
			c.want != packet.CodeSuccess && got.HoldingTime != 0 {
			t.Errorf(
				"%s as %s: code %s for %d s, want %s",
				c.identity, c.overlay, got.Code, got.HoldingTime, c.want,
			)
		}
		if got := node.last(output.NoticeRejected).Reason; c.says != "" &&
			got != "registration refused: "+c.says {
			t.Errorf("%s as %s: said %q", c.identity, c.overlay, got)
		}
		if c.want != packet.CodeSuccess &&
			(len(node.status().Bindings) > 0 || len(node.neighbors) > 0) {
			t.Errorf("%s as %s is remembered: %+v", c.identity, c.overlay, node.status().Bindings)
		}
	}
	if hub.has(output.NoticeRejected) > 0 {
		t.Error("refused without a question")
	}
}

// A router that asks again and again gets a reply each time, and only a few log entries.
func TestRefusalsAreLimitedInTheLog(t *testing.T) {
	hub := hubAlone(t, allowing(t, "spoke{n}: 10.255.0.{n}"))
	mallory := hub.from("192.0.2.66", "mallory")
	for range 50 {
		if got := only(
			t, mallory.says(registrationFrom("192.0.2.66", "10.255.0.17")),
		); got.CIEs[0].Code != packet.CodeProhibited {
			t.Fatalf("answered %s", got.CIEs[0].Code)
		}
	}
	if got := hub.has(output.NoticeRejected) + hub.has(output.NoticeProhibited); got > 4 {
		t.Errorf("%d lines for 50 refusals", got)
	}
}

// If both a rule and accept are given, both must allow an announced prefix; otherwise the one that
// is given decides.
func TestAnnouncementByRule(t *testing.T) {
	for _, c := range []struct {
		rule, rules, accept string
		want                packet.Code
	}{
		{"neither", "spoke1: 10.255.0.11", "", packet.CodeProhibited},
		{"accept alone", "spoke1: 10.255.0.11", "172.16.0.0/12", packet.CodeSuccess},
		{"the rule alone", "spoke1: 10.255.0.11, announce 172.16.1.0/24", "", packet.CodeSuccess},
		{
			"the rule alone, another prefix", "spoke1: 10.255.0.11, announce 172.16.2.0/24", "",
			packet.CodeProhibited,
		},
		{
			"both", "spoke1: 10.255.0.11, announce 172.16.0.0/16", "172.16.0.0/12",
			packet.CodeSuccess,
		},
		{
			"both, accept says no", "spoke1: 10.255.0.11, announce 172.16.0.0/16", "172.17.0.0/16",
			packet.CodeProhibited,
		},
		{
			"both, the rule says no", "spoke1: 10.255.0.11, announce 172.17.0.0/16",
			"172.16.0.0/12", packet.CodeProhibited,
		},
		{
			"wider than the rule", "spoke1: 10.255.0.11, announce 172.16.1.0/25", "",
			packet.CodeProhibited,
		},
	} {
		cfg := hubConfig()
		allowing(t, c.rules)(&cfg)
		if c.accept != "" {
			cfg.Accept = prefixesOf([]string{c.accept})
		}
		hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
		spoke := hub.client("192.0.2.11", "spoke1", "10.255.0.11")
		if got := only(
			t, spoke.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1)),
		); got.CIEs[0].Code != c.want {
			t.Errorf("%s: %s: %s", c.rule, got.CIEs[0].Code, hub.last(output.NoticeRejected).Reason)
		}
		if led := len(hub.shortcuts) > 0; led != (c.want == packet.CodeSuccess) {
			t.Errorf("%s: routes %v", c.rule, hub.shortcuts)
		}
	}
}

// A peer that has an SA and no rule may do nothing: its requests are refused with code 4, its other
// messages are dropped, and nothing of them is remembered. Its SA stays.
func TestIdentityWithoutRule(t *testing.T) {
	hub := hubAlone(t, allowing(t, "spoke{n}: 10.255.0.{n}"))
	hub.client("192.0.2.12", "spoke12", "10.255.0.12")
	mallory := hub.from("192.0.2.66", "mallory")
	reply := only(t, mallory.says(requestFrom("192.0.2.66", "10.255.0.66", "172.16.0.10")))
	if reply.Type != packet.ResolutionReply || reply.CIEs[0].Code != packet.CodeProhibited {
		t.Errorf("a resolution: %s %s", reply.Type, reply.CIEs[0].Code)
	}
	if got := mallory.says(requestFrom(
		"192.0.2.66", "10.255.0.66", "10.255.0.12",
	)); only(t, got).CIEs[0].Code != packet.CodeProhibited {
		t.Errorf("a resolution of another client: %+v", got)
	}
	purge := requestFrom("192.0.2.66", "10.255.0.12", "10.255.0.1")
	purge.Type, purge.CIEs = packet.PurgeRequest, []packet.CIE{
		{PrefixLength: 32, Protocol: addr("10.255.0.12")},
	}
	if got := mallory.says(purge); len(got) > 0 || dropped(hub, overlay.DropProhibited) == 0 {
		t.Errorf("a purge: %v, dropped %v", typesOf(got), hub.engine.Stats().Dropped)
	}
	if len(hub.status().Bindings) != 1 ||
		len(hub.engine.ifaces["gre1"].Responder.Answers) > 0 {
		t.Errorf("remembered: %+v", hub.status().Bindings)
	}
	if len(hub.closed) > 0 {
		t.Errorf("closed %v", hub.closed)
	}
	i := slices.IndexFunc(hub.status().Peers, func(p report.PeerStatus) bool {
		return p.Identity == "mallory"
	})
	if i < 0 || hub.status().Peers[i].Prohibited != "no peer rule matches its identity mallory" {
		t.Errorf("status %+v", hub.status().Peers)
	}
}

// If a rule allows a spoke no shortcuts, the hub sends no indications about its traffic and refuses
// the questions, from either end.
func TestNoShortcutThroughTheHub(t *testing.T) {
	hub := hubAlone(
		t, allowing(t, "spoke1: 10.255.0.11", "spoke2: 10.255.0.12, no shortcut"),
		func(c *overlay.InterfaceConfig) { c.Redirect = true },
	)
	one, two := hub.client("192.0.2.11", "spoke1", "10.255.0.11"),
		hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	before := len(hub.sent)
	hub.handle(event.Redirected{
		Interface: "gre1",
		From:      peerAt("192.0.2.11"),
		Packet:    ipv4(addr("172.16.1.10"), addr("172.16.2.10")),
	})
	hub.handle(event.Redirected{
		Interface: "gre1",
		From:      peerAt("192.0.2.12"),
		Packet:    ipv4(addr("172.16.2.10"), addr("172.16.1.10")),
	})
	if got := hub.sentSince(before); len(got) > 0 {
		t.Errorf("indications: %v", typesOf(got))
	}
	for _, reply := range [][]packet.Packet{
		one.says(requestFrom("192.0.2.11", "10.255.0.11", "172.16.2.10")),
		two.says(requestFrom("192.0.2.12", "10.255.0.12", "172.16.1.10")),
	} {
		if p := only(t, reply); p.Type != packet.ResolutionReply ||
			p.CIEs[0].Code != packet.CodeProhibited {
			t.Errorf("a resolution: %s %+v", p.Type, p.CIEs)
		}
	}
}

// policyMesh returns a mesh whose spokes have rules. A spoke whose identity is not its node's name
// is played by the test.
func policyMesh(t testing.TB, spoke1, spoke2 []string) mesh {
	return newMesh(t, func(c *overlay.InterfaceConfig) {
		switch c.Address.Addr() {
		case addr("10.255.0.11"):
			allowing(t, spoke1...)(c)
		case addr("10.255.0.12"):
			allowing(t, spoke2...)(c)
		}
	})
}

// A spoke applies its own rules. It gives and installs no answer that leads to a router which may
// not have the overlay address in the answer, or may have no shortcut. Traffic stays on the hub,
// and no router keeps asking.
func TestSpokesDecideThemselves(t *testing.T) {
	all := []string{"hub: 10.255.0.1", "spoke1: 10.255.0.11", "spoke2: 10.255.0.12"}
	for _, c := range []struct {
		rule           string
		spoke1, spoke2 []string
		want           bool
	}{
		{"both allow it", all, all, true},
		{"the requester has no rule for the responder", []string{"hub: 10.255.0.1"}, all, false},
		{"the responder has no rule for the requester", all, []string{"hub: 10.255.0.1"}, false},
		{
			"the responder has another address by the requester's rule",
			[]string{"hub: 10.255.0.1", "spoke2: 10.255.0.99"}, all, false,
		},
		{
			"the requester has another by the responder's", all,
			[]string{"hub: 10.255.0.1", "spoke1: 10.255.0.99"}, false,
		},
		{
			"no shortcuts to the responder",
			[]string{"hub: 10.255.0.1", "spoke2: 10.255.0.12, no shortcut"}, all, false,
		},
		{
			"no shortcuts to the requester", all,
			[]string{"hub: 10.255.0.1", "spoke1: 10.255.0.11, no shortcut"}, false,
		},
		{
			"the hub's rule on shortcuts is about the hub only",
			[]string{"hub: 10.255.0.1, no shortcut", "spoke2: 10.255.0.12"}, all, true,
		},
	} {
		m := policyMesh(t, c.spoke1, c.spoke2)
		for range 50 {
			m.ping(m.spoke1, "172.16.1.10", "172.16.2.10")
			m.run(100 * time.Millisecond)
		}
		if got := m.spoke1.shortcuts[mustPrefix(lan2)].IsValid(); got != c.want {
			t.Errorf("%s: shortcut %v\n%s", c.rule, got, m)
		}
		if way := m.ping(m.spoke1, "172.16.1.10", "172.16.2.10"); len(way) == 0 {
			t.Errorf("%s: no way", c.rule)
		}
		if !c.want {
			if n := m.spoke1.dials[m.spoke2.seenAs()] + m.spoke2.dials[m.spoke1.seenAs()]; n > 3 {
				t.Errorf("%s: dialled %d times in 5 s", c.rule, n)
			}
		}
	}
}

// A router at an NHS's address that may not have the NHS's overlay address is no NHS: the spoke
// does not register with it and sends it nothing.
func TestImpostorOfTheHub(t *testing.T) {
	for _, c := range []struct {
		rule string
		nhs  overlay.NHSConfig
	}{
		{"another has no rule", overlay.NHSConfig{Name: "192.0.2.1"}},
		{
			"another may be something else",
			overlay.NHSConfig{Name: "192.0.2.1", Protocol: addr("10.255.0.1")},
		},
	} {
		cfg := spokeConfig("10.255.0.11/24")
		cfg.NHS = []overlay.NHSConfig{c.nhs}
		rules := []string{"hub: 10.255.0.1"}
		if c.nhs.Protocol.IsValid() {
			rules = append(rules, "spoke{n}: 10.255.0.{n}")
		}
		allowing(t, rules...)(&cfg)
		n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
		n.from("192.0.2.1", "spoke66")
		n.w.run(time.Minute)
		if len(n.sent) > 0 || len(n.neighbors) > 0 || len(n.admits) > 0 {
			t.Errorf(
				"%s: sent %d packets, neighbours %v, admitted %v",
				c.rule, len(n.sent), n.neighbors, n.admits,
			)
		}
		if st := n.status().NHS[0]; st.State != report.NHSSecuring ||
			!strings.Contains(st.Error, "may not be it") {
			t.Errorf("%s: %+v", c.rule, st)
		}
		// When the real NHS is there later, the spoke registers.
		n.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "gone"})
		hub := n.from("192.0.2.1", "hub")
		hub.says(acceptance(only(t, n.sentSince(0))))
		if !n.registered() || !n.admits[peerAt("192.0.2.1")].NHS {
			t.Errorf(
				"%s: not registered with the hub: %+v, admitted %v",
				c.rule, n.status().NHS, n.admits,
			)
		}
	}
}

// If an NHS's overlay address is learned from its reply, the rules must allow it to the NHS's
// identity.
func TestLearnedAddressOfTheHub(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	allowing(t, "hub: 10.255.0.2")(&cfg)
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
	n.from("192.0.2.1", "hub").says(acceptance(only(t, n.sentSince(0))))
	if n.registered() || len(n.neighbors) > 0 {
		t.Errorf("registered with %+v, neighbours %v", n.status().NHS, n.neighbors)
	}
}

// Of two routers with one identity and one overlay address, the hub serves the one that came last.
// It refuses the other one for as long as that is there, and nothing flaps.
func TestTwoRoutersWithOneIdentity(t *testing.T) {
	hub := hubAlone(t)
	first := hub.from("192.0.2.11", "spoke")
	first.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.w.run(time.Second)
	second := hub.from("192.0.2.12", "spoke")
	hub.w.run(time.Second)
	if got := only(
		t, second.says(registrationFrom("192.0.2.12", "10.255.0.11")),
	); got.CIEs[0].Code != packet.CodeSuccess {
		t.Fatalf("a move is refused: %s", got.CIEs[0].Code)
	}
	for range 20 {
		hub.w.run(20 * time.Second)
		if got := only(
			t, first.says(registrationFrom("192.0.2.11", "10.255.0.11")),
		); got.CIEs[0].Code != packet.CodeUniqueRegistered {
			t.Fatalf("the first: %s", got.CIEs[0].Code)
		}
		if got := only(
			t, second.says(registrationFrom("192.0.2.12", "10.255.0.11")),
		); got.CIEs[0].Code != packet.CodeSuccess {
			t.Fatalf("the second: %s", got.CIEs[0].Code)
		}
	}
	if hub.has(output.NoticeMoved) != 1 ||
		hub.neighbors[addr("10.255.0.11")] != peerAt("192.0.2.12") {
		t.Errorf("moved %d times, to %v", hub.has(output.NoticeMoved), hub.neighbors)
	}
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.12"), Reason: "gone"})
	if got := only(
		t, first.says(registrationFrom("192.0.2.11", "10.255.0.11")),
	); got.CIEs[0].Code != packet.CodeSuccess {
		t.Errorf("the first, once the second is gone: %s", got.CIEs[0].Code)
	}
}

// A router that moves to another address and comes back with a new SA is served at once.
func TestMoveThereAndBack(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.w.run(time.Second)
	hub.from("192.0.2.12", "spoke").says(registrationFrom("192.0.2.12", "10.255.0.11"))
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "dead"})
	hub.w.run(time.Minute)
	got := only(
		t, hub.from("192.0.2.11", "spoke").says(registrationFrom("192.0.2.11", "10.255.0.11")),
	)
	if got.CIEs[0].Code != packet.CodeSuccess ||
		hub.neighbors[addr("10.255.0.11")] != peerAt("192.0.2.11") {
		t.Errorf("back again: %s, %v", got.CIEs[0].Code, hub.neighbors)
	}
}

// If several routers are behind one address, and one of them may have the overlay address, the
// registration counts for that one.
func TestRuleOfOneOfSeveralAtAnAddress(t *testing.T) {
	hub := hubAlone(t, allowing(t, "spoke{n}: 10.255.0.{n}"))
	hub.handle(event.PeerSecured{Peer: event.Peer{
		Interface:  "gre1",
		ID:         peerAt("192.0.2.11"),
		Identity:   "spoke17",
		SharedWith: []string{"spoke18"},
	}})
	s := sender{t, hub, "192.0.2.11"}
	for overlay, want := range map[string]packet.Code{
		"10.255.0.18": packet.CodeSuccess,
		"10.255.0.19": packet.CodeProhibited,
	} {
		if got := only(
			t, s.says(registrationFrom("192.0.2.11", overlay)),
		); got.CIEs[0].Code != want {
			t.Errorf("%s: %s", overlay, got.CIEs[0].Code)
		}
	}
	if b := hub.status().Bindings; len(b) != 1 || b[0].Identity != "spoke18" {
		t.Errorf("bindings %+v", b)
	}
}

// Rules that only moved within the file change nothing, but refusals name their new place.
func TestRulesMovedInTheFile(t *testing.T) {
	at := func(source string) func(*overlay.InterfaceConfig) {
		p, err := policy.ParsePattern("spoke1")
		if err != nil {
			t.Fatal(err)
		}
		rules := policy.New([]policy.Rule{{Identity: p, Source: source}})
		return func(c *overlay.InterfaceConfig) { c.Policy = rules }
	}
	hub := hubAlone(t, at("file:3"))
	spoke := hub.from("192.0.2.11", "spoke1")
	hub.configure(at("file:9"))
	spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	if got := hub.last(output.NoticeRejected).Reason; !strings.Contains(got, "(file:9)") ||
		len(hub.closed) > 0 {
		t.Errorf("said %q, closed %v", got, hub.closed)
	}
}

// A client whose rule changes to another overlay address keeps its SA, and knows at once that the
// hub refuses the address that it has. Another client is not told that it was taken back.
func TestRuleTakesOnlyAnAddressAway(t *testing.T) {
	m := newMesh(t)
	m.hub.configure(allowing(t, "spoke1: 10.255.0.77", "spoke2: 10.255.0.12"))
	m.run(time.Second)
	if n := m.spoke1.status().NHS[0]; n.State != report.NHSRefused {
		t.Errorf("a second after the reload spoke1 is in state %d: %s", n.State, n.Error)
	}
	if !m.hasSA(m.hub, m.spoke1) || !m.spoke2.registered() ||
		m.spoke2.has(output.NoticeHubLost) > 0 {
		t.Errorf("the SA of spoke1 is gone, or spoke2 is out\n%s", m)
	}
	m.hub.configure(allowing(t, "spoke1: 10.255.0.11", "spoke2: 10.255.0.12"))
	m.until("spoke1 is registered again", time.Minute+time.Second, m.spoke1.registered)
}
