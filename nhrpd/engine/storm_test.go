package engine

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/packet"
)

// storm is one node under random events. The node's carryOut checks what the engine wants.
type storm struct {
	*node
	t      *rapid.T
	change func(*overlay.InterfaceConfig) // how the storm's configuration differs from stormConfig
	most   map[uint8]int                  // MaxConnections of the storm's configuration
	paths  overlay.Paths                  // Paths of the storm's configuration
	asks   overlay.Authorizer             // Authorizer of the storm's configuration
}

var (
	stormNBMA = []string{
		"192.0.2.1", "192.0.2.2", "192.0.2.11", "192.0.2.12", "192.0.2.13", "198.51.100.7",
		"2001:db8::1", "2001:db8::12",
	}
	stormOverlay = []string{
		"10.255.0.1", "10.255.0.2", "10.255.0.11", "10.255.0.12", "10.255.0.13", "10.255.0.0",
		"10.9.9.9",
	}
	stormHost = []string{
		host1, host2, "172.16.2.77", "172.16.3.1", "10.255.0.12", "203.0.113.1", "192.0.2.12",
	}
	stormPrefixes = []string{
		"172.16.2.0/24", "172.16.2.64/26", "172.18.0.0/16", "172.18.7.0/24", "172.18.7.7/32",
		"172.16.1.0/25", "10.0.0.0/8",
	}
	stormRoutes = []event.Route{
		viaTunnel("172.16.0.0/16", "10.255.0.1"),
		viaTunnel(lan2, "10.255.0.1"),
		viaTunnel(lan2, "10.255.0.12"),
		viaTunnel("172.16.2.64/26", "10.255.0.2"),
		{Prefix: mustPrefix("0.0.0.0/0"), NextHop: addr("10.255.0.1"), Device: "gre1"},
		{Prefix: mustPrefix("0.0.0.0/0"), Device: "eth0"},
		{Prefix: mustPrefix("172.16.3.0/24"), Device: "lan1"},
		{Prefix: mustPrefix("203.0.113.0/24")},
		{Prefix: mustPrefix("172.16.2.77/32"), Device: "lo", Local: true},
	}
)

var stormPauses = []time.Duration{
	0, 0, time.Millisecond, 60 * time.Millisecond, time.Second, 5 * time.Second, time.Minute,
}

func stormConfig() overlay.InterfaceConfig {
	cfg := spokeConfig("10.255.0.11/24")
	cfg.Redirect, cfg.Server = true, true
	cfg.NHS = append(
		cfg.NHS,
		overlay.NHSConfig{Name: "hub.example.net", Protocol: addr("10.255.0.2")},
	)
	cfg.Announce = []netip.Prefix{mustPrefix(lan1), mustPrefix("172.17.1.0/24")}
	cfg.Accept = []netip.Prefix{mustPrefix("172.16.0.0/14")}
	cfg.Limits = overlay.Limits{
		Bindings:    3,
		Prefixes:    3,
		Shortcuts:   3,
		Answers:     3,
		Held:        2,
		Indications: 20,
		Errors:      5,
		Requests:    50,
		Transit:     50,
	}
	return cfg
}

func pick[T any](t *rapid.T, list []T) T {
	return rapid.SampledFrom(list).Draw(t, "pick")
}

func (s *storm) nbma() netip.Addr { return addr(pick(s.t, stormNBMA)) }

// like returns the addresses of the IP version of one.
func like(a netip.Addr, list []string) []string {
	return slices.DeleteFunc(slices.Clone(list),
		func(text string) bool { return addr(text).Is4() != a.Is4() })
}

// nbmaLike picks an NBMA address of the IP version of one.
func (s *storm) nbmaLike(a netip.Addr) netip.Addr { return addr(pick(s.t, like(a, stormNBMA))) }

// sender picks a peer: one with an address of its own, or a marked one.
func (s *storm) sender() peerid.ID { return peerAt(pick(s.t, append(stormNames, stormNBMA...))) }

// stormNames are routers behind one NAT.
var stormNames = []string{"mark 1", "mark 2", "mark 3"}

// packet returns a message of the right form and with random content. Often it is about a request
// that the node has out.
func (s *storm) packet() []byte {
	t := s.t
	p := packet.Packet{
		Type:           packet.Type(rapid.IntRange(1, 8).Draw(t, "type")),
		HopCount:       pick(t, []uint8{0, 1, 2, 255}),
		Flags:          packet.Flags(pick(t, []uint16{0, 0x8000, 0x4000, 0xc802, 2})),
		SourceNBMA:     s.nbma(),
		SourceProtocol: addr(pick(t, stormOverlay)),
		DestProtocol:   addr(pick(t, append(slices.Clone(stormOverlay), stormHost...))),
	}
	switch p.Type {
	case packet.TrafficIndication:
		p.Quoted = ipv4(addr(pick(t, stormHost)), addr(pick(t, stormHost)))
	case packet.ErrorIndication:
		p.ErrorCode = packet.ErrorCode(rapid.IntRange(0, 15).Draw(t, "code"))
		p.Quoted = pick(t, s.ownRequests())
	default:
		s.request(&p)
	}
	if p.Type != packet.ErrorIndication && rapid.Bool().Draw(t, "extensions") {
		p.Extensions = []packet.Extension{
			{Type: packet.ExtensionResponder, Compulsory: true},
			{Type: packet.ExtensionForwardTransit, Compulsory: true},
			{Type: packet.ExtensionReverseTransit, Compulsory: true},
			{Type: packet.ExtensionNATAddress},
		}
		if rapid.Bool().Draw(t, "nat") {
			p.Extensions[3].CIEs = []packet.CIE{
				overlay.NATCIE(addr(pick(t, stormOverlay)), s.nbmaLike(p.SourceNBMA)),
			}
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "vendor") == 0 {
		p.Extensions = append(p.Extensions, stormVendor(t))
	}
	return encoded(t, p)
}

// stormOther is what follows the kind in the extension that stormVendor returns.
var stormOther = [][]byte{
	nil, nil, {0}, make([]byte, 1300), addr("192.0.2.12").AsSlice(), addr("192.0.2.11").AsSlice(),
	addr("0.0.0.7").AsSlice(), addr("2001:db8::12").AsSlice(), addr("ff02::1").AsSlice(),
}

// stormVendor returns the extension by which routers offer, accept and answer probes, and name
// their addresses of the other IP version, or one much like it.
func stormVendor(t *rapid.T) packet.Extension {
	data := []byte{2, 'C', 'Y', byte(rapid.IntRange(0, 7).Draw(t, "kind"))}
	return packet.Extension{
		Type: packet.ExtensionVendor, Data: append(data, pick(t, stormOther)...)}
}

// request fills the parts that requests and replies have.
func (s *storm) request(p *packet.Packet) {
	t := s.t
	p.RequestID = uint32(rapid.IntRange(0, 3).Draw(t, "id"))
	cie := packet.CIE{
		Code:         packet.Code(pick(t, []uint8{0, 0, 0, 4})),
		PrefixLength: pick(t, []uint8{0, 1, 16, 24, 25, 32, 33, 255}),
		HoldingTime:  pick(t, []uint16{0, 5, 60, 600, 65535}),
	}
	if rapid.Bool().Draw(t, "addresses") {
		cie.NBMA, cie.Protocol = s.nbmaLike(p.SourceNBMA), addr(pick(t, stormOverlay))
	}
	p.CIEs = []packet.CIE{cie}
	if own := pick(t, s.ownRequests()); p.Type.IsReply() && len(own) > 0 {
		var q packet.Packet
		if err := q.Parse(own); err != nil {
			t.Fatal(err)
		}
		p.Type, p.RequestID, p.SourceNBMA, p.SourceProtocol, p.DestProtocol =
			q.Type+1, q.RequestID, q.SourceNBMA, q.SourceProtocol, q.DestProtocol
		if cie.NBMA.Is4() != q.SourceNBMA.Is4() {
			p.CIEs[0].NBMA = netip.Addr{}
		}
	}
}

// ownRequests returns the last requests that the node sent, and an empty one.
func (n *node) ownRequests() [][]byte {
	list := [][]byte{nil}
	for _, p := range n.sent[max(0, len(n.sent)-5):] {
		if packet.Type(p.data[17]).IsRequest() {
			list = append(list, p.data)
		}
	}
	return list
}

// stormEvents are the events of a storm; the more frequent ones are in it several times.
var stormEvents = map[string]func(*storm){
	"local address": func(s *storm) {
		s.handle(event.LocalAddress{
			Interface: "gre1",
			NBMA: pick(s.t, []netip.Addr{
				{}, addr("192.0.2.11"), addr("192.0.2.11"), addr("192.0.2.111"),
			}),
			Second: pick(s.t, []netip.Addr{{}, addr("2001:db8::11"), addr("2001:db8::11")}),
		})
	},
	"resolved": func(s *storm) {
		addrs := []netip.Addr{s.nbma(), s.nbma()}[:pick(s.t, []int{0, 1, 2})]
		s.handle(event.NHSResolved{
			Interface: "gre1",
			Name:      pick(s.t, []string{"192.0.2.1", "hub.example.net", "gone"}),
			NBMA:      addrs,
		})
	},
	"routes": func(s *storm) {
		s.handle(event.RoutesChanged{
			Table:   testTable,
			Added:   []event.Route{pick(s.t, stormRoutes)},
			Removed: []event.Route{pick(s.t, stormRoutes)},
		})
	},
	"routes read anew": func(s *storm) {
		s.handle(event.RoutesChanged{
			Table: testTable,
			Reset: true,
			Added: append(s.routes, pick(s.t, stormRoutes)),
		})
	},
	"secured": func(s *storm) { s.handle(event.PeerSecured{Peer: s.somePeer()}) },
	"told apart": func(s *storm) {
		p := event.Peer{Interface: "gre1", ID: peerid.At(s.nbma()), Identity: "a"}
		s.handle(event.PeerSecured{Peer: p})
		p.SharedWith, p.Separating = []string{"b"}, true
		s.handle(event.PeerSecured{Peer: p})
	},
	"lost": func(s *storm) {
		s.handle(event.PeerLost{Interface: "gre1", ID: s.sender(), Reason: "lost"})
	},
	"failed": func(s *storm) {
		s.handle(event.PeerFailed{Interface: "gre1", ID: peerid.At(s.nbma()), Reason: "failed"})
	},
	"ruling": func(s *storm) {
		s.handle(event.Ruling{
			Interface: "gre1",
			Inquiry:   uint64(max(0, len(s.inquiries)-rapid.IntRange(0, 3).Draw(s.t, "inquiry"))),
			Refused:   rapid.IntRange(0, 3).Draw(s.t, "refused") == 0,
			Lifetime:  pick(s.t, []time.Duration{0, time.Minute, time.Hour}),
			Bounded:   rapid.Bool().Draw(s.t, "bounded"),
			Announce:  []netip.Prefix{mustPrefix(pick(s.t, stormPrefixes))},

			NoShortcut: rapid.IntRange(0, 3).Draw(s.t, "direct") == 0,
		})
	},
	"authorizer": func(s *storm) {
		s.authorizer = nil
		if rapid.Bool().Draw(s.t, "answers") {
			s.authorizer = func(output.Inquiry) (event.Ruling, bool) {
				return event.Ruling{Lifetime: time.Hour}, true
			}
			s.handle(event.AuthorizerUp{Interface: "gre1"})
		}
	},
	"authorizer configured": func(s *storm) {
		s.asks = pick(s.t, []overlay.Authorizer{
			{}, {Socket: "/one", Timeout: time.Second},
			{Socket: "/two", Timeout: time.Second, Allow: true},
		})
		s.engine.Configure(s.w.now,
			overlay.Config{Interfaces: []overlay.InterfaceConfig{s.config()}}, &s.out)
		s.carryOut()
	},
	"recheck": func(s *storm) {
		s.handle(event.Recheck{Interface: "gre1", Identity: pick(s.t, []string{"", "a", "b"})})
	},
	"drain": func(s *storm) {
		s.handle(event.Drain{Interface: "gre1", Off: pick(s.t, []bool{false, true})})
	},
	"resync": func(s *storm) {
		there := []event.Peer{s.somePeer(), s.somePeer()}[:pick(s.t, []int{0, 1, 2})]
		s.handle(event.PeersSecured{Interface: "gre1", Peers: there})
		s.onlyThere(there)
	},
	"redirected": func(s *storm) {
		s.handle(event.Redirected{
			Interface: "gre1",
			From:      s.sender(),
			Packet:    ipv4(addr(pick(s.t, stormHost)), addr(pick(s.t, stormHost))),
		})
	},
	"missed": func(s *storm) {
		s.handle(event.Missed{Interface: "gre1", Protocol: addr(pick(s.t, stormOverlay))})
	},
	"used": func(s *storm) {
		for _, p := range s.status().Peers {
			s.handle(event.Used{
				Interface: "gre1",
				Peers: []event.PeerUse{
					{ID: p.ID, Out: s.w.now, In: s.w.now.Add(-time.Hour)},
				},
				Exact: rapid.Bool().Draw(s.t, "exact"),
			})
		}
	},
	"reconfigured":     (*storm).reconfigure,
	"charon":           (*storm).charon,
	"charon again":     (*storm).charon,
	"charon once more": (*storm).charon,
	"answer":           (*storm).answer,
	"answer again":     (*storm).answer,
	"answer once more": (*storm).answer,
	"indication":       (*storm).indicate,
	"indication again": (*storm).indicate,
	"request": func(s *storm) {
		p := requestFrom(pick(s.t, like(s.hub(), stormNBMA[3:])), "10.255.0.12", host1)
		p.Extensions = append(p.Extensions, stormVendor(s.t))
		p.Extensions[1].CIEs = []packet.CIE{{NBMA: s.hub(), Protocol: addr("10.255.0.1")}}
		s.handle(event.PacketReceived{
			Interface: "gre1",
			From:      peerid.At(s.hub()),
			Data:      encoded(s.t, p),
		})
	},
	"registration": func(s *storm) {
		s.handle(event.PacketReceived{
			Interface: "gre1",
			From:      s.sender(),
			Data: encoded(
				s.t, registrationFrom(pick(s.t, stormNBMA), pick(s.t, stormOverlay)),
			),
		})
	},
	"announcement": (*storm).announce, "announcement again": (*storm).announce,
	"packet":       (*storm).anyPacket,
	"packet again": (*storm).anyPacket,
}

var stormEventNames = slices.Sorted(maps.Keys(stormEvents))

func (s *storm) anyPacket() {
	s.handle(event.PacketReceived{Interface: "gre1", From: s.sender(), Data: s.packet()})
}

func (s *storm) indicate() {
	s.handle(event.PacketReceived{
		Interface: "gre1",
		From:      peerid.At(s.hub()),
		Data:      encoded(s.t, indicationOf(host1, pick(s.t, stormHost))),
	})
}

// charon makes the SAs that the node asked to be initiated.
func (s *storm) charon() {
	for _, nbma := range slices.SortedFunc(maps.Keys(s.want), peerid.ID.Compare) {
		if s.want[nbma] >= output.SAInitiate {
			s.handle(event.PeerSecured{Peer: event.Peer{
				Interface: "gre1",
				ID:        nbma,
				Identity:  "a",
				Initiator: true,
			}})
		}
	}
}

// announce registers a client and the networks behind it, or takes the networks back.
func (s *storm) announce() {
	from, client := s.nbma(), pick(s.t, stormOverlay[2:5])
	s.handle(event.PacketReceived{
		Interface: "gre1",
		From:      peerid.At(from),
		Data:      encoded(s.t, registrationFrom(from.String(), client)),
	})
	p := announcementFrom(from.String(), client, pick(s.t, stormPrefixes), pick(s.t, stormPrefixes))
	if rapid.IntRange(0, 4).Draw(s.t, "purge") == 0 {
		p.Type = packet.PurgeRequest
	}
	s.handle(event.PacketReceived{Interface: "gre1", From: peerid.At(from), Data: encoded(s.t, p)})
}

// hub returns the NBMA address of an NHS.
func (s *storm) hub() netip.Addr {
	if st := s.status(); len(st.NHS) > 0 && st.NHS[0].NBMA.IsValid() {
		return st.NHS[0].NBMA
	}
	return addr("192.0.2.1")
}

// answer replies to one of the node's last requests, correctly or nearly so.
func (s *storm) answer() {
	t := s.t
	for _, sent := range s.sent[max(0, len(s.sent)-3):] {
		var p packet.Packet
		if err := p.Parse(sent.data); err != nil {
			t.Fatal(err)
		}
		from := sent.to
		switch p.Type {
		case packet.RegistrationRequest:
			p = acceptance(p)
			p.DestProtocol = addr(pick(t, stormOverlay[:2]))
		case packet.ResolutionRequest:
			if proof.IsProbe(&p) {
				if rapid.Bool().Draw(t, "answered") {
					p.Type, p.Extensions[0].Data[3] = packet.ResolutionReply, 4
					s.handle(event.PacketReceived{
						Interface: "gre1", From: from, Data: encoded(t, p),
					})
				}
				continue
			}
			p = answerTo(
				p, pick(t, []uint8{16, 24, 25, 32}), pick(t, stormOverlay[3:5]),
				pick(t, like(p.SourceNBMA, stormNBMA[3:])),
			)
			if rapid.IntRange(0, 3).Draw(t, "other version") == 0 {
				p.CIEs[0].NBMA = netip.Addr{}
			}
			if rapid.Bool().Draw(t, "probed") {
				p.Extensions = append(p.Extensions, packet.Extension{
					Type: packet.ExtensionVendor,
					Data: append([]byte{2, 'C', 'Y', 2}, pick(t, stormOther)...),
				})
			}
			if at := p.CIEs[0].NBMA; at.IsValid() && rapid.IntRange(0, 3).Draw(t, "direct") == 0 {
				from = peerid.At(at)
			}
		default:
			continue
		}
		s.handle(event.PacketReceived{Interface: "gre1", From: from, Data: encoded(t, p)})
	}
}

func encoded(t *rapid.T, p packet.Packet) []byte {
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (s *storm) somePeer() event.Peer {
	if id := s.sender(); id.Shares() {
		return event.Peer{
			Interface: "gre1",
			ID:        id,
			Outer:     s.nbma(),
			Identity:  pick(s.t, []string{"a", "b"}),
			RemoteNAT: true,
		}
	}
	return event.Peer{
		Interface:  "gre1",
		ID:         peerid.At(s.nbma()),
		Identity:   pick(s.t, []string{"a", "b"}),
		Initiator:  rapid.Bool().Draw(s.t, "initiator"),
		SharedWith: pick(s.t, [][]string{nil, nil, nil, {"c"}, {"b", "c"}}),
		Separating: rapid.Bool().Draw(s.t, "separating"),
	}
}

// onlyThere fails the test if the engine still uses a marked peer that strongSwan did not list.
func (s *storm) onlyThere(there []event.Peer) {
	ifc := s.engine.ifaces["gre1"]
	if ifc == nil || ifc.Left || !ifc.Config.Protected {
		return
	}
	gone := func(id peerid.ID) bool {
		_, marked := id.Mark()
		return marked &&
			!slices.ContainsFunc(there, func(p event.Peer) bool { return p.ID == id })
	}
	for id := range ifc.peers.ByID {
		if gone(id) {
			s.t.Fatalf("the marked peer is still known: %s", id)
		}
	}
	for _, id := range ifc.admissions.IDs() {
		if gone(id) {
			s.t.Fatalf("%s is still admitted", id)
		}
	}
	for _, id := range ifc.peers.Held.Senders() {
		if gone(id) {
			s.t.Fatalf("a packet of %s still waits", id)
		}
	}
	for _, a := range ifc.Responder.Answers {
		if gone(a.Peer) {
			s.t.Fatalf("an answer is still to %s", a.Peer)
		}
	}
	for protocol, id := range s.neighbors {
		if gone(id) {
			s.t.Fatalf("%s is still at %s", protocol, id)
		}
	}
}

// reconfigure changes a setting that can change in place, makes the node leave, or restarts the
// daemon.
func (s *storm) reconfigure() {
	cfg := s.config()
	switch rapid.IntRange(0, 12).Draw(s.t, "change") {
	case 0:
		cfg.Shortcut = false
	case 1:
		cfg.NHS = cfg.NHS[1:]
	case 2:
		cfg.Maps = []overlay.Map{{Protocol: addr("10.255.0.12"), NBMA: s.nbma()}}
	case 3:
		cfg.Address = netip.PrefixFrom(addr("10.255.0.13"), cfg.Address.Bits())
	case 4:
		s.handle(event.Leave{Interface: "gre1"})
		if len(s.neighbors)+len(s.shortcuts) != 0 {
			s.t.Fatalf("left behind: %v %v", s.neighbors, s.shortcuts)
		}
		return
	case 5:
		s.restart()
		return
	case 6:
		cfg.Accept = cfg.Accept[:0]
	case 7:
		cfg.Announce = cfg.Announce[:1]
	case 8:
		allowing(
			s.w.t, "a: 10.255.0.0/24, announce 172.16.0.0/12", "b: 10.255.0.12, no shortcut",
		)(&cfg)
		// A lower limit ends nothing that is there, so broken would report a full table.
		cfg.Limits = stormConfig().Limits
	case 9:
		s.handle(event.Block{Identity: "a", Until: s.w.now.Add(time.Minute)})
		return
	case 10:
		s.handle(event.Unblock{Identity: "a"})
		return
	case 11:
		cfg.Overlay = mustPrefix("10.255.0.0/24")
	}
	s.engine.Configure(s.w.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{cfg}}, &s.out)
	s.carryOut()
}

func (s *storm) restart() {
	saved := s.engine.Save()
	s.boot(saved)
}

// check fails the test if an invariant does not hold. The invariants hold at any time.
func (s *storm) check() {
	if err := s.broken(); err != nil {
		s.t.Fatal(err)
	}
}

func newStorm(t *rapid.T, tb testing.TB) *storm {
	s := &storm{
		t: t, change: pick(t, stormOverlays), most: pick(t, stormMost), paths: pick(t, stormPaths),
	}
	s.node = newWorld(tb).add("spoke1", s.config(), "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
	return s
}

// stormOverlays are the ways to configure the overlay: with a prefix on the link, and with host
// prefixes, either with the overlay's range or without.
var stormOverlays = []func(*overlay.InterfaceConfig){
	func(*overlay.InterfaceConfig) {}, hostPrefixes(""), hostPrefixes("10.255.0.0/24"),
}

// stormMost are the ways to use NHSs: all of them, or one at a time.
var stormMost = []map[uint8]int{nil, {0: 1}}

// stormPaths are the ways to prove paths.
var stormPaths = []overlay.Paths{
	{},
	{Prove: true},
	{Prove: true, Timeout: 3 * time.Second},
	{Prove: true, Timeout: 3 * time.Second, SmallerMTU: true},
	{Prove: true, Timeout: 3 * time.Second, ProvenOnly: true},
}

func (s *storm) config() overlay.InterfaceConfig {
	cfg := stormConfig()
	s.change(&cfg)
	cfg.MaxConnections, cfg.FallbackDelay = s.most, 20*time.Second
	cfg.Paths, cfg.Authorizer = s.paths, s.asks
	return cfg
}
