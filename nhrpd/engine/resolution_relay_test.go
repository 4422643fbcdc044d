package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/packet"
)

// phase2 returns a mesh whose spokes have routes to each other's overlay addresses, as a routing
// protocol makes them in phase 2.
func phase2(t testing.TB, change ...func(*overlay.InterfaceConfig)) mesh {
	t.Helper()
	m := newMesh(t, change...)
	m.spoke1.addRoutes(viaTunnel(lan2, "10.255.0.12"))
	m.spoke2.addRoutes(viaTunnel(lan1, "10.255.0.11"))
	return m
}

func (n *node) at(protocol string) peerid.ID { return n.neighbors[addr(protocol)] }

// asked returns how many resolution requests a node has sent.
func (n *node) asked() int {
	count := 0
	for _, p := range n.sentSince(0) {
		if p.Type == packet.ResolutionRequest {
			count++
		}
	}
	return count
}

// In phase 2 the kernel misses the next hop's neighbour. The spoke provides that neighbour, and
// nothing else, as soon as the next hop has an SA.
func TestMissedNeighborIsResolved(t *testing.T) {
	m := phase2(t)
	if m.ping(m.spoke1, host1, host2) != nil {
		t.Fatal("there is a way already")
	}
	m.until("the neighbour is there", 500*time.Millisecond, func() bool {
		return m.spoke1.at("10.255.0.12") == peerAt("192.0.2.12")
	})
	if got := m.pingPong(m.spoke1, host1, m.spoke2, host2); !slices.Equal(got, []string{
		"spoke1", "spoke2",
	}) {
		t.Errorf("the next packet went %v", got)
	}
	m.until("the way back", 500*time.Millisecond, func() bool {
		return m.spoke2.at("10.255.0.11") == peerAt("192.0.2.11")
	})
	m.keepTalking(25 * time.Minute)
	if len(m.spoke1.shortcuts)+len(m.spoke2.shortcuts) != 0 ||
		m.hub.engine.Stats().Sent["traffic indication"] != 0 {
		t.Errorf("it takes neither routes nor the hub's indications\n%s", m)
	}
	if m.spoke1.has(output.NoticeShortcutDown)+m.spoke1.has(output.NoticeRelayed) != 0 ||
		m.spoke1.asked() < 3 {
		t.Errorf("a neighbour in use is refreshed and stays\n%s", m)
	}
	m.run(20 * time.Minute)
	if m.spoke1.at("10.255.0.12").IsValid() || m.hasSA(m.spoke1, m.spoke2) {
		t.Errorf("an idle one ends, and the SA with it\n%s", m)
	}
}

// A spoke asks again along the hub for a router that it knows only by a shortcut, so that the hub
// vouches for the spoke. If it asked directly, a router that forgot the spoke, as after a crash,
// would drop the spoke's data.
func TestRouterIsAskedForAlongTheHub(t *testing.T) {
	n, hub, p := missing(t)
	spoke2 := n.from("192.0.2.12", "spoke2")
	hub.says(answerTo(p, 32, "10.255.0.12", spoke2.nbma))
	before := len(n.sent)
	for range 45 { // which takes nine tenths of the holding time
		n.w.run(12 * time.Second)
		n.handle(
			event.Used{
				Interface: "gre1",
				Peers:     []event.PeerUse{{ID: peerid.At(addr(spoke2.nbma)), Out: n.w.now}},
			},
		)
	}
	asked := 0
	for i, p := range n.sentSince(before) {
		if p.Type != packet.ResolutionRequest {
			continue
		}
		if asked++; n.sent[before+i].to != peerAt(hub.nbma) {
			t.Errorf("asked at %v", n.sent[before+i].to)
		}
	}
	if asked == 0 {
		t.Error("not asked for again")
	}
}

// When charon comes back without SAs, a spoke may have the SA with the other spoke before the hub
// has registered it. The spoke then asks the other spoke itself. It asks again along the hub as
// soon as it is registered there, since the other spoke may have forgotten it and the hub vouches
// for it.
func TestNextHopIsAskedForAlongTheHubOnceItIsBack(t *testing.T) {
	for name, first := range map[string]string{
		"the next hop answers first": "next hop", "the hub answers first": "hub",
	} {
		n, hub, p := missing(t)
		spoke2 := n.from("192.0.2.12", "spoke2")
		hub.says(answerTo(p, 32, "10.255.0.12", spoke2.nbma))
		n.handle(event.PeersSecured{Interface: "gre1"})
		n.from(spoke2.nbma, "spoke2")
		asked := n.lastTo(spoke2)
		if asked.Type != packet.ResolutionRequest {
			t.Fatalf("%s: the next hop heard %+v", name, asked)
		}
		n.from(hub.nbma, "hub")
		registration := n.lastTo(hub)
		if registration.Type != packet.RegistrationRequest {
			t.Fatalf("%s: the hub heard %+v", name, registration)
		}
		answer := answerTo(asked, 32, "10.255.0.12", spoke2.nbma)
		if first == "hub" {
			hub.says(acceptance(registration))
			spoke2.says(answer)
		} else {
			spoke2.says(answer)
			hub.says(acceptance(registration))
		}
		if again := n.lastTo(hub); again.Type != packet.ResolutionRequest ||
			again.DestProtocol != addr("10.255.0.12") {
			t.Errorf("%s: the hub heard last %+v", name, again)
		}
	}
}

// Two spokes that ask for each other at once make one SA: the one with the lower NBMA address
// dials.
func TestMissesBothWays(t *testing.T) {
	m := phase2(t)
	m.ping(m.spoke1, host1, host2)
	m.ping(m.spoke2, host2, host1)
	m.until("both neighbours", time.Second, func() bool {
		return m.spoke1.at("10.255.0.12").IsValid() && m.spoke2.at("10.255.0.11").IsValid()
	})
	if !m.sas[saKey{m.spoke1, m.spoke2}] || m.sas[saKey{m.spoke2, m.spoke1}] {
		t.Errorf("SAs %v", m.sas)
	}
}

// While a router cannot be had directly, the traffic to it goes through the hub after two seconds.
// As soon as the direct way works, the traffic takes that.
func TestTrafficIsRelayedUntilThereIsADirectWay(t *testing.T) {
	m := phase2(t)
	refusing := true
	m.refuse = func(from, to *node) bool { return refusing && from != m.hub && to != m.hub }
	m.ping(m.spoke1, host1, host2)
	m.run(resolution.RelayAfter - 100*time.Millisecond)
	if m.spoke1.at("10.255.0.12").IsValid() {
		t.Fatalf("relayed at once\n%s", m)
	}
	m.run(200 * time.Millisecond)
	if got := m.ping(m.spoke1, host1, host2); !slices.Equal(got, []string{
		"spoke1", "hub", "spoke2",
	}) {
		t.Fatalf("the packet went %v\n%s", got, m)
	}
	m.run(10 * time.Second)
	refusing = false
	m.until("direct again", 2*resolution.RelayTime, func() bool {
		m.run(time.Second)
		return slices.Equal(m.pingPong(m.spoke1, host1, m.spoke2, host2), []string{
			"spoke1", "spoke2",
		})
	})
	if m.spoke1.has(output.NoticeRelayed) == 0 {
		t.Errorf("without a word\n%s", m)
	}
}

// The spoke remembers a router that could not be had directly. Later packets go through the hub at
// once, while the spoke asks for the router again.
func TestRelayIsRemembered(t *testing.T) {
	m := phase2(t)
	m.refuse = func(from, to *node) bool { return from != m.hub && to != m.hub }
	m.ping(m.spoke1, host1, host2)
	m.until("relayed", 3*time.Second, func() bool {
		return m.spoke1.at("10.255.0.12") == peerAt("192.0.2.1")
	})
	m.until("looked for anew", resolution.RelayTime+time.Second, func() bool {
		return !m.spoke1.at("10.255.0.12").IsValid()
	})
	before := m.spoke1.asked()
	m.ping(m.spoke1, host1, host2)
	m.run(time.Millisecond)
	if m.spoke1.at("10.255.0.12") != peerAt("192.0.2.1") || m.spoke1.asked() != before+1 {
		t.Errorf("the packet waits, or nobody is asked\n%s", m)
	}
	m.run(resolution.RelayTime + resolution.RelayMemory)
	if n := len(m.spoke1.engine.ifaces["gre1"].Relays.ByProtocol); n != 0 {
		t.Errorf("%d relays are remembered for ever", n)
	}
}

// When the NHS that relays is lost, the next NHS relays at once. The traffic does not wait for the
// direct way again.
func TestRelayMovesToTheNextHub(t *testing.T) {
	n, hub := spokeAlone(t, func(c *overlay.InterfaceConfig) {
		c.NHS = []overlay.NHSConfig{{Name: "192.0.2.1"}, {Name: "192.0.2.2"}}
	})
	second := n.from("192.0.2.2", "hub2")
	reply := acceptance(n.sentSince(1)[0])
	reply.DestProtocol = addr("10.255.0.2")
	second.says(reply)
	n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
	n.w.run(resolution.RelayAfter)
	for _, step := range []struct{ lost, at string }{
		{"", "192.0.2.1"}, {hub.nbma, "192.0.2.2"}, {second.nbma, ""},
	} {
		if step.lost != "" {
			n.handle(event.PeerLost{Interface: "gre1", ID: peerAt(step.lost), Reason: "dead peer"})
		}
		if at, ok := n.neighbors[addr("10.255.0.12")]; ok != (step.at != "") ||
			ok && at != peerAt(step.at) {
			t.Fatalf("after the loss of %q relayed by %v, want %q", step.lost, at, step.at)
		}
	}
}

// If a missed neighbour turns out to be an NHS, by the reply to a registration, the spoke asks for
// it no more, and no relay leads to it.
func TestMissedNHSIsFoundByRegistering(t *testing.T) {
	n, hub := spokeAlone(t, func(c *overlay.InterfaceConfig) {
		c.NHS = []overlay.NHSConfig{{Name: "192.0.2.1"}, {Name: "192.0.2.2"}}
	})
	second := n.from("192.0.2.2", "hub2")
	registration, before := n.sentSince(1)[0], len(n.sent)
	n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.2")})
	question := only(t, n.sentSince(before))
	reply := acceptance(registration)
	reply.DestProtocol = addr("10.255.0.2")
	second.says(reply)
	hub.says(answerTo(question, 32, "10.255.0.2", second.nbma))
	n.w.run(resolution.RelayAfter)
	ifc := n.engine.ifaces["gre1"]
	if len(ifc.Requester.Shortcuts)+len(ifc.Relays.ByProtocol) != 0 ||
		n.has(output.NoticeShortcutUp)+n.has(output.NoticeRelayed) != 0 {
		t.Errorf(
			"%d shortcuts, %d relays\n%s",
			len(ifc.Requester.Shortcuts),
			len(ifc.Relays.ByProtocol),
			n.w,
		)
	}
	if at := n.neighbors[addr("10.255.0.2")]; at != peerAt(second.nbma) {
		t.Errorf("the NHS is at %v", at)
	}
}

// missing returns a spoke whose kernel misses a neighbour, the hub that the test plays, and the
// spoke's question to the hub.
func missing(
	t testing.TB,
	change ...func(*overlay.InterfaceConfig),
) (*node, sender, packet.Packet) {
	t.Helper()
	n, hub := spokeAlone(t, change...)
	before := len(n.sent)
	n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
	p := only(t, n.sentSince(before))
	if p.Type != packet.ResolutionRequest || p.DestProtocol != addr("10.255.0.12") ||
		n.sent[before].to != peerAt("192.0.2.1") {
		t.Fatalf("sent %+v", p)
	}
	return n, hub, p
}

// The hub's answer decides whether traffic for the router goes through the hub.
func TestAnswersToMisses(t *testing.T) {
	nak := func(code packet.Code) func(*node, sender, packet.Packet) {
		return func(_ *node, hub sender, p packet.Packet) {
			p.Type, p.CIEs = packet.ResolutionReply, []packet.CIE{{Code: code}}
			hub.says(p)
		}
	}
	tests := []struct {
		rule    string
		answer  func(n *node, hub sender, p packet.Packet)
		relayed bool
	}{
		{
			"silence for two seconds",
			func(n *node, _ sender, _ packet.Packet) { n.w.run(resolution.RelayAfter) }, true,
		},
		{
			"silence for ever",
			func(n *node, _ sender, _ packet.Packet) { n.w.run(40 * time.Second) }, true,
		},
		{"nobody has that address", nak(packet.CodeNoBinding), false},
		{"the router cannot or will not", nak(packet.CodeInsufficientResources), true},
		{"it is at an impossible address", func(n *node, hub sender, p packet.Packet) {
			hub.says(answerTo(p, 32, "10.255.0.12", "192.0.2.11"))
		}, true},
		{"no SA can be had", func(n *node, hub sender, p packet.Packet) {
			hub.says(answerTo(p, 32, "10.255.0.12", "192.0.2.12"))
			n.handle(
				event.PeerFailed{Interface: "gre1", ID: peerAt("192.0.2.12"), Reason: "no answer"},
			)
			n.w.run(resolution.RelayAfter)
		}, true},
		{"the hub goes as well", func(n *node, _ sender, _ packet.Packet) {
			n.w.run(resolution.RelayAfter)
			n.handle(
				event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "dead peer"},
			)
		}, false},
		{"we leave", func(n *node, _ sender, _ packet.Packet) {
			n.w.run(resolution.RelayAfter)
			n.handle(event.Leave{Interface: "gre1"})
		}, false},
		{"shortcuts are switched off", func(n *node, _ sender, _ packet.Packet) {
			n.w.run(resolution.RelayAfter)
			n.cfg.Shortcut = false
			n.engine.Configure(
				n.w.now,
				overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
				&n.out,
			)
			n.carryOut()
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			n, hub, p := missing(t)
			tt.answer(n, hub, p)
			want := netip.Addr{}
			if tt.relayed {
				want = addr("192.0.2.1")
			}
			if got := n.at("10.255.0.12"); got != peerid.At(want) {
				t.Errorf("the neighbour is at %v, want %v\n%s", got, want, n.w)
			}
		})
	}
}

// Within the overlay each address is a router of its own, whatever prefix an answer names.
func TestMissIsAnsweredForOneRouter(t *testing.T) {
	n, hub, p := missing(t)
	n.from("192.0.2.12", "spoke2")
	hub.says(answerTo(p, 24, "10.255.0.12", "192.0.2.12"))
	if n.at("10.255.0.12") != peerAt("192.0.2.12") || len(n.shortcuts) != 0 {
		t.Errorf("%v %v", n.neighbors, n.shortcuts)
	}
}

// The misses for which a spoke does not ask.
func TestIgnoredMisses(t *testing.T) {
	tests := []struct {
		rule     string
		change   func(*overlay.InterfaceConfig)
		protocol string
		reason   overlay.DropReason
	}{
		{
			"without shortcut", func(c *overlay.InterfaceConfig) { c.Shortcut = false }, "10.255.0.12",
			overlay.DropShortcutOff,
		},
		{
			"outside the overlay",
			func(*overlay.InterfaceConfig) {},
			"10.9.0.1",
			overlay.DropNotTunnel,
		},
		{
			"the overlay's broadcast address", func(*overlay.InterfaceConfig) {}, "10.255.0.255",
			overlay.DropNotTunnel,
		},
		{
			"our own address",
			func(*overlay.InterfaceConfig) {},
			"10.255.0.11",
			overlay.DropNotTunnel,
		},
		{
			"the hub, which is there",
			func(*overlay.InterfaceConfig) {},
			"10.255.0.1",
			overlay.DropKnown,
		},
		{"another NHS, which is not there yet", func(c *overlay.InterfaceConfig) {
			c.NHS = append(
				c.NHS,
				overlay.NHSConfig{Name: "192.0.2.2", Protocol: addr("10.255.0.2")},
			)
		}, "10.255.0.2", overlay.DropKnown},
		{"a router with a static map", func(c *overlay.InterfaceConfig) {
			c.Maps = []overlay.Map{{Protocol: addr("10.255.0.12"), NBMA: addr("192.0.2.12")}}
		}, "10.255.0.12", overlay.DropKnown},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			n, _ := spokeAlone(t, tt.change)
			before := n.asked()
			n.handle(event.Missed{Interface: "gre1", Protocol: addr(tt.protocol)})
			if n.asked() != before || dropped(n, tt.reason) != 1 {
				t.Errorf("%d questions, dropped %v", n.asked()-before, n.engine.Stats().Dropped)
			}
		})
	}
}

// The kernel repeats a miss, and a host behind the spoke may try every address. So the spoke asks
// once for each address, and only for so many a second.
func TestMissesAreBounded(t *testing.T) {
	n, hub, p := missing(t)
	for range 5 {
		n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
	}
	p.Type, p.CIEs = packet.ResolutionReply, []packet.CIE{{Code: packet.CodeNoBinding}}
	hub.says(p)
	n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
	if n.asked() != 1 || dropped(n, overlay.DropKnown) != 6 {
		t.Errorf("asked %d times, dropped %v", n.asked(), n.engine.Stats().Dropped)
	}
	for i := range 100 {
		n.handle(event.Missed{Interface: "gre1", Protocol: addr(fmt.Sprintf("10.255.0.%d", 100+i))})
	}
	if n.asked() != 2*overlay.MissLimit ||
		dropped(n, overlay.DropMissLimit) != uint64(101-2*overlay.MissLimit) {
		t.Errorf("asked %d times, dropped %v", n.asked(), n.engine.Stats().Dropped)
	}
	n.w.run(resolution.UnresolvedTime)
	n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
	if n.asked() < 2*overlay.MissLimit+1 {
		t.Error("never asked again")
	}
}

// If there is no room to ask for a router, the traffic to it goes through the hub at once. A
// remembered relay gives way to a new one; a relay in use does not.
func TestMissWithoutRoomIsRelayed(t *testing.T) {
	n, _, _ := missing(t, func(c *overlay.InterfaceConfig) { c.Limits.Shortcuts = 1 })
	miss := func(protocol string) peerid.ID {
		n.handle(event.Missed{Interface: "gre1", Protocol: addr(protocol)})
		return n.at(protocol)
	}
	if got := miss("10.255.0.13"); got != peerAt("192.0.2.1") ||
		dropped(n, overlay.DropTableFull) != 1 {
		t.Fatalf("at %v, want at the hub\n%s", got, n.w)
	}
	if got := miss("10.255.0.14"); got.IsValid() {
		t.Errorf("one relay too many, at %v", got)
	}
	// After this, the relays are only remembered, and the question has ended.
	n.w.run(resolution.RelayAfter + resolution.RelayTime)
	if n.at("10.255.0.12").IsValid() || n.at("10.255.0.13").IsValid() {
		t.Fatalf("relayed for too long\n%s", n.w)
	}
	miss("10.255.0.14")
	if got := miss("10.255.0.15"); got != peerAt("192.0.2.1") ||
		len(n.engine.ifaces["gre1"].Relays.ByProtocol) != resolution.RelaysPerShortcut {
		t.Errorf("at %v, want at the hub\n%s", got, n.w)
	}
}

// A router may have been asked for before the kernel misses it, because of an indication. Its
// traffic waits for the direct way no longer than that for any other router.
func TestMissOfWhatIsAskedForIsRelayed(t *testing.T) {
	n, hub := spokeAlone(t)
	hub.says(indicationOf(host1, "10.255.0.12"))
	n.w.run(time.Second)
	n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
	n.w.run(resolution.RelayAfter)
	if got := n.at("10.255.0.12"); n.asked() == 0 || got != peerAt("192.0.2.1") {
		t.Errorf("the neighbour is at %v, want at the hub\n%s", got, n.w)
	}
}

// If the refresh for a router that had a direct way is refused, the packets that then miss its
// neighbour go through the hub at once. If the hub says that no router has the address, the direct
// way stays: that hub could not pass the packets on.
func TestMissOfWhatWasRefusedIsRelayed(t *testing.T) {
	for code, want := range map[packet.Code]netip.Addr{
		packet.CodeInsufficientResources: addr("192.0.2.1"),
		packet.CodeNoBinding:             addr("192.0.2.12"),
	} {
		n, hub, p := missing(t)
		n.from("192.0.2.12", "spoke2")
		hub.says(answerTo(p, 32, "10.255.0.12", "192.0.2.12"))
		for n.asked() == 1 {
			n.w.run(time.Minute)
			n.handle(event.Used{
				Interface: "gre1",
				Peers:     []event.PeerUse{{ID: peerAt("192.0.2.12"), Out: n.w.now}},
			})
		}
		p = n.lastTo(hub)
		p.Type, p.CIEs = packet.ResolutionReply, []packet.CIE{{Code: code}}
		hub.says(p)
		n.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
		if got := n.at("10.255.0.12"); got != peerid.At(want) {
			t.Errorf("%s: the neighbour is at %v, want %v\n%s", code, got, want, n.w)
		}
	}
}

// Every other source of a router's neighbour comes before the relay through the hub.
func TestRelayRanksLast(t *testing.T) {
	n, _, _ := missing(t)
	n.w.run(resolution.RelayAfter)
	n.engine.ifaces["gre1"].Config.Server = true
	n.client("192.0.2.12", "spoke2", "10.255.0.12")
	if got := n.at("10.255.0.12"); got != peerAt("192.0.2.12") {
		t.Errorf("the neighbour is at %v, where a client registered from", got)
	}
	n.w.run(resolution.RelayTime)
	if got := n.at("10.255.0.12"); got != peerAt("192.0.2.12") {
		t.Errorf("the neighbour is at %v after the relay", got)
	}
}

// If a route leads the overlay itself to the hub, the kernel would not use a neighbour alone. Such
// a router needs a route too.
func TestOverlayBehindTheHubNeedsRoutes(t *testing.T) {
	n, hub := spokeAlone(t)
	n.addRoutes(viaTunnel("10.255.0.0/25", "10.255.0.1"))
	before := len(n.sent)
	hub.says(indicationOf(host1, "10.255.0.12"))
	p := only(t, n.sentSince(before))
	n.from("192.0.2.12", "spoke2")
	hub.says(answerTo(p, 32, "10.255.0.12", "192.0.2.12"))
	if n.shortcuts[mustPrefix("10.255.0.12/32")] != addr("10.255.0.12") {
		t.Errorf("%v\n%s", n.shortcuts, n.w)
	}
}
