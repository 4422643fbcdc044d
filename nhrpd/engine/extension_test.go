package engine

import (
	"testing"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// manyExtensions returns extensions that no router here knows, in an unusual order.
func manyExtensions() []packet.Extension {
	return []packet.Extension{
		{Type: packet.ExtensionVendor, Data: []byte{0, 0, 12, 1}},
		{Type: 0x2a5, Data: []byte{9, 8, 7}},
		{Type: packet.ExtensionReverseTransit, Compulsory: true},
		{Type: packet.ExtensionVendor, Data: []byte{0, 0, 13}},
		{Type: packet.ExtensionNATAddress},
		{Type: packet.ExtensionResponder, Compulsory: true},
		{Type: 0x2a6},
	}
}

// replies returns this router's replies to a request of each kind with these extensions.
func replies(t *testing.T, extensions []packet.Extension) map[string]packet.Packet {
	hub := hubAlone(t)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	list := map[string]packet.Packet{}
	for name, p := range map[string]packet.Packet{
		"registration":       registrationFrom("192.0.2.11", "10.255.0.11"),
		"resolution":         requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.9"),
		"refused resolution": requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.77"),
		"purge":              purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.1", lan1),
	} {
		p.Extensions = extensions
		list[name] = only(t, spoke1.says(p))
	}
	return list
}

// RFC 2332 §5.2.2, §5.3 and §5.3.5: a reply has every extension of the request, known or not, in
// the same order. Unknown extensions are unchanged, and all vendor-private ones are there.
func TestRepliesKeepExtensions(t *testing.T) {
	for name, got := range replies(t, manyExtensions()) {
		if !got.Type.IsReply() {
			t.Errorf("%s: %s", name, got.Type)
		}
		want := manyExtensions()
		want[5].CIEs = []packet.CIE{
			{MTU: 1400, HoldingTime: 600, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")},
		}
		samePacket(t, packet.Packet{Extensions: got.Extensions}, packet.Packet{Extensions: want})
	}
}

// RFC 2332 §5.3: a reply has no extension that the request did not have.
func TestRepliesAddNoExtensions(t *testing.T) {
	for name, got := range replies(t, nil) {
		if len(got.Extensions) != 0 {
			t.Errorf("%s: %+v", name, got.Extensions)
		}
	}
}

// RFC 2332 §5.3: a transit NHS keeps the order of the extensions, and changes none that it does not
// know.
func TestTransitKeepsExtensions(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	p := requestFrom("192.0.2.11", "10.255.0.11", host2)
	p.Extensions = manyExtensions()
	got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
	p.HopCount--
	samePacket(t, got, p)
}

// RFC 2332 §5.3: a router that would answer a request but does not know a compulsory extension
// sends an error with the extension's offset. That holds for every router that answers: the one
// where the packets leave, the one with a static map, and the one that would refuse.
func TestUnknownCompulsoryExtensions(t *testing.T) {
	for name, p := range map[string]packet.Packet{
		"registration":              registrationFrom("192.0.2.11", "10.255.0.11"),
		"resolution for our LAN":    requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.9"),
		"resolution for a map":      requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.99"),
		"resolution without answer": requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.77"),
		"purge":                     purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.1", lan1),
	} {
		hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
			c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
		})
		hub.from("192.0.2.99", "static")
		if p.Type == packet.ResolutionRequest {
			p.Flags &^= packet.ResolutionAuthoritative
		}
		p.Extensions = append(manyExtensions(), packet.Extension{Type: 0x123, Compulsory: true})
		data, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := only(t, hub.from("192.0.2.11", "spoke1").saysBytes(data))
		if want := uint16(len(data) - 8); got.ErrorCode != packet.ErrorUnrecognizedExtension ||
			got.ErrorOffset != want {
			t.Errorf(
				"%s: %s %s at %d, want it at %d",
				name, got.Type, got.ErrorCode, got.ErrorOffset, want,
			)
		}
		if dropped(hub, overlay.DropUnknownExtension) != 1 ||
			len(hub.engine.ifaces["gre1"].Responder.Answers) != 0 ||
			len(hub.status().Bindings) != 1 {
			t.Errorf("%s: acted upon all the same", name)
		}
	}
}

// RFC 2332 §5.2.2: a refusal is a single CIE with the code, and nothing else is in it.
func TestRefusalsAreEmpty(t *testing.T) {
	hub := hubAlone(t)
	got := only(
		t,
		hub.from("192.0.2.11", "spoke1").says(requestFrom(
			"192.0.2.11", "10.255.0.11", "10.255.0.77",
		)),
	)
	samePacket(t, packet.Packet{CIEs: got.CIEs}, packet.Packet{CIEs: []packet.CIE{
		{Code: packet.CodeNoBinding},
	}})
	if got.Flags&packet.ResolutionDestStable != 0 {
		t.Error("stable, though there is nothing")
	}
}

// RFC 2332 §5.2.1: a request with U set asks for one host's binding. The answer is for that host
// only, and has U set.
func TestUniqueResolution(t *testing.T) {
	n, _ := spokeAlone(t)
	p := requestFrom("192.0.2.12", "10.255.0.12", host1)
	p.Flags |= packet.ResolutionUnique
	got := only(t, n.from("192.0.2.12", "spoke2").says(p))
	if len(got.CIEs) != 1 || got.CIEs[0].PrefixLength != 32 ||
		got.Flags&packet.ResolutionUnique == 0 {
		t.Errorf("%+v %+v", got.Flags, got.CIEs)
	}
	before := len(n.sent)
	n.addRoutes(viaTunnel("172.30.0.0/16", "10.255.0.1"))
	if len(n.sent) != before {
		t.Error("taken back by a route elsewhere")
	}
}

// RFC 2332 §5.2.2: Q and S are the requester's; A and D say that the answer is the responder's own
// word. An answer from a static map has neither A nor D.
func TestReplyFlags(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
	})
	hub.from("192.0.2.99", "static")
	spoke1 := hub.from("192.0.2.11", "spoke1")
	const a, d = packet.ResolutionAuthoritative, packet.ResolutionDestStable
	for _, copied := range []packet.Flags{
		0, packet.ResolutionRouter, packet.ResolutionSourceStable,
	} {
		p := requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.9")
		p.Flags = copied
		if got := only(t, spoke1.says(p)).Flags; got != copied|a|d {
			t.Errorf("asked with %x, own answer %x", copied, got)
		}
		p.DestProtocol, p.Flags = addr("10.255.0.99"), copied|d
		if got := only(t, spoke1.says(p)).Flags; got != copied {
			t.Errorf("asked with %x, answer from the map %x", copied, got)
		}
	}
}

// RFC 2332 §2.2: a request that insists on the router's own word is not answered from a static map.
func TestMapIsNotAuthoritative(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
	})
	hub.from("192.0.2.99", "static")
	got := only(
		t,
		hub.from("192.0.2.11", "spoke1").says(requestFrom(
			"192.0.2.11", "10.255.0.11", "10.255.0.99",
		)),
	)
	if got.Type != packet.ResolutionRequest ||
		hub.sent[len(hub.sent)-1].to != peerAt("192.0.2.99") {
		t.Errorf("%s", got.Type)
	}
}
