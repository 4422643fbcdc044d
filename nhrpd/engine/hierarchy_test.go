package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// hierarchy is spoke1 – west – central – east – spoke2 and spoke3, with a region on each side. The
// overlay addresses of a region are routed to its hub.
type hierarchy struct {
	*world
	central, west, east    *node
	spoke1, spoke2, spoke3 *node
	wire                   []hop
	alter                  func(from *node, data []byte) // changes a packet on its way
}

// hop is one packet between two routers.
type hop struct {
	from, to string
	packet.Packet
}

const lan3 = "172.16.3.0/24"

// newHierarchy makes a hierarchy, with spoke1 behind NAT if nat is set.
func newHierarchy(t testing.TB, nat bool, change ...func(*overlay.InterfaceConfig)) *hierarchy {
	t.Helper()
	h := &hierarchy{world: newWorld(t)}
	h.lose = h.record
	router := func(name, address, nbma, nhs, lan string, routes ...event.Route) *node {
		cfg := testConfig(address + "/16")
		cfg.Redirect = lan == ""
		cfg.Shortcut = !cfg.Redirect
		if nhs != "" {
			cfg.NHS = []overlay.NHSConfig{{Name: nhs}}
		}
		for _, f := range change {
			f(&cfg)
		}
		n := h.add(name, cfg, nbma, lan)
		n.addRoutes(routes...)
		return n
	}
	h.central = router("central", "10.255.0.1", "192.0.2.1", "", "",
		viaTunnel("10.255.1.0/24", "10.255.1.1"), viaTunnel("10.255.2.0/24", "10.255.2.1"),
		viaTunnel(lan1, "10.255.1.1"), viaTunnel(lan2, "10.255.2.1"), viaTunnel(lan3, "10.255.2.1"))
	h.west = router(
		"west", "10.255.1.1", "192.0.2.2", "192.0.2.1", "",
		viaTunnel(lan1, "10.255.1.11"), viaTunnel("172.16.0.0/16", "10.255.0.1"),
	)
	h.east = router(
		"east", "10.255.2.1", "192.0.2.3", "192.0.2.1", "",
		viaTunnel(lan2, "10.255.2.12"), viaTunnel(lan3, "10.255.2.13"),
		viaTunnel("172.16.0.0/16", "10.255.0.1"),
	)
	local := "192.0.2.11"
	if nat {
		local = "192.168.7.11"
	}
	h.spoke1 = router(
		"spoke1",
		"10.255.1.11", local, "192.0.2.2", "172.16.1.1/24",
		viaTunnel("172.16.0.0/16", "10.255.1.1"),
	)
	if nat {
		h.spoke1.public = addr("192.0.2.11")
	}
	h.spoke2 = router(
		"spoke2",
		"10.255.2.12", "192.0.2.12", "192.0.2.3", "172.16.2.1/24",
		viaTunnel("172.16.0.0/16", "10.255.2.1"),
	)
	h.spoke3 = router(
		"spoke3",
		"10.255.2.13", "192.0.2.13", "192.0.2.3", "172.16.3.1/24",
		viaTunnel("172.16.0.0/16", "10.255.2.1"),
	)
	h.until("all register", 10*time.Second, func() bool {
		return !slices.ContainsFunc(h.nodes, func(n *node) bool {
			return n != h.central && !n.registered()
		})
	})
	return h
}

func (h *hierarchy) record(from, to *node, data []byte) bool {
	if h.alter != nil {
		h.alter(from, data)
	}
	var p packet.Packet
	if err := p.Parse(slices.Clone(data)); err != nil {
		h.t.Fatalf("%s sent what cannot be read: %v", from.name, err)
	}
	h.wire = append(h.wire, hop{from.name, to.name, p})
	return false
}

// seen returns the hops of the packets of one type, in order.
func (h *hierarchy) seen(kind packet.Type) []hop {
	return slices.DeleteFunc(slices.Clone(h.wire), func(x hop) bool { return x.Type != kind })
}

// way returns where the packets of one type went, each as "a>b".
func (h *hierarchy) way(kind packet.Type) []string {
	var way []string
	for _, x := range h.seen(kind) {
		way = append(way, x.from+">"+x.to)
	}
	return way
}

// told returns the overlay addresses of the CIEs in an extension.
func told(p packet.Packet, t packet.ExtensionType) []string {
	var list []string
	if ext := p.Extension(t); ext != nil {
		for _, c := range ext.CIEs {
			list = append(list, c.Protocol.String())
		}
	}
	return list
}

func lanRoute(prefix string) event.Route {
	return event.Route{Prefix: mustPrefix(prefix), Device: "lan0"}
}

// RFC 2332 §5.3.2: a request goes along the routes, each NHS adds its record, and the answer comes
// directly.
func TestResolutionThroughAHierarchy(t *testing.T) {
	h := newHierarchy(t, false)
	h.wire = nil
	if got, want := h.ping(h.spoke1, host1, host2), []string{
		"spoke1", "west", "central", "east", "spoke2",
	}; !slices.Equal(got, want) {
		t.Fatalf("the first packet went %v, want %v", got, want)
	}
	h.until("a shortcut", 5*time.Second, func() bool { return len(h.spoke1.shortcuts) == 1 })
	if got, want := h.way(packet.ResolutionRequest), []string{
		"spoke1>west", "west>central", "central>east", "east>spoke2",
	}; !slices.Equal(got, want) {
		t.Errorf("the request went %v, want %v", got, want)
	}
	if got, want := h.way(
		packet.ResolutionReply,
	), []string{"spoke2>spoke1"}; !slices.Equal(got, want) {
		t.Errorf("the reply went %v, want %v", got, want)
	}
	reply := h.seen(packet.ResolutionReply)[0]
	if got, want := told(
		reply.Packet, packet.ExtensionForwardTransit,
	), []string{"10.255.1.1", "10.255.0.1", "10.255.2.1"}; !slices.Equal(got, want) {
		t.Errorf("forward records %v, want %v", got, want)
	}
	if got := told(reply.Packet, packet.ExtensionReverseTransit); got != nil {
		t.Errorf("reverse records %v of a reply that nobody passed on", got)
	}
	if got, want := told(
		reply.Packet, packet.ExtensionResponder,
	), []string{"10.255.2.12"}; !slices.Equal(got, want) {
		t.Errorf("responder %v, want %v", got, want)
	}
	if got, want := h.ping(
		h.spoke1, host1, host2,
	), []string{"spoke1", "spoke2"}; !slices.Equal(got, want) {
		t.Errorf("then packets go %v, want %v", got, want)
	}
	for _, n := range []*node{h.west, h.central, h.east} {
		if len(n.shortcuts) != 0 || len(n.engine.ifaces["gre1"].Responder.Answers) != 0 {
			t.Errorf("%s, which only passed it on, keeps something of it", n.name)
		}
	}
	for _, address := range []string{"10.255.1.11", "10.255.2.12"} {
		if nbma, cached := h.central.neighbors[addr(address)]; cached {
			t.Errorf("central took from others' packets that %s is at %s", address, nbma)
		}
	}
}

// RFC 2332 §6.4: of the routers that a packet passes, only the first one asks.
func TestOnlyTheFirstRouterAsks(t *testing.T) {
	h := newHierarchy(t, false, func(c *overlay.InterfaceConfig) { c.Shortcut = true })
	h.wire = nil
	h.ping(h.spoke1, host1, host2)
	h.run(time.Second)
	if got, want := h.way(packet.TrafficIndication), []string{
		"west>spoke1", "central>west", "east>central",
	}; !slices.Equal(got, want) {
		t.Errorf("indications %v, want %v", got, want)
	}
	asked := map[netip.Addr]bool{}
	for _, x := range h.seen(packet.ResolutionRequest) {
		asked[x.SourceProtocol] = true
	}
	if len(asked) != 1 || !asked[addr("10.255.1.11")] {
		t.Errorf("asked by %v", asked)
	}
}

// RFC 2332 §5.3.3: a reply whose requester is behind NAT goes along the routes and collects reverse
// records.
func TestReplyThroughAHierarchy(t *testing.T) {
	h := newHierarchy(t, true)
	h.wire = nil
	h.ping(h.spoke1, host1, host2)
	h.until("a shortcut", 5*time.Second, func() bool { return len(h.spoke1.shortcuts) == 1 })
	replies := h.seen(packet.ResolutionReply)
	if got, want := h.way(packet.ResolutionReply), []string{
		"spoke2>east", "east>central", "central>west", "west>spoke1",
	}; !slices.Equal(got, want) {
		t.Fatalf("the reply went %v, want %v", got, want)
	}
	last := replies[3]
	if got, want := told(
		last.Packet, packet.ExtensionReverseTransit,
	), []string{"10.255.2.1", "10.255.0.1", "10.255.1.1"}; !slices.Equal(got, want) {
		t.Errorf("reverse records %v, want %v", got, want)
	}
	if got, want := told(
		last.Packet, packet.ExtensionForwardTransit,
	), []string{"10.255.1.1", "10.255.0.1", "10.255.2.1"}; !slices.Equal(got, want) {
		t.Errorf("forward records %v, want %v", got, want)
	}
	if last.HopCount != 252 {
		t.Errorf("hop count %d after three NHSs, want 252", last.HopCount)
	}
}

// The obstacles that a request may meet on its way. The requester hears of each, over all hops.
func TestRequestsThatGetStuck(t *testing.T) {
	hops := func(count uint8) func(*hierarchy) {
		return func(h *hierarchy) {
			h.alter = func(from *node, data []byte) {
				if from == h.spoke1 && packet.Type(data[17]) == packet.ResolutionRequest {
					data[9] = count
					fixChecksum(data)
				}
			}
		}
	}
	tests := []struct {
		rule   string
		broken func(*hierarchy)
		dest   string
		by     string // the router that refuses
		code   packet.ErrorCode
		nak    packet.Code
		passes []string // the request's hops
	}{
		{
			"hop count 1 (RFC 2332 §5.1)", hops(1), host2, "west", packet.ErrorHopCount, 0,
			[]string{"spoke1>west"},
		},
		{
			"hop count 2", hops(2), host2, "central", packet.ErrorHopCount, 0,
			[]string{"spoke1>west", "west>central"},
		},
		{
			"hop count 3", hops(3), host2, "east", packet.ErrorHopCount, 0,
			[]string{"spoke1>west", "west>central", "central>east"},
		},
		{
			"no route in the middle (§5.2.7)",
			func(h *hierarchy) { h.central.removeRoutes(viaTunnel(lan2, "10.255.2.1")) },
			host2, "central", packet.ErrorProtocolUnreachable, 0,
			[]string{"spoke1>west", "west>central"},
		},
		{
			"another password in the middle (§5.3.4)",
			func(h *hierarchy) {
				h.central.configure(func(c *overlay.InterfaceConfig) { c.Authentication = "other" })
			},
			host2, "central", packet.ErrorAuthentication, 0,
			[]string{"spoke1>west", "west>central"},
		},
		{
			"a loop of three (§5.3.2)",
			func(h *hierarchy) {
				h.join(h.west, h.east)
				h.east.removeRoutes(viaTunnel(lan3, "10.255.2.13"))
				h.east.addRoutes(viaTunnel(lan3, "10.255.1.1"))
			},
			"172.16.3.9", "west", packet.ErrorLoop, 0,
			[]string{"spoke1>west", "west>central", "central>east", "east>west"},
		},
		{
			"a loop of two",
			func(h *hierarchy) {
				h.central.removeRoutes(viaTunnel(lan2, "10.255.2.1"))
				h.central.addRoutes(viaTunnel(lan2, "10.255.1.1"))
			},
			host2, "central", packet.ErrorLoop, 0,
			[]string{"spoke1>west", "west>central"},
		},
		{
			"a client that is not there (§5.2.2)",
			func(h *hierarchy) {
				h.spoke2.handle(event.Leave{Interface: "gre1"})
				h.run(time.Second)
			},
			host2, "east", 0, packet.CodeNoBinding,
			[]string{"spoke1>west", "west>central", "central>east"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			h := newHierarchy(t, false)
			tt.broken(h)
			h.wire = nil
			h.ping(h.spoke1, host1, tt.dest)
			h.run(500 * time.Millisecond)
			if got := h.way(packet.ResolutionRequest); !slices.Equal(got, tt.passes) {
				t.Errorf("the request went %v, want %v", got, tt.passes)
			}
			if h.spoke1.has(output.NoticeUnresolved) != 1 || len(h.spoke1.status().Shortcuts) != 0 {
				t.Errorf("the requester was not told\n%s", h)
			}
			kind := packet.ErrorIndication
			if tt.nak != 0 {
				kind = packet.ResolutionReply
			}
			// Errors about indications do not count.
			no := slices.DeleteFunc(h.seen(kind), func(x hop) bool {
				return kind == packet.ErrorIndication &&
					packet.Type(x.Quoted[17]) != packet.ResolutionRequest
			})
			if len(no) == 0 {
				t.Fatalf("no %s", kind)
			}
			if no[0].from != tt.by || no[len(no)-1].to != "spoke1" {
				t.Errorf("the no went %v, want from %s to spoke1", h.way(kind), tt.by)
			}
			if tt.nak != 0 {
				if no[0].CIEs[0].Code != tt.nak {
					t.Errorf("refused with %s, want %s", no[0].CIEs[0].Code, tt.nak)
				}
				return
			}
			if last := no[len(no)-1]; last.ErrorCode != tt.code ||
				last.SourceProtocol != h.named(tt.by).cfg.Address.Addr() ||
				h.spoke1.last(output.NoticeError).Reason != tt.code.String() {
				t.Errorf(
					"told %s by %s, notice %+v; want %s",
					last.ErrorCode, last.SourceProtocol, h.spoke1.last(output.NoticeError), tt.code,
				)
			}
		})
	}
}

func (h *hierarchy) named(name string) *node {
	return h.nodes[slices.IndexFunc(h.nodes, func(n *node) bool { return n.name == name })]
}

// join makes two hubs static neighbours of each other, with an SA.
func (h *hierarchy) join(a, b *node) {
	maps := func(of *node) func(*overlay.InterfaceConfig) {
		return func(c *overlay.InterfaceConfig) {
			c.Maps = []overlay.Map{{Protocol: of.cfg.Address.Addr(), NBMA: of.local}}
		}
	}
	a.configure(maps(b))
	b.configure(maps(a))
	h.sas[saKey{a, b}] = true
	a.handle(event.PeerSecured{Peer: a.peer(b, true)})
	b.handle(event.PeerSecured{Peer: b.peer(a, false)})
}

// A hop count that is just high enough will do: the last NHS sends the request on with one hop
// left.
func TestEnoughHops(t *testing.T) {
	h := newHierarchy(t, false)
	h.alter = func(from *node, data []byte) {
		if from == h.spoke1 && packet.Type(data[17]) == packet.ResolutionRequest {
			data[9] = 4
			fixChecksum(data)
		}
	}
	h.ping(h.spoke1, host1, host2)
	h.until("a shortcut", 5*time.Second, func() bool { return len(h.spoke1.shortcuts) == 1 })
}

// RFC 2332 §5.3.4: the password is checked on each hop, and is in every packet but errors.
func TestPasswordOnEveryHop(t *testing.T) {
	h := newHierarchy(t, true, func(c *overlay.InterfaceConfig) { c.Authentication = "secret" })
	h.ping(h.spoke1, host1, host2)
	h.until("a shortcut", 5*time.Second, func() bool { return len(h.spoke1.shortcuts) == 1 })
	for _, x := range h.wire {
		ext := x.Extension(packet.ExtensionAuthentication)
		if ext == nil {
			t.Fatalf("%s from %s to %s without a password", x.Type, x.from, x.to)
		}
		if pw, err := packet.Password(*ext); err != nil || pw != "secret" {
			t.Fatalf("%s from %s: %q, %v", x.Type, x.from, pw, err)
		}
	}
}

// RFC 2332 §6.3: when the responder gets a more specific route, it takes its answer back, and then
// answers for a smaller prefix.
func TestMoreSpecificRouteComesUp(t *testing.T) {
	h := newHierarchy(t, false)
	h.ping(h.spoke1, host1, host2)
	h.until("a shortcut", 5*time.Second, func() bool {
		return h.spoke1.shortcuts[mustPrefix(lan2)].IsValid()
	})
	h.spoke2.addRoutes(viaTunnel("172.16.2.128/25", "10.255.2.13"))
	h.run(10 * time.Millisecond)
	if len(h.spoke1.shortcuts) != 0 {
		t.Fatalf("spoke1 still goes past the more specific route: %v", h.spoke1.shortcuts)
	}
	h.run(2 * time.Second)
	h.ping(h.spoke1, host1, host2)
	h.until("a narrower shortcut", 5*time.Second, func() bool {
		return h.spoke1.shortcuts[mustPrefix("172.16.2.0/25")].IsValid()
	})
}

// When the more specific route goes, the answer stays true, and no router gets a purge.
func TestMoreSpecificRouteGoes(t *testing.T) {
	h := newHierarchy(t, false)
	more := viaTunnel("172.16.2.128/25", "10.255.2.13")
	h.spoke2.addRoutes(more)
	h.ping(h.spoke1, host1, host2)
	h.until("a shortcut", 5*time.Second, func() bool {
		return h.spoke1.shortcuts[mustPrefix("172.16.2.0/25")].IsValid()
	})
	h.wire = nil
	h.spoke2.removeRoutes(more)
	h.run(time.Second)
	if len(h.spoke1.shortcuts) != 1 || len(h.seen(packet.PurgeRequest)) != 0 {
		t.Errorf("purges %v, shortcuts %v", h.way(packet.PurgeRequest), h.spoke1.shortcuts)
	}
}
