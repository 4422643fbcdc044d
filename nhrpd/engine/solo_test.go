package engine

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// sender is a router that the test plays itself: the test writes out each packet of it.
type sender struct {
	t    testing.TB
	to   *node
	nbma string
}

// from makes an SA with a router that exists only in the test.
func (n *node) from(nbma, identity string) sender {
	n.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerAt(nbma), Identity: identity},
		},
	)
	return sender{n.w.t, n, nbma}
}

// says hands a packet to the node and returns the packets that the node sends because of it.
func (s sender) says(p packet.Packet) []packet.Packet {
	s.t.Helper()
	if p.HopCount == 0 {
		p.HopCount = 255
	}
	data, err := p.Append(nil)
	if err != nil {
		s.t.Fatalf("%+v: %v", p, err)
	}
	return s.saysBytes(data)
}

// saysBytes does the same with an encoded packet, which may be malformed.
func (s sender) saysBytes(data []byte) []packet.Packet {
	s.t.Helper()
	before := len(s.to.sent)
	s.to.handle(event.PacketReceived{Interface: "gre1", From: peerAt(s.nbma), Data: data})
	return s.to.sentSince(before)
}

// sentSince returns the packets that the node sent after its first ones, before in number.
func (n *node) sentSince(before int) []packet.Packet {
	n.w.t.Helper()
	var list []packet.Packet
	for _, s := range n.sent[before:] {
		var p packet.Packet
		if err := p.Parse(s.data); err != nil {
			n.w.t.Fatalf("%s sent what cannot be read: %v", n.name, err)
		}
		list = append(list, p)
	}
	return list
}

// only returns the single packet of a list. The test fails if the list has another length.
func only(t testing.TB, list []packet.Packet) packet.Packet {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%d packets sent, want 1: %v", len(list), typesOf(list))
	}
	return list[0]
}

// typesOf returns the names of the packets' types.
func typesOf(list []packet.Packet) []string {
	var types []string
	for i := range list {
		types = append(types, list[i].Type.String())
	}
	return types
}

// samePacket fails the test if two packets differ in what is on the wire.
func samePacket(t testing.TB, got, want packet.Packet) {
	t.Helper()
	if d := cmp.Diff(
		want, got,
		cmpopts.IgnoreUnexported(packet.Packet{}, packet.CIE{}, packet.Extension{}),
		cmpopts.EquateComparable(addr("0.0.0.0")), cmpopts.EquateEmpty(),
	); d != "" {
		t.Errorf("packet differs (- want, + got):\n%s", d)
	}
}

// registrationFrom returns a registration as Cisco's routers send it.
func registrationFrom(nbma, overlay string) packet.Packet {
	hub := hub4
	if addr(nbma).Is6() {
		hub = hub6
	}
	return packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       255,
		Flags:          packet.FlagNAT,
		RequestID:      7,
		SourceNBMA:     addr(nbma),
		SourceProtocol: addr(overlay),
		DestProtocol:   addr(overlay),
		CIEs:           []packet.CIE{{PrefixLength: 32, MTU: 17916, HoldingTime: 600}},
		Extensions: []packet.Extension{
			{Type: packet.ExtensionResponder, Compulsory: true},
			{Type: packet.ExtensionForwardTransit, Compulsory: true},
			{Type: packet.ExtensionReverseTransit, Compulsory: true},
			{
				Type: packet.ExtensionNATAddress,
				CIEs: []packet.CIE{
					{PrefixLength: 32, NBMA: addr(hub), Protocol: addr("0.0.0.0")},
				},
			},
		},
	}
}

// requestFrom returns a resolution request for dest.
func requestFrom(nbma, overlay, dest string) packet.Packet {
	return packet.Packet{
		Type:     packet.ResolutionRequest,
		HopCount: 255,
		Flags: packet.ResolutionRouter | packet.ResolutionAuthoritative |
			packet.ResolutionSourceStable | packet.FlagNAT,
		RequestID:      9,
		SourceNBMA:     addr(nbma),
		SourceProtocol: addr(overlay),
		DestProtocol:   addr(dest),
		CIEs:           []packet.CIE{{HoldingTime: 600}},
		Extensions: []packet.Extension{
			{Type: packet.ExtensionResponder, Compulsory: true},
			{Type: packet.ExtensionForwardTransit, Compulsory: true},
			{Type: packet.ExtensionReverseTransit, Compulsory: true},
			{Type: packet.ExtensionNATAddress},
		},
	}
}

// hubAlone returns a hub whose clients the test plays.
func hubAlone(t testing.TB, change ...func(*overlay.InterfaceConfig)) *node {
	cfg := hubConfig()
	for _, f := range change {
		f(&cfg)
	}
	n := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	n.addRoutes(viaTunnel(lan1, "10.255.0.11"), viaTunnel(lan2, "10.255.0.12"))
	return n
}

// spokeAlone returns a spoke that is registered with its hub, and the hub, which the test plays.
func spokeAlone(t testing.TB, change ...func(*overlay.InterfaceConfig)) (*node, sender) {
	t.Helper()
	cfg := spokeConfig("10.255.0.11/24")
	for _, f := range change {
		f(&cfg)
	}
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
	hub := n.from("192.0.2.1", "hub")
	hub.says(acceptance(only(t, n.sentSince(0))))
	if !n.registered() {
		t.Fatalf("not registered: %+v", n.status())
	}
	return n, hub
}

// acceptance returns the hub's reply to a registration.
func acceptance(p packet.Packet) packet.Packet {
	p.Type = packet.RegistrationReply
	p.DestProtocol = addr("10.255.0.1")
	return p
}

// indicationOf returns the hub's traffic indication for a packet that took a detour.
func indicationOf(source, dest string) packet.Packet {
	return packet.Packet{
		Type:           packet.TrafficIndication,
		HopCount:       255,
		SourceNBMA:     addr("192.0.2.1"),
		SourceProtocol: addr("10.255.0.1"),
		DestProtocol:   addr(source),
		Quoted:         ipv4(addr(source), addr(dest)),
	}
}

// answerTo returns the answer to a resolution request, with a prefix behind a router.
func answerTo(request packet.Packet, bits uint8, overlay, nbma string) packet.Packet {
	p := request
	p.Type = packet.ResolutionReply
	p.CIEs = []packet.CIE{
		{PrefixLength: bits, HoldingTime: 600, NBMA: addr(nbma), Protocol: addr(overlay)},
	}
	return p
}

// dropped returns how many packets the node dropped for that reason.
func dropped(n *node, r overlay.DropReason) uint64 { return n.engine.Stats().Dropped[r.String()] }
