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
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/packet"
)

// announcementFrom returns a registration of prefixes.
func announcementFrom(nbma, overlay string, prefixes ...string) packet.Packet {
	p := registrationFrom(nbma, overlay)
	p.RequestID = 8
	p.CIEs = nil
	for _, text := range prefixes {
		prefix := mustPrefix(text)
		p.CIEs = append(p.CIEs, packet.CIE{
			PrefixLength: uint8(prefix.Bits()),
			HoldingTime:  600,
			Protocol:     prefix.Addr(),
		})
	}
	return p
}

func accepting(prefixes ...string) func(*overlay.InterfaceConfig) {
	return func(c *overlay.InterfaceConfig) {
		c.Accept, c.Limits.Prefixes = prefixesOf(prefixes), 3
	}
}

func announcing(prefixes ...string) func(*overlay.InterfaceConfig) {
	return func(c *overlay.InterfaceConfig) { c.Announce = prefixesOf(prefixes) }
}

func prefixesOf(texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, mustPrefix(t))
	}
	return list
}

// hubFor returns a hub that accepts prefixes, and a client that is registered with it.
func hubFor(t testing.TB, accept ...string) (*node, sender) {
	t.Helper()
	hub := newWorld(t).add("hub", func() overlay.InterfaceConfig {
		cfg := hubConfig()
		accepting(accept...)(&cfg)
		return cfg
	}(), "192.0.2.1", "172.16.0.1/24")
	return hub, hub.client("192.0.2.11", "spoke1", "10.255.0.11")
}

func (n *node) client(nbma, identity, overlay string) sender {
	s := n.from(nbma, identity)
	s.says(registrationFrom(nbma, overlay))
	return s
}

func codes(p packet.Packet) []packet.Code {
	var list []packet.Code
	for _, c := range p.CIEs {
		list = append(list, c.Code)
	}
	return list
}

// A network works without a routing protocol: the spokes announce the networks behind them, the hub
// gets routes to those, and the hub's clients find each other.
func TestNetworkOfAnnouncedPrefixes(t *testing.T) {
	w := newWorld(t)
	hub := hubConfig()
	accepting("172.16.0.0/12")(&hub)
	m := mesh{world: w, hub: w.add("hub", hub, "192.0.2.1", "172.16.0.1/24")}
	spoke := func(name, overlay, nbma, lan string) *node {
		cfg := spokeConfig(overlay)
		announcing(mustPrefix(lan).Masked().String())(&cfg)
		return w.add(name, cfg, nbma, lan, "172.16.0.0/12")
	}
	m.spoke1 = spoke("spoke1", "10.255.0.11/24", "192.0.2.11", "172.16.1.1/24")
	m.spoke2 = spoke("spoke2", "10.255.0.12/24", "192.0.2.12", "172.16.2.1/24")
	m.until("the hub leads to both networks", 5*time.Second, func() bool {
		return m.hub.shortcuts[mustPrefix(lan1)] == addr("10.255.0.11") &&
			m.hub.shortcuts[mustPrefix(lan2)] == addr("10.255.0.12")
	})
	if got := w.pingPong(
		m.spoke1, host1, m.hub, "172.16.0.9",
	); !slices.Equal(got, []string{"spoke1", "hub"}) {
		t.Errorf("to the hub's network: %v", got)
	}
	m.makeShortcut()
	if got := m.pingPong(m.spoke1, host1, m.spoke2, host2); !slices.Equal(got, []string{
		"spoke1", "spoke2",
	}) {
		t.Errorf("the next packet went %v", got)
	}
	if st := m.spoke1.status().NHS[0]; st.Error != "" ||
		!slices.Equal(st.Announced, prefixesOf([]string{lan1})) {
		t.Errorf("%+v", st)
	}
	w.run(time.Hour)
	if len(m.hub.status().Bindings[0].Prefixes) != 1 || len(m.hub.shortcuts) != 2 {
		t.Errorf("not refreshed\n%s", w)
	}
	m.spoke2.handle(event.Leave{Interface: "gre1"})
	w.run(time.Second)
	if _, there := m.hub.shortcuts[mustPrefix(lan2)]; there {
		t.Errorf("the hub leads to a spoke that left\n%s", w)
	}
}

// A router answers resolution requests for the prefixes of its clients when the requests come in on
// another one of its overlays.
func TestAnswersForAnnouncedPrefixes(t *testing.T) {
	hub, spoke1 := hubFor(t, "172.16.0.0/12")
	spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
	hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	before := len(hub.sent)
	hub.from("192.0.2.12", "spoke2").says(requestFrom("192.0.2.12", "10.255.0.12", host1))
	if p := only(t, hub.sentSince(before)); p.Type != packet.ResolutionRequest ||
		hub.sent[before].to != peerAt("192.0.2.11") {
		t.Errorf("%s went to %s, want the request passed on to spoke1", p.Type, hub.sent[before].to)
	}
}

func TestRefusedPrefixes(t *testing.T) {
	const ok, no, mine, full = packet.CodeSuccess, packet.CodeProhibited,
		packet.CodeUniqueRegistered, packet.CodeInsufficientResources
	tests := []struct {
		rule   string
		prefix string
		code   packet.Code
	}{
		{"inside what is accepted", "172.20.1.0/24", ok},
		{"a host outside the overlay", "172.20.1.1/32", ok},
		{"outside what is accepted", "10.1.0.0/16", no},
		{"wider than what is accepted", "172.0.0.0/8", no},
		{"the overlay", "10.255.0.0/24", no},
		{"a part of the overlay", "10.255.0.128/25", no},
		{"what the overlay is part of", "10.255.0.0/16", no},
		{"the hub's own network", "172.16.0.0/24", no},
		{"a part of it", "172.16.0.128/25", no},
		{"what it is part of", "172.16.0.0/16", no},
		{"an address of the hub", "172.31.255.1/32", no},
		{"what has one in it", "172.31.255.0/24", no},
		{"a prefix with another route through the core", "172.22.0.0/16", no},
		{"a part of that", "172.22.7.0/24", ok},
		{"a prefix that a route leads to another client for", "172.23.0.0/16", no},
		{"a prefix that the same route leads to him for", "172.24.0.0/16", ok},
		{"NBMA addresses", "192.0.2.0/24", no},
		{"another router's prefix", "172.25.0.0/16", mine},
		{"a part of another router's prefix: the longest match decides", "172.25.7.0/24", ok},
		{"what another router's prefix is part of", "172.24.0.0/15", ok},
		{"its own prefix again", "172.26.0.0/16", ok},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub, spoke1 := hubFor(t, "172.16.0.0/12", "10.255.0.0/16", "192.0.2.0/24")
			hub.addRoutes(
				event.Route{
					Prefix:  mustPrefix("172.22.0.0/16"),
					NextHop: addr("172.16.0.254"),
					Device:  "lan0",
				},
				viaTunnel("172.23.0.0/16", "10.255.0.99"),
				viaTunnel("172.24.0.0/16", "10.255.0.11"),
				event.Route{Prefix: mustPrefix("172.31.255.1/32"), Device: "lo", Local: true},
			)
			hub.client("192.0.2.12", "spoke2", "10.255.0.12").says(announcementFrom(
				"192.0.2.12", "10.255.0.12", "172.25.0.0/16",
			))
			spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", "172.26.0.0/16"))
			reply := only(t, spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", tt.prefix)))
			if reply.Type != packet.RegistrationReply || reply.CIEs[0].Code != tt.code {
				t.Fatalf("%s with code %d, want %d", reply.Type, reply.CIEs[0].Code, tt.code)
			}
			nextHop, routed := hub.shortcuts[mustPrefix(tt.prefix)]
			if tt.code == ok && nextHop != addr("10.255.0.11") ||
				tt.code != ok && tt.code != mine && routed {
				t.Errorf("route via %s", nextHop)
			}
			if tt.code != ok &&
				(reply.CIEs[0].HoldingTime != 0 || hub.has(output.NoticeRejected) != 1 ||
					len(hub.status().Bindings) != 2) {
				t.Errorf("refused without a word, or with the binding\n%s", hub.w)
			}
		})
	}
	t.Run("each CIE has its own code", func(t *testing.T) {
		_, spoke1 := hubFor(t, "172.16.0.0/12")
		reply := only(
			t,
			spoke1.says(announcementFrom(
				"192.0.2.11", "10.255.0.11", "172.20.1.0/24", "10.1.0.0/16", "172.20.2.0/24",
			)),
		)
		if got := codes(reply); !slices.Equal(got, []packet.Code{ok, no, ok}) {
			t.Errorf("codes %v", got)
		}
	})
	t.Run("more prefixes than the limit", func(t *testing.T) {
		hub, spoke1 := hubFor(t, "172.16.0.0/12")
		reply := only(
			t,
			spoke1.says(announcementFrom(
				"192.0.2.11",
				"10.255.0.11", "172.20.1.0/24", "172.20.2.0/24", "172.20.3.0/24", "172.20.4.0/24",
			)),
		)
		if got := codes(reply); !slices.Equal(got, []packet.Code{ok, ok, ok, full}) ||
			dropped(hub, overlay.DropTableFull) != 1 {
			t.Errorf("codes %v, counted %d", got, dropped(hub, overlay.DropTableFull))
		}
	})
	t.Run("beyond the limit nothing is looked at any more", func(t *testing.T) {
		_, spoke1 := hubFor(t, "172.16.0.0/12", "192.0.2.0/24")
		spoke1.says(announcementFrom(
			"192.0.2.11", "10.255.0.11", "172.20.1.0/24", "172.20.2.0/24", "172.20.3.0/24",
		))
		reply := only(
			t,
			spoke1.says(announcementFrom(
				"192.0.2.11", "10.255.0.11", "192.0.2.0/24", "172.16.0.0/24", "172.20.1.0/24",
			)),
		)
		if got := codes(reply); !slices.Equal(got, []packet.Code{full, full, ok}) {
			t.Errorf("codes %v", got)
		}
	})
	t.Run("more prefixes than one client may have", func(t *testing.T) {
		hub, spoke1 := hubFor(t, "172.16.0.0/12")
		hub.cfg.Limits.Prefixes = 2 * overlay.PrefixesOfOne
		hub.engine.Configure(
			hub.w.now,
			overlay.Config{Interfaces: []overlay.InterfaceConfig{hub.cfg}},
			&hub.out,
		)
		for i := range overlay.PrefixesOfOne {
			spoke1.says(announcementFrom(
				"192.0.2.11", "10.255.0.11", fmt.Sprintf("172.20.%d.0/24", i),
			))
		}
		reply := only(
			t,
			spoke1.says(announcementFrom(
				"192.0.2.11", "10.255.0.11", "172.20.0.0/24", "172.21.0.0/24",
			)),
		)
		if got := codes(reply); !slices.Equal(got, []packet.Code{ok, full}) {
			t.Errorf("codes %v", got)
		}
	})
	t.Run("of a router that is not registered itself", func(t *testing.T) {
		hub, _ := hubFor(t, "172.16.0.0/12")
		reply := only(
			t,
			hub.from("192.0.2.13", "spoke3").says(announcementFrom(
				"192.0.2.13", "10.255.0.13", "172.20.1.0/24",
			)),
		)
		if reply.CIEs[0].Code != packet.CodeNoBinding {
			t.Errorf("code %d", reply.CIEs[0].Code)
		}
	})
	t.Run("of a router that moved and has not registered from there yet", func(t *testing.T) {
		hub, _ := hubFor(t, "172.16.0.0/12")
		moved := hub.from("192.0.2.13", "spoke1")
		p := announcementFrom("192.0.2.13", "10.255.0.11", "172.20.1.0/24")
		if reply := only(t, moved.says(p)); reply.CIEs[0].Code != packet.CodeNoBinding {
			t.Errorf("code %d", reply.CIEs[0].Code)
		}
		moved.says(registrationFrom("192.0.2.13", "10.255.0.11"))
		if reply := only(t, moved.says(p)); reply.CIEs[0].Code != ok {
			t.Errorf("once it has: code %d", reply.CIEs[0].Code)
		}
	})
	t.Run("in the name of another router", func(t *testing.T) {
		hub, _ := hubFor(t, "172.16.0.0/12")
		reply := only(
			t,
			hub.client("192.0.2.12", "spoke2", "10.255.0.12").says(announcementFrom(
				"192.0.2.12", "10.255.0.11", "172.20.1.0/24",
			)),
		)
		if reply.CIEs[0].Code != no {
			t.Errorf("code %d", reply.CIEs[0].Code)
		}
	})
	t.Run("RFC 2332 §5.2.0.1: as unique", func(t *testing.T) {
		_, spoke1 := hubFor(t, "172.16.0.0/12")
		p := announcementFrom("192.0.2.11", "10.255.0.11", "172.20.1.0/24")
		p.Flags |= packet.RegistrationUnique
		if reply := only(t, spoke1.says(p)); reply.CIEs[0].Code != no {
			t.Errorf("code %d", reply.CIEs[0].Code)
		}
	})
}

// A router that gets a new overlay address keeps its prefix.
func TestPrefixFollowsItsIdentity(t *testing.T) {
	hub, spoke1 := hubFor(t, "172.16.0.0/12")
	spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
	spoke1.says(registrationFrom("192.0.2.11", "10.255.0.21"))
	if reply := only(
		t, spoke1.says(announcementFrom("192.0.2.11", "10.255.0.21", lan1)),
	); reply.CIEs[0].Code != packet.CodeSuccess {
		t.Fatalf("code %d", reply.CIEs[0].Code)
	}
	if got := hub.shortcuts[mustPrefix(lan1)]; got != addr("10.255.0.21") {
		t.Errorf("route via %s", got)
	}
}

// A prefix ends with what it depends on.
func TestPrefixEnds(t *testing.T) {
	purge := func(s sender, prefix string) {
		p := announcementFrom("192.0.2.11", "10.255.0.11", prefix)
		p.Type, p.Flags = packet.PurgeRequest, packet.PurgeNoReply
		s.says(p)
	}
	tests := []struct {
		rule string
		end  func(hub *node, spoke1 sender)
		back bool // the prefix is there again as soon as the SA is
	}{
		{"the client takes it back", func(_ *node, s sender) { purge(s, lan1) }, false},
		{
			"the client takes its own address back",
			func(_ *node, s sender) { purge(s, "10.255.0.11/32") }, false,
		},
		{"it is not refreshed", func(hub *node, s sender) {
			hub.w.run(5 * time.Minute)
			s.says(registrationFrom("192.0.2.11", "10.255.0.11"))
			hub.w.run(6 * time.Minute)
		}, false},
		{"the SA goes", func(hub *node, _ sender) {
			hub.handle(
				event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "dead peer"},
			)
		}, true},
		{"the SA goes for good", func(hub *node, _ sender) {
			hub.handle(
				event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "dead peer"},
			)
			hub.w.run(peers.LostGrace)
		}, false},
		{
			"another router has its NBMA address",
			func(hub *node, _ sender) { hub.from("192.0.2.11", "other") }, false,
		},
		{"it is not accepted any more", func(hub *node, _ sender) {
			hub.cfg.Accept = hub.cfg.Accept[1:]
			hub.engine.Configure(
				hub.w.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{hub.cfg}}, &hub.out,
			)
			hub.carryOut()
		}, false},
		{"a network of the hub's own is there now", func(hub *node, _ sender) {
			hub.addRoutes(event.Route{Prefix: mustPrefix("172.16.1.0/25"), Device: "lan1"})
		}, false},
		{"a network of the hub's own is there now that it is part of", func(hub *node, _ sender) {
			hub.addRoutes(event.Route{Prefix: mustPrefix("172.16.0.0/22"), Device: "lan1"})
		}, false},
		{"the administrator leads to it now", func(hub *node, _ sender) {
			hub.addRoutes(event.Route{
				Prefix:  mustPrefix(lan1),
				NextHop: addr("172.16.0.254"),
				Device:  "lan0",
			})
		}, false},
		{"a network of the hub's own comes while the SA is gone", func(hub *node, _ sender) {
			hub.handle(
				event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "dead peer"},
			)
			hub.addRoutes(event.Route{Prefix: mustPrefix("172.16.1.0/25"), Device: "lan1"})
		}, false},
		{
			"the hub leaves", func(hub *node, _ sender) {
				hub.handle(event.Leave{Interface: "gre1"})
			},
			false,
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub, spoke1 := hubFor(t, "172.16.0.0/12", "10.0.0.0/8")
			spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
			if hub.shortcuts[mustPrefix(lan1)] != addr("10.255.0.11") {
				t.Fatalf("not there\n%s", hub.w)
			}
			tt.end(hub, spoke1)
			if len(hub.shortcuts) != 0 {
				t.Fatalf("still there\n%s", hub.w)
			}
			if _,
				found := hub.engine.router.Mirror(testTable).Announced.Lookup(addr(host1)); found {
				t.Error("look-ups still find it")
			}
			hub.from("192.0.2.11", "spoke1")
			if back := len(hub.shortcuts) == 1; back != tt.back {
				t.Errorf("back with the SA: %t", back)
			}
		})
	}
}

// A router cannot take back a prefix of another router.
func TestPrefixIsNotSomebodyElsesToPurge(t *testing.T) {
	hub, spoke1 := hubFor(t, "172.16.0.0/12")
	spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
	p := announcementFrom("192.0.2.12", "10.255.0.12", lan1)
	p.Type = packet.PurgeRequest
	hub.client("192.0.2.12", "spoke2", "10.255.0.12").says(p)
	if len(hub.shortcuts) != 1 || dropped(hub, overlay.DropNotOwner) != 1 {
		t.Errorf("%s", hub.w)
	}
}

// A restart of strongSwan leaves the SAs in the kernel. So the routes stay too, while strongSwan
// finds its peers again.
func TestPrefixOutlivesStrongswan(t *testing.T) {
	hub, spoke1 := hubFor(t, "172.16.0.0/12")
	spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
	hub.handle(event.PeersSecured{Interface: "gre1"})
	hub.w.run(peers.ResyncGrace - time.Second)
	if len(hub.shortcuts) != 1 {
		t.Fatalf("gone at once\n%s", hub.w)
	}
	hub.w.run(time.Second)
	if len(hub.shortcuts) != 0 {
		t.Errorf("not gone with the grace\n%s", hub.w)
	}
}

// A strongSwan that was stopped leaves no SAs in the kernel. The routes to a client's prefixes go
// at once then, since the networks behind the client may have another way. They are back with the
// client.
func TestPrefixGoesWithTheKernelsSA(t *testing.T) {
	hub, spoke1 := hubFor(t, "172.16.0.0/12")
	spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
	hub.inKernel = map[netip.Addr]bool{}
	hub.resync()
	if len(hub.shortcuts) != 0 || len(hub.status().Bindings) != 1 {
		t.Errorf("want the binding without a route\n%s", hub.w)
	}
	hub.handle(event.PeerSecured{Peer: event.Peer{
		Interface: "gre1", ID: peerAt("192.0.2.11"), Identity: "spoke1"}})
	if len(hub.shortcuts) != 1 {
		t.Errorf("the client is back, and its prefix has no route\n%s", hub.w)
	}
}

// A restart of the daemon keeps the routes for as long as the bindings.
func TestPrefixOutlivesRestart(t *testing.T) {
	hub, spoke1 := hubFor(t, "172.16.0.0/12")
	spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1, "172.20.0.0/16"))
	hub.cfg.Accept = prefixesOf([]string{"172.16.0.0/16"})
	hub.boot(hub.engine.Save())
	if len(hub.shortcuts) != 1 || hub.shortcuts[mustPrefix(lan1)] != addr("10.255.0.11") {
		t.Fatalf("wanted at once: %v", hub.shortcuts)
	}
	hub.w.run(peers.ResyncGrace)
	if len(hub.shortcuts) != 0 {
		t.Errorf("no SA confirmed it, still wanted: %v", hub.shortcuts)
	}
}

// When a client announces a prefix, the hub takes back the answer that hides it, which it gave by
// another route. Later answers are narrow enough not to hide the announced prefix.
func TestAnswersFollowAnnouncedPrefixes(t *testing.T) {
	hub, spoke1 := hubFor(t, "172.16.0.0/12")
	hub.addRoutes(event.Route{
		Prefix:  mustPrefix("172.20.0.0/14"),
		NextHop: addr("172.16.0.254"),
		Device:  "lan0",
	})
	spoke2 := hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	if p := only(
		t, spoke2.says(requestFrom("192.0.2.12", "10.255.0.12", "172.20.1.1")),
	); p.Type != packet.ResolutionReply || p.CIEs[0].PrefixLength != 14 {
		t.Fatalf("%+v", p)
	}
	before := len(hub.sent)
	spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", "172.20.0.0/16"))
	if got := typesOf(hub.sentSince(before)); !slices.Contains(got, "purge request") {
		t.Errorf("sent %v, want the answer taken back", got)
	}
	if p := only(
		t, spoke2.says(requestFrom("192.0.2.12", "10.255.0.12", "172.21.1.1")),
	); p.CIEs[0].PrefixLength != 16 {
		t.Errorf("answered for /%d: it hides the announced prefix", p.CIEs[0].PrefixLength)
	}
}

// The NBMA address that several routers share behind a NAT belongs to the underlay until the last
// of them is gone. The same holds for the address that their NAT moves to.
func TestPrefixOverSharedAddress(t *testing.T) {
	hub, spoke1 := hubFor(t, "198.51.100.0/24")
	refused := func(prefix string) bool {
		reply := only(t, spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", prefix)))
		return reply.CIEs[0].Code == packet.CodeProhibited
	}
	lose := func(name string) {
		hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt(name), Reason: "dead peer"})
	}
	hub.named("mark 1", "198.51.100.7", "spoke2")
	hub.named("mark 2", "198.51.100.7", "spoke3")
	hub.from("198.51.100.7", "spoke4")
	for _, name := range []string{"198.51.100.7", "mark 1"} {
		if lose(name); !refused("198.51.100.0/28") {
			t.Fatalf("taken after %s went", name)
		}
	}
	hub.named("mark 2", "198.51.100.77", "spoke3")
	if !refused("198.51.100.64/28") || refused("198.51.100.0/28") {
		t.Error("the address that their NAT has now is not known")
	}
	if lose("mark 2"); refused("198.51.100.64/28") {
		t.Error("an address is kept that nobody is at")
	}
}
