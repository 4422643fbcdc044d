package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// A traffic indication quotes the packet and goes to the router that sent it.
func TestTrafficIndication(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Authentication = "secret" })
	hub.from("192.0.2.11", "spoke1")
	spoke2 := registrationFrom("192.0.2.12", "10.255.0.12")
	spoke2.Extensions = append(spoke2.Extensions, packet.PasswordExtension("secret"))
	hub.from("192.0.2.12", "spoke2").says(spoke2)
	before := len(hub.sent)
	hub.handle(event.Redirected{
		Interface: "gre1",
		From:      peerAt("192.0.2.11"),
		Packet:    ipv4(addr(host1), addr(host2)),
	})
	got := only(t, hub.sentSince(before))
	want := indicationOf(host1, host2)
	want.Extensions = []packet.Extension{packet.PasswordExtension("secret")}
	samePacket(t, got, want)
}

// The cases in which a hub sends no traffic indication.
func TestIndicationsNotSent(t *testing.T) {
	tests := []struct {
		rule     string
		redirect bool
		from     string
		packet   []byte
	}{
		{"redirect is off", false, "192.0.2.11", ipv4(addr(host1), addr(host2))},
		{"the sender has no SA", true, "192.0.2.66", ipv4(addr(host1), addr(host2))},
		{"no IP packet", true, "192.0.2.11", []byte{0, 1, 2}},
	}
	for _, tt := range tests {
		hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
			c.Redirect = tt.redirect
			c.Maps = []overlay.Map{{Protocol: addr("10.255.0.12"), NBMA: addr("192.0.2.12")}}
		})
		hub.from("192.0.2.11", "spoke1")
		hub.from("192.0.2.12", "spoke2")
		hub.handle(event.Redirected{Interface: "gre1", From: peerAt(tt.from), Packet: tt.packet})
		if len(hub.sent) != 0 {
			t.Errorf("%s: sent", tt.rule)
		}
	}
}

// A hub sends at most one indication a second for a flow, gives each peer a share, and keeps to a
// limit for all.
func TestIndicationLimits(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Limits.Indications = 40
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
	})
	hub.from("192.0.2.99", "spoke99")
	hub.addRoutes(viaTunnel("172.16.0.0/16", "10.255.0.99"))
	for i := range 8 {
		hub.from(fmt.Sprintf("192.0.2.%d", 100+i), fmt.Sprint("spoke", i))
	}
	flood := func(peer, flows int) int {
		before := len(hub.sent)
		for i := range flows {
			dest := netip.AddrFrom4([4]byte{172, 16, byte(100 + peer), byte(i)})
			hub.handle(event.Redirected{
				Interface: "gre1",
				From:      peerAt(fmt.Sprintf("192.0.2.%d", 100+peer)),
				Packet:    ipv4(addr(host1), dest),
			})
		}
		return len(hub.sent) - before
	}
	for range 5 {
		flood(0, 1)
	}
	if len(hub.sent) != 1 || dropped(hub, overlay.DropIndicated) != 4 {
		t.Errorf(
			"%d indications for one flow, %d counted as told already",
			len(hub.sent), dropped(hub, overlay.DropIndicated),
		)
	}
	if got := flood(1, 200); got != 11 || dropped(hub, overlay.DropIndicationLimit) != 189 {
		t.Errorf(
			"%d indications for one peer, want its share of 11; %d counted as beyond it",
			got, dropped(hub, overlay.DropIndicationLimit),
		)
	}
	for peer := range 8 {
		flood(peer, 200)
	}
	// A quarter of the limit is reserved for each peer's first indication in a second: 30 go to the
	// peers that want many, then the last five peers get one each.
	if len(hub.sent) != 35 {
		t.Errorf("%d indications at once, want 35 of a limit of 40", len(hub.sent))
	}
}

func defaultRoute(n *node) { n.addRoutes(viaTunnel("0.0.0.0/0", "10.255.0.1")) }

// The indications that a spoke follows, and those that it drops.
func TestIndicationsFollowed(t *testing.T) {
	tests := []struct {
		rule    string
		source  string
		dest    string
		from    string
		setup   func(n *node)
		reason  overlay.DropReason
		follows bool
	}{
		{rule: "from our LAN to theirs", source: host1, dest: host2, follows: true},
		{rule: "from ourselves", source: "10.255.0.11", dest: host2, follows: true},
		{rule: "from our LAN's router", source: "172.16.1.1", dest: host2, follows: true},
		{rule: "to another router", source: host1, dest: "10.255.0.12", follows: true},
		{
			rule:   "from somewhere behind the tunnel",
			source: "172.16.9.9",
			dest:   host2,
			reason: overlay.DropNotFirstHop,
		},
		{rule: "from nowhere", source: "203.0.113.1", dest: host2, reason: overlay.DropNotFirstHop},
		{rule: "to our own LAN", source: host1, dest: "172.16.1.77", reason: overlay.DropNotTunnel},
		{rule: "to ourselves", source: host1, dest: "10.255.0.11", reason: overlay.DropNotTunnel},
		{rule: "to nowhere", source: host1, dest: "203.0.113.1", reason: overlay.DropNotTunnel},
		{rule: "to many", source: host1, dest: "224.0.0.5", reason: overlay.DropNotTunnel},
		{
			rule:   "to everybody",
			source: host1,
			dest:   "255.255.255.255",
			setup:  defaultRoute,
			reason: overlay.DropNotTunnel,
		},
		{
			rule:   "to a link-local address",
			source: host1,
			dest:   "169.254.1.1",
			setup:  defaultRoute,
			reason: overlay.DropNotTunnel,
		},
		{
			rule:   "to a loopback address",
			source: host1,
			dest:   "127.0.0.1",
			setup:  defaultRoute,
			reason: overlay.DropNotTunnel,
		},
		{
			rule:   "from a router that we do not send through",
			source: host1,
			dest:   host2,
			from:   "192.0.2.12",
			reason: overlay.DropNotVia,
		},
		{rule: "what is being asked already", source: host1, dest: host2, setup: func(n *node) {
			sender{n.w.t, n, "192.0.2.1"}.says(indicationOf(host1, host2))
		}, reason: overlay.DropKnown},
		{rule: "more than fit", source: host1, dest: host2, setup: func(n *node) {
			for i := range 100 {
				sender{n.w.t, n, "192.0.2.1"}.says(indicationOf(
					host1, fmt.Sprintf("172.16.200.%d", i),
				))
			}
		}, reason: overlay.DropTableFull},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			n, hub := spokeAlone(t)
			if tt.setup != nil {
				tt.setup(n)
			}
			s := hub
			if tt.from != "" {
				s = n.from(tt.from, "spoke2")
			}
			got := s.says(indicationOf(tt.source, tt.dest))
			if follows := len(got) == 1 &&
				got[0].Type == packet.ResolutionRequest; follows != tt.follows {
				t.Fatalf(
					"follows %v, want %v; dropped %v",
					follows, tt.follows, n.engine.Stats().Dropped,
				)
			}
			if !tt.follows && dropped(n, tt.reason) != 1 {
				t.Errorf("dropped %v, want %s", n.engine.Stats().Dropped, tt.reason)
			}
		})
	}
}

// The resolution request is as other DMVPN routers send it, without and with a public address.
func TestResolutionRequest(t *testing.T) {
	n, hub := spokeAlone(t)
	got := only(t, hub.says(indicationOf(host1, host2)))
	want := requestFrom("192.0.2.11", "10.255.0.11", host2)
	want.CIEs[0].MTU = 1400
	want.RequestID = got.RequestID
	samePacket(t, got, want)

	n.engine.ifaces["gre1"].client.NHS[0].Public = addr("192.0.2.50")
	got = only(t, hub.says(indicationOf(host1, "172.16.2.11")))
	want.DestProtocol, want.RequestID = addr("172.16.2.11"), got.RequestID
	want.Extensions[3].CIEs = []packet.CIE{overlay.NATCIE(addr("10.255.0.11"), addr("192.0.2.50"))}
	samePacket(t, got, want)
}

// When shortcuts are switched off, the spoke follows no indication, and its shortcuts end.
func TestShortcutsOff(t *testing.T) {
	n, hub := spokeAlone(t)
	n.from("192.0.2.12", "spoke2")
	hub.says(answerTo(
		only(t, hub.says(indicationOf(host1, host2))), 24, "10.255.0.12", "192.0.2.12",
	))
	cfg := n.cfg
	cfg.Shortcut = false
	n.engine.Configure(n.w.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{cfg}}, &n.out)
	n.carryOut()
	if len(n.shortcuts) != 0 || !n.registered() {
		t.Errorf("%+v", n.status())
	}
	if got := hub.says(indicationOf(host1, host2)); len(got) != 0 ||
		dropped(n, overlay.DropShortcutOff) != 1 {
		t.Errorf("%v", typesOf(got))
	}
}

// refresh keeps a peer in use until the node asks again for the shortcut to that peer, and returns
// the request.
func (n *node) refresh(nbma string) packet.Packet {
	n.w.t.Helper()
	use := &event.PeerUse{ID: peerAt(nbma)}
	n.uses[use.ID] = use
	for range 600 {
		before := len(n.sent)
		use.Out = n.w.now
		n.w.run(time.Second)
		for _, p := range n.sentSince(before) {
			if p.Type == packet.ResolutionRequest {
				return p
			}
		}
	}
	n.w.t.Fatalf("no request in ten minutes\n%s", n.w)
	return packet.Packet{}
}

// The spoke asks again for a shortcut in use at two thirds of the holding time. A refusal ends the
// shortcut.
func TestRefresh(t *testing.T) {
	for _, refused := range []bool{false, true} {
		n, hub := spokeAlone(t)
		n.from("192.0.2.12", "spoke2")
		hub.says(answerTo(
			only(t, hub.says(indicationOf(host1, host2))), 24, "10.255.0.12", "192.0.2.12",
		))
		expires := n.status().Shortcuts[0].Expires
		request := n.refresh("192.0.2.12")
		if left := expires.Sub(n.w.now); left < 160*time.Second || left > 200*time.Second {
			t.Fatalf("asked again %s before the end of 10 minutes", left)
		}
		reply := answerTo(request, 24, "10.255.0.12", "192.0.2.12")
		if refused {
			reply.CIEs = []packet.CIE{{Code: packet.CodeProhibited}}
		}
		hub.says(reply)
		if got := len(n.shortcuts) == 0; got != refused {
			t.Errorf("refused %v, ended %v", refused, got)
		}
		if !refused && !n.status().Shortcuts[0].Expires.After(expires) {
			t.Error("not prolonged")
		}
	}
}

// A router that knows no way does not end a shortcut: without the shortcut, the packets would go to
// that router. A refusal ends it, and so does whatever the router says that the shortcut leads to.
func TestWhoseNoEndsAShortcut(t *testing.T) {
	const hubNBMA, spoke2NBMA, spoke2Overlay = "192.0.2.1", "192.0.2.12", "10.255.0.12"
	nak := func(code packet.Code, responder packet.CIE) func(packet.Packet) packet.Packet {
		return func(p packet.Packet) packet.Packet {
			p.Type, p.CIEs = packet.ResolutionReply, []packet.CIE{{Code: code}}
			p.Extensions[0].CIEs = []packet.CIE{responder}
			return p
		}
	}
	fault := func(code packet.ErrorCode, of packet.CIE) func(packet.Packet) packet.Packet {
		return func(p packet.Packet) packet.Packet {
			e := errorAbout(encode(t, p), of.NBMA.String(), of.Protocol.String(), "10.255.0.11")
			e.ErrorCode = code
			return e
		}
	}
	theHub := packet.CIE{NBMA: addr(hubNBMA), Protocol: addr(hubOverlay)}
	spoke2 := packet.CIE{NBMA: addr(spoke2NBMA), Protocol: addr(spoke2Overlay)}
	for _, tt := range []struct {
		rule string
		from string
		says func(packet.Packet) packet.Packet
		ends bool
	}{
		{"the hub has no binding", hubNBMA, nak(packet.CodeNoBinding, theHub), false},
		{"the hub has no route", hubNBMA, fault(packet.ErrorProtocolUnreachable, theHub), false},
		{"the hub's route leads back", hubNBMA, fault(packet.ErrorLoop, theHub), false},
		{"the hubs' routes make a circle", hubNBMA, fault(packet.ErrorHopCount, theHub), false},
		{"the hub forbids it", hubNBMA, nak(packet.CodeProhibited, theHub), true},
		{"the hub has no room", hubNBMA, nak(packet.CodeInsufficientResources, theHub), true},
		{"the hub has another password", hubNBMA, fault(packet.ErrorAuthentication, theHub), true},
		{"the next hop has no binding", spoke2NBMA, nak(packet.CodeNoBinding, spoke2), true},
		{"the next hop has no binding, by way of the hub", hubNBMA,
			nak(packet.CodeNoBinding, spoke2), true},
		{"the next hop has no route, by way of the hub", hubNBMA,
			fault(packet.ErrorProtocolUnreachable, spoke2), true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			n, hub := spokeAlone(t)
			n.from(spoke2NBMA, "spoke2")
			hub.says(answerTo(
				only(t, hub.says(indicationOf(host1, host2))), 24, spoke2Overlay, spoke2NBMA,
			))
			request := n.refresh(spoke2NBMA)
			expires := n.status().Shortcuts[0].Expires
			sender{t, n, tt.from}.says(tt.says(request))
			if ended := len(n.shortcuts) == 0; ended != tt.ends {
				t.Fatalf("ended: %v, want %v; dropped %v", ended, tt.ends, n.engine.Stats().Dropped)
			}
			if tt.ends {
				return
			}
			hub.says(answerTo(request, 24, spoke2Overlay, spoke2NBMA))
			if !n.status().Shortcuts[0].Expires.After(expires) {
				t.Error("a later answer does not prolong it")
			}
		})
	}
}

// A refresh without an answer leaves the shortcut its holding time.
func TestUnansweredRefresh(t *testing.T) {
	n, hub := spokeAlone(t)
	n.from("192.0.2.12", "spoke2")
	hub.says(answerTo(
		only(t, hub.says(indicationOf(host1, host2))), 24, "10.255.0.12", "192.0.2.12",
	))
	use := &event.PeerUse{ID: peerAt("192.0.2.12")}
	n.uses[use.ID] = use
	for range 599 {
		use.Out = n.w.now
		n.w.run(time.Second)
	}
	if len(n.shortcuts) != 1 {
		t.Fatalf("ended early: %+v", n.last(output.NoticeShortcutDown))
	}
	n.w.run(time.Second)
	if len(n.shortcuts) != 0 {
		t.Error("outlives its holding time")
	}
}
