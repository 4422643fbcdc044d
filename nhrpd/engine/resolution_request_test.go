package engine

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/packet"
)

// RFC 2332 §6.3: an answer names the widest prefix that the route allows and that hides no other
// route.
func TestAnsweredPrefix(t *testing.T) {
	lan := func(prefix string) event.Route {
		return event.Route{Prefix: mustPrefix(prefix), Device: "lan1"}
	}
	tests := []struct {
		rule   string
		dest   string
		routes []event.Route
		want   string
	}{
		{"a host of our LAN", "172.16.1.10", nil, "172.16.1.0/24"},
		{"our own address in it", "172.16.1.1", nil, "172.16.1.0/24"},
		{"our overlay address", "10.255.0.11", nil, "10.255.0.11/32"},
		{
			"behind another router of ours", "172.20.5.5",
			[]event.Route{
				{Prefix: mustPrefix("172.20.0.0/16"), NextHop: addr("172.16.1.2"), Device: "lan0"},
			},
			"172.20.0.0/16",
		},
		{
			"beside a more specific route elsewhere", "172.20.5.5",
			[]event.Route{lan("172.20.0.0/16"), viaTunnel("172.20.128.0/17", "10.255.0.1")},
			"172.20.0.0/17",
		},
		{
			"beside a more specific route of ours", "172.20.5.5",
			[]event.Route{lan("172.20.0.0/16"), lan("172.20.4.0/24")}, "172.20.5.0/24",
		},
		{
			"the default route", "203.0.113.9",
			[]event.Route{
				{Prefix: mustPrefix("0.0.0.0/0"), NextHop: addr("192.0.2.254"), Device: "eth0"},
			},
			"203.0.113.9/32",
		},
		{
			"the cheaper of two ways", "172.21.0.1",
			[]event.Route{
				{
					Prefix:  mustPrefix("172.21.0.0/16"),
					Device:  "gre1",
					NextHop: addr("10.255.0.1"),
					Metric:  20,
				},
				lan("172.21.0.0/16"),
			},
			"172.21.0.0/16",
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			n, _ := spokeAlone(t)
			n.addRoutes(tt.routes...)
			spoke2 := n.from("192.0.2.12", "spoke2")
			got := only(t, spoke2.says(requestFrom("192.0.2.12", "10.255.0.12", tt.dest)))
			if got.Type != packet.ResolutionReply || got.CIEs[0].Code != packet.CodeSuccess {
				t.Fatalf("answered %s %+v", got.Type, got.CIEs)
			}
			if prefix, _ := got.CIEs[0].PrefixOf(addr(tt.dest)); prefix != mustPrefix(tt.want) {
				t.Errorf("answered for %s, want %s", prefix, tt.want)
			}
		})
	}
}

// RFC 2332 §5.2.2: the whole answer, sent directly through the SA.
func TestResolutionReply(t *testing.T) {
	n, hub := spokeAlone(t)
	n.from("192.0.2.12", "spoke2")
	request := requestFrom("192.0.2.12", "10.255.0.12", host1)
	request.Extensions[1].CIEs = []packet.CIE{
		{HoldingTime: 600, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
	}
	before := len(n.sent)
	got := only(t, hub.says(request))
	want := request
	want.Type = packet.ResolutionReply
	want.Flags |= packet.ResolutionDestStable
	own := packet.CIE{
		MTU:         1400,
		HoldingTime: 600,
		NBMA:        addr("192.0.2.11"),
		Protocol:    addr("10.255.0.11"),
	}
	want.Extensions[0].CIEs = []packet.CIE{own}
	own.PrefixLength = 24
	want.CIEs = []packet.CIE{own}
	samePacket(t, got, want)
	if to := n.sent[before].to; to != peerAt("192.0.2.12") {
		t.Errorf("sent to %s, want directly", to)
	}
}

// A router behind NAT gives its public address in the NAT extension, or in the answer itself if the
// request has no such extension.
func TestAnswerBehindNAT(t *testing.T) {
	n := newWorld(t).add(
		"spoke1", spokeConfig("10.255.0.11/24"), "192.168.7.11", "172.16.1.1/24", "172.16.0.0/16",
	)
	hub := n.from("192.0.2.1", "hub")
	reply := acceptance(only(t, n.sentSince(0)))
	reply.Extensions[3].CIEs = append(
		reply.Extensions[3].CIEs, overlay.NATCIE(addr("10.255.0.11"), addr("192.0.2.50")),
	)
	hub.says(reply)
	spoke2 := n.from("192.0.2.12", "spoke2")

	request := requestFrom("192.0.2.12", "10.255.0.12", host1)
	got := only(t, spoke2.says(request))
	if overlay.NATAddress(&got, addr("10.255.0.11")) != addr("192.0.2.50") ||
		got.CIEs[0].NBMA != addr("192.168.7.11") {
		t.Errorf("with the extension: %+v", got)
	}
	request.Extensions = request.Extensions[:3]
	if got := only(t, spoke2.says(request)); got.CIEs[0].NBMA != addr("192.0.2.50") {
		t.Errorf("without: %+v", got.CIEs)
	}
}

// When the responder answers, and when it initiates IKE.
func TestWhenTheResponderAnswersAndDials(t *testing.T) {
	type at = time.Duration
	const never = at(-1)
	tests := []struct {
		rule      string
		secured   bool
		nat       string // the requester's public address
		behindNAT bool   // the responder is behind NAT
		asking    bool   // the responder has asked the requester too
		nbma      string // the requester's
		dials     at
		answers   at // if no SA comes up
		refuses   at
		directTo  string
		wantFirst output.Security
	}{
		{
			rule:     "an SA is there",
			secured:  true,
			nbma:     "192.0.2.12",
			dials:    never,
			answers:  0,
			refuses:  never,
			directTo: "192.0.2.12",
		},
		{
			rule:      "not behind NAT",
			nbma:      "192.0.2.12",
			dials:     0,
			answers:   never,
			refuses:   resolution.AnswerWait,
			wantFirst: output.SAInitiate,
		},
		{
			rule:      "two-way, ours is the lower address",
			asking:    true,
			nbma:      "192.0.2.12",
			dials:     0,
			answers:   never,
			refuses:   resolution.AnswerWait,
			wantFirst: output.SAInitiate,
		},
		{
			rule:      "two-way, ours is the higher address",
			asking:    true,
			nbma:      "192.0.2.5",
			dials:     time.Second,
			answers:   never,
			refuses:   resolution.AnswerWait,
			wantFirst: output.SAAccept,
		},
		{
			rule:      "two-way, ours is the higher address, but nobody can dial us",
			behindNAT: true,
			asking:    true,
			nbma:      "192.0.2.5",
			dials:     0,
			answers:   never,
			refuses:   resolution.AnswerWait,
			wantFirst: output.SAInitiate,
		},
		{
			rule:      "both behind NAT",
			behindNAT: true,
			nat:       "192.0.2.50",
			nbma:      "192.168.7.12",
			dials:     0,
			answers:   0,
			refuses:   never,
			directTo:  "192.0.2.1",
			wantFirst: output.SAInitiate,
		},
		{
			rule:      "requester behind NAT",
			nat:       "192.0.2.50",
			nbma:      "192.168.7.12",
			dials:     never,
			answers:   0,
			refuses:   never,
			directTo:  "192.0.2.1",
			wantFirst: output.SAAccept,
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			n, hub := spokeAlone(t)
			if tt.behindNAT {
				n.engine.ifaces["gre1"].client.NHS[0].Public = addr("198.51.100.9")
			}
			if tt.asking {
				hub.says(indicationOf(host1, host2))
			}
			world := tt.nbma
			request := requestFrom(tt.nbma, "10.255.0.12", host1)
			request.Extensions[1].CIEs = []packet.CIE{
				{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
			}
			if tt.nat != "" {
				world = tt.nat
				request.Extensions[3].CIEs = []packet.CIE{
					overlay.NATCIE(addr("10.255.0.12"), addr(tt.nat)),
				}
			}
			if tt.secured {
				n.from(world, "spoke2")
			}
			before := len(n.sent)
			begin := n.w.now
			hub.says(request)
			if got := n.want[peerAt(world)]; !tt.secured && got != tt.wantFirst {
				t.Errorf("wants %d first, want %d", got, tt.wantFirst)
			}
			answers, refuses, dials, to := never, never, never, peerid.ID{}
			for n.w.now.Sub(begin) <= resolution.AnswerWait {
				if n.want[peerAt(world)] == output.SAInitiate && dials == never {
					dials = n.w.now.Sub(begin)
				}
				for i, p := range n.sentSince(before) {
					switch {
					case p.Type != packet.ResolutionReply:
					case p.CIEs[0].Code == packet.CodeSuccess:
						answers, to = n.sent[before+i].at.Sub(begin), n.sent[before+i].to
					case p.CIEs[0].Code == packet.CodeInsufficientResources:
						refuses = n.sent[before+i].at.Sub(begin)
					}
				}
				n.w.run(100 * time.Millisecond)
			}
			if dials != tt.dials || answers != tt.answers || refuses != tt.refuses {
				t.Errorf(
					"dials at %s, answers at %s, refuses at %s; want %s, %s, %s",
					dials, answers, refuses, tt.dials, tt.answers, tt.refuses,
				)
			}
			if tt.directTo != "" && to != peerid.At(addr(tt.directTo)) {
				t.Errorf("answer sent to %s, want %s", to, tt.directTo)
			}
		})
	}
}

// A request that waits for the SA is answered as soon as the SA is up, and once only, however often
// it was repeated.
func TestWaitingRequestIsAnsweredOnce(t *testing.T) {
	n, hub := spokeAlone(t)
	request := requestFrom("192.0.2.12", "10.255.0.12", host1)
	request.Extensions[1].CIEs = []packet.CIE{
		{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
	}
	for range 3 {
		if got := hub.says(request); len(got) != 0 {
			t.Fatalf("answered without an SA: %v", typesOf(got))
		}
		n.w.run(time.Second)
	}
	before := len(n.sent)
	n.from("192.0.2.12", "spoke2")
	if got := only(t, n.sentSince(before)); got.Type != packet.ResolutionReply ||
		n.sent[before].to != peerAt("192.0.2.12") {
		t.Errorf("%s to %s", got.Type, n.sent[before].to)
	}
}

// If the requester initiated the SA, this router has the SA first, and the answer may be lost. So
// it is repeated after a second, and only then, to a router that may not ask again by itself, as
// FRR's nhrpd does not. A router that runs Cygnet gets one answer, and so does one that this router
// dialled.
func TestAnswerIsRepeatedToARouterThatDialled(t *testing.T) {
	for _, test := range []struct {
		rule       string
		extensions []packet.Extension
		initiator  bool
		after      int // answers after the first
	}{
		{"the requester dialled", nil, false, 1},
		{"this router dialled", nil, true, 0},
		{"the requester runs Cygnet",
			[]packet.Extension{packet.VendorExtension(packet.VendorOffer, netip.Addr{})}, false, 0},
	} {
		t.Run(test.rule, func(t *testing.T) {
			n, hub := spokeAlone(t)
			request := requestFrom("192.0.2.12", "10.255.0.12", host1)
			request.Extensions[1].CIEs = []packet.CIE{
				{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
			}
			request.Extensions = append(request.Extensions, test.extensions...)
			hub.says(request)
			before := len(n.sent)
			n.handle(event.PeerSecured{Peer: event.Peer{Interface: "gre1",
				ID: peerAt("192.0.2.12"), Identity: "spoke2", Initiator: test.initiator}})
			first := only(t, n.sentSince(before))
			before++
			n.w.run(10 * time.Second)
			replies := 0
			for _, p := range n.sentSince(before) {
				if p.Type != packet.ResolutionReply {
					continue
				}
				replies++
				samePacket(t, p, first)
			}
			if replies != test.after {
				t.Errorf("%d further answers, want %d", replies, test.after)
			}
		})
	}
}

// What a sender is told if its request can be neither answered nor passed on.
func TestRefusedRequests(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*packet.Packet)
		nak    packet.Code
		code   packet.ErrorCode
	}{
		{
			"no route", func(p *packet.Packet) { p.DestProtocol = addr("203.0.113.1") }, 0,
			packet.ErrorProtocolUnreachable,
		},
		{
			"an unreachable route", func(p *packet.Packet) { p.DestProtocol = addr("172.31.0.1") },
			0, packet.ErrorProtocolUnreachable,
		},
		{
			"no binding of the next hop",
			func(p *packet.Packet) { p.DestProtocol = addr("10.255.0.77") }, packet.CodeNoBinding,
			0,
		},
		{"the last hop", func(p *packet.Packet) { p.HopCount = 1 }, 0, packet.ErrorHopCount},
		{"no hop left", func(p *packet.Packet) { p.HopCount = 0 }, 0, packet.ErrorHopCount},
		{"our record is in it", func(p *packet.Packet) {
			p.Extensions[1].CIEs = []packet.CIE{
				{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
			}
		}, 0, packet.ErrorLoop},
		{
			"back to where it came from", func(p *packet.Packet) { p.DestProtocol = addr(host1) },
			0, packet.ErrorLoop,
		},
		{"an extension that the responder must know", func(p *packet.Packet) {
			p.DestProtocol = addr("172.16.0.9")
			p.Extensions = append(p.Extensions, packet.Extension{Type: 0x123, Compulsory: true})
		}, 0, packet.ErrorUnrecognizedExtension},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub := hubAlone(t)
			hub.addRoutes(event.Route{Prefix: mustPrefix("172.31.0.0/16")})
			spoke1 := hub.from("192.0.2.11", "spoke1")
			spoke1.says(registrationFrom("192.0.2.11", "10.255.0.11"))
			hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
			p := requestFrom("192.0.2.11", "10.255.0.11", host2)
			tt.change(&p)
			data, err := p.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			got := only(t, spoke1.saysBytes(data))
			if tt.nak != 0 {
				if got.Type != packet.ResolutionReply || got.CIEs[0].Code != tt.nak ||
					got.CIEs[0].HoldingTime != 0 {
					t.Errorf("got %s %+v, want NAK %s", got.Type, got.CIEs, tt.nak)
				}
				return
			}
			if got.Type != packet.ErrorIndication || got.ErrorCode != tt.code ||
				got.DestProtocol != addr("10.255.0.11") {
				t.Errorf("got %s %s, want %s", got.Type, got.ErrorCode, tt.code)
			}
		})
	}
}

// A hub passes requests and replies on with its record, with the hop count lowered by one, and with
// the public address of a client behind NAT.
func TestTransit(t *testing.T) {
	hub := hubAlone(t)
	spoke1 := hub.from("198.51.100.7", "spoke1")
	spoke1.says(registrationFrom("192.168.7.11", "10.255.0.11"))
	spoke2 := hub.from("192.0.2.12", "spoke2")
	spoke2.says(registrationFrom("192.0.2.12", "10.255.0.12"))
	record := packet.CIE{
		MTU:         1400,
		HoldingTime: 600,
		NBMA:        addr("192.0.2.1"),
		Protocol:    addr("10.255.0.1"),
	}
	public := overlay.NATCIE(addr("10.255.0.11"), addr("198.51.100.7"))

	request := requestFrom("192.168.7.11", "10.255.0.11", host2)
	got := only(t, spoke1.says(request))
	want := clone(request)
	want.HopCount--
	want.Extensions[1].CIEs = []packet.CIE{record}
	want.Extensions[3].CIEs = []packet.CIE{public}
	samePacket(t, got, want)

	reply := answerTo(got, 24, "10.255.0.12", "192.0.2.12")
	reply.Extensions[3].CIEs = nil
	got = only(t, spoke2.says(reply))
	want = clone(reply)
	want.HopCount--
	want.Extensions[2].CIEs = []packet.CIE{record}
	samePacket(t, got, want)
	if to := hub.sent[len(hub.sent)-1].to; to != peerAt("198.51.100.7") {
		t.Errorf("reply sent to %s", to)
	}

	// The other direction: the reply of the client behind NAT gets its address filled in.
	reply = answerTo(
		requestFrom("192.0.2.12", "10.255.0.12", host1), 24, "10.255.0.11", "192.168.7.11",
	)
	got = only(t, spoke1.says(reply))
	if overlay.NATAddress(&got, addr("10.255.0.11")) != addr("198.51.100.7") {
		t.Errorf("%+v", got)
	}
}

// When the NAT of a client moves, the hub knows at once and fills in the new address. The client
// itself learns of it only with its next registration.
func TestTransitFollowsTheNAT(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	hub.from("198.51.100.7", "spoke1").says(registrationFrom("192.168.7.11", "10.255.0.11"))
	hub.handle(event.PeerMoved{
		From: peerAt("198.51.100.7"),
		Peer: event.Peer{
			Interface: "gre1",
			ID:        peerAt("198.51.100.8"),
			Identity:  "spoke1",
			RemoteNAT: true,
		},
	})
	request := requestFrom("192.168.7.11", "10.255.0.11", host2)
	request.Extensions[3].CIEs = []packet.CIE{
		overlay.NATCIE(addr("10.255.0.11"), addr("198.51.100.7")),
	}
	got := only(t, sender{t, hub, "198.51.100.8"}.says(request))
	if public := overlay.NATAddress(&got, addr("10.255.0.11")); public != addr("198.51.100.8") {
		t.Errorf("passed on with %v", public)
	}
}

// RFC 2332 §5.3: a transit NHS only forwards a packet with an unknown compulsory extension.
func TestTransitOfUnknownCompulsory(t *testing.T) {
	hub := hubAlone(t)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	p := requestFrom("192.0.2.11", "10.255.0.11", host2)
	p.Extensions = append(p.Extensions, packet.Extension{
		Type:       0x123,
		Compulsory: true,
		Data:       []byte{1, 2},
	})
	got := only(t, spoke1.says(p))
	p.HopCount--
	samePacket(t, got, p)
}

// RFC 2332 §5.3.1: a reply is in a loop if it names the receiving router as its responder or in its
// reverse record.
func TestLoopingReplies(t *testing.T) {
	for _, extension := range []int{0, 2} {
		hub := hubAlone(t)
		hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
		spoke2 := hub.from("192.0.2.12", "spoke2")
		reply := answerTo(
			requestFrom("192.0.2.11", "10.255.0.11", host2), 24, "10.255.0.12", "192.0.2.12",
		)
		reply.Extensions[extension].CIEs = []packet.CIE{
			{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
		}
		got := only(t, spoke2.says(reply))
		if got.ErrorCode != packet.ErrorLoop || got.ErrorOffset != 60+uint16(4*extension) ||
			dropped(hub, overlay.DropLoop) != 1 {
			t.Errorf(
				"extension %d: sent %s %s at %d",
				extension, got.Type, got.ErrorCode, got.ErrorOffset,
			)
		}
		// The error is for the router that answered, not for the one that asked. If the answer
		// names this hub as the responder, the error is for the router that sent the reply here.
		want := addr("10.255.0.12")
		if extension == 0 {
			want = netip.Addr{}
		}
		if got.DestProtocol != want {
			t.Errorf(
				"extension %d: the error is for %s, want %s", extension, got.DestProtocol, want,
			)
		}
	}
}

// A client with a static map does not register. If the requester does not insist on that client's
// own word, the hub answers from the map.
func TestAnswerFromMap(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
	})
	hub.from("192.0.2.99", "static")
	p := requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.99")
	p.Flags &^= packet.ResolutionAuthoritative
	got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
	if got.Type != packet.ResolutionReply || got.Flags&packet.ResolutionAuthoritative != 0 ||
		got.CIEs[0].NBMA != addr("192.0.2.99") {
		t.Errorf("%+v", got)
	}
}

// A static map is a neighbour from the start, and the hub does not dial it.
func TestStaticMap(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
	})
	if hub.neighbors[addr("10.255.0.99")] != peerAt("192.0.2.99") ||
		hub.want[peerAt("192.0.2.99")] != output.SAAccept {
		t.Errorf("neighbours %v, wants %v", hub.neighbors, hub.want)
	}
}

// The hub finds clients on the overlay even before the mirror of the routing table is filled.
func TestTransitWithoutRoutes(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.handle(event.RoutesChanged{Table: testTable, Reset: true})
	reply := answerTo(
		requestFrom("192.0.2.11", "10.255.0.11", host2), 24, "10.255.0.12", "192.0.2.12",
	)
	if got := only(
		t, hub.from("192.0.2.12", "spoke2").says(reply),
	); got.Type != packet.ResolutionReply {
		t.Errorf("%s", got.Type)
	}
}

// A peer without an SA gets no packet, not even the refusal of its own request.
func TestNothingIsSentWithoutAnSA(t *testing.T) {
	n, hub := spokeAlone(t)
	request := requestFrom("192.0.2.12", "10.255.0.12", host1)
	request.Extensions[1].CIEs = []packet.CIE{
		{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
	}
	hub.says(request)
	n.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "DPD"})
	before := len(n.sent)
	n.w.run(resolution.AnswerWait + time.Second)
	if len(n.sent) != before || n.has(output.NoticeRejected) != 1 {
		t.Errorf("sent %v", typesOf(n.sentSince(before)))
	}
}

// RFC 2332 §5.2.2: the reply has code 4 if the requester's addresses are impossible. It has code 5
// if no more answers can be remembered: an answer that is not remembered cannot be taken back.
func TestRefusingToAnswer(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Limits.Answers = 1 })
	spoke1 := hub.from("192.0.2.11", "spoke1")
	ask := func(nbma, overlay string) packet.CIE {
		p := requestFrom(nbma, overlay, "172.16.0.9")
		p.Extensions[1].CIEs = []packet.CIE{{NBMA: addr("192.0.2.7"), Protocol: addr("10.255.0.7")}}
		return only(t, spoke1.says(p)).CIEs[0]
	}
	if got := ask("224.0.0.9", "10.255.0.11"); got.Code != packet.CodeProhibited {
		t.Errorf("a multicast address: %s", got.Code)
	}
	if got := ask("192.0.2.11", "10.255.0.11"); got.Code != packet.CodeSuccess {
		t.Errorf("the first: %s", got.Code)
	}
	if got := ask("192.0.2.11", "10.255.0.12"); got.Code != packet.CodeInsufficientResources ||
		dropped(hub, overlay.DropTableFull) != 1 {
		t.Errorf("the second: %s", got.Code)
	}
}
