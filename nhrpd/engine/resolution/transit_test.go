package resolution

import (
	"bytes"
	"testing"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// onlySent returns the only packet that the hub sent.
func (h *hub) onlySent(t *testing.T) sent {
	t.Helper()
	list := h.sent(t)
	if len(list) != 1 {
		t.Fatalf("want one packet sent, have %d", len(list))
	}
	return list[0]
}

// record returns a packet with a record of a router in the extension of a type.
func record(p packet.Packet, in packet.ExtensionType, protocol string) packet.Packet {
	p.Extension(in).CIEs = []packet.CIE{{NBMA: addr(hubNBMA), Protocol: addr(protocol)}}
	return p
}

// as returns a packet as another type.
func as(p packet.Packet, of packet.Type) packet.Packet {
	p.Type = of
	return p
}

// A message goes on along the route, with this router's record and a smaller hop count.
func TestForward(t *testing.T) {
	h := newHub(t)
	m := h.message(t, spoke1NBMA, request(spoke1NBMA, spoke1Protocol, "172.16.2.10"))
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	got := h.onlySent(t)
	if got.Type != packet.ResolutionRequest || got.to != addr(spoke2NBMA) ||
		got.HopCount != overlay.HopCount-1 {
		t.Errorf("%s to %s with hop count %d", got.Type, got.to, got.HopCount)
	}
	cies := got.Extension(packet.ExtensionForwardTransit).CIEs
	if len(cies) != 1 || cies[0].Protocol != addr(hubProtocol) {
		t.Errorf("want the record of this router, have %+v", cies)
	}
}

// A router that does not understand a compulsory extension forwards it, and adds no record.
func TestForwardUnknownCompulsory(t *testing.T) {
	h := newHub(t)
	p := request(spoke1NBMA, spoke1Protocol, "172.16.2.10")
	p.Extensions = append(p.Extensions, packet.Extension{Type: 77, Compulsory: true})
	m := h.message(t, spoke1NBMA, p)
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	got := h.onlySent(t)
	if cies := got.Extension(packet.ExtensionForwardTransit).CIEs; len(cies) != 0 {
		t.Errorf("want no record, have %+v", cies)
	}
}

// What cannot go on is dropped for a reason, and the source gets an Error Indication.
func TestTransitRejects(t *testing.T) {
	ask := request(spoke1NBMA, spoke1Protocol, "172.16.2.10")
	purge := as(ask, packet.PurgeRequest)
	reply := as(request(spoke1NBMA, spoke2Protocol, spoke1Protocol), packet.ResolutionReply)
	lastHop, unreachable, nobody, long := ask, ask, purge, ask
	lastHop.HopCount = 1
	unreachable.DestProtocol = addr("198.51.100.1")
	nobody.DestProtocol = addr("172.16.7.10")
	long.Extensions = append(append([]packet.Extension{}, ask.Extensions...),
		packet.Extension{Type: packet.ExtensionVendor, Data: bytes.Repeat([]byte{7}, 1400)})
	back := ask
	back.DestProtocol = addr("172.16.1.10")
	clone := func(p packet.Packet) packet.Packet {
		p.Extensions = append([]packet.Extension{}, p.Extensions...)
		return p
	}
	for _, tt := range []struct {
		name string
		p    packet.Packet
		to   string
		why  overlay.DropReason
		code packet.ErrorCode
	}{
		{"no route", unreachable, "198.51.100.1",
			overlay.DropUnreachable, packet.ErrorProtocolUnreachable},
		{"out of the DMVPN", purge, "172.16.0.10",
			overlay.DropUnreachable, packet.ErrorProtocolUnreachable},
		{"nobody has the next hop", nobody, "172.16.7.10",
			overlay.DropNoBinding, packet.ErrorProtocolUnreachable},
		{"the last hop", lastHop, "172.16.2.10", overlay.DropHopCount, packet.ErrorHopCount},
		{"back to the sender", back, "172.16.1.10", overlay.DropLoop, packet.ErrorLoop},
		{"it was here before", record(clone(ask), packet.ExtensionForwardTransit, hubProtocol),
			"172.16.2.10", overlay.DropLoop, packet.ErrorLoop},
		{"a reply of this router", record(clone(reply), packet.ExtensionResponder, hubProtocol),
			spoke2Protocol, overlay.DropLoop, packet.ErrorLoop},
		{"longer than the MTU", long, "172.16.2.10",
			overlay.DropTooLong, packet.ErrorSDUSizeExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t)
			m := h.message(t, spoke1NBMA, tt.p)
			h.Transit.Forward(m, addr(tt.to), packet.ExtensionForwardTransit)
			got := h.onlySent(t)
			if got.Type != packet.ErrorIndication || got.ErrorCode != tt.code {
				t.Errorf("want %s sent, have %s %s", tt.code, got.Type, got.ErrorCode)
			}
			if h.dropped(tt.why) != 1 {
				t.Errorf("not dropped as %q: %v", tt.why, h.Stats().Dropped)
			}
		})
	}
}

// A record of another router, or one in the Responder extension of a request, is no loop.
func TestRecordsThatAreNoLoop(t *testing.T) {
	ask := func() packet.Packet { return request(spoke1NBMA, spoke1Protocol, "172.16.2.10") }
	for name, p := range map[string]packet.Packet{
		"of another router":          record(ask(), packet.ExtensionForwardTransit, upperProtocol),
		"in the Responder extension": record(ask(), packet.ExtensionResponder, hubProtocol),
	} {
		h := newHub(t)
		m := h.message(t, spoke1NBMA, p)
		h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
		if got := h.onlySent(t); got.Type != packet.ResolutionRequest {
			t.Errorf("a record %s: want the request forwarded, have %s", name, got.Type)
		}
	}
}

// A Resolution Request for a next hop that nobody has gets a NAK in place of an error.
func TestTransitRefusesWithoutBinding(t *testing.T) {
	h := newHub(t)
	m := h.message(t, spoke1NBMA, request(spoke1NBMA, spoke1Protocol, "172.16.7.10"))
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	got := h.onlySent(t)
	if got.Type != packet.ResolutionReply || got.CIEs[0].Code != packet.CodeNoBinding ||
		h.dropped(overlay.DropNoBinding) != 1 {
		t.Errorf("want a NAK with %s, have %s %+v", packet.CodeNoBinding, got.Type, got.CIEs)
	}
}

// What an NHS passes on is not sent back to that NHS, even though it is the only way.
func TestNothingGoesBackToTheNHS(t *testing.T) {
	h := newHub(t)
	h.registered = true
	m := h.message(t, upperNBMA, request("192.0.2.77", unknownProtocol, "172.16.7.10"))
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	if got := h.onlySent(t); got.Type != packet.ResolutionReply ||
		got.CIEs[0].Code != packet.CodeNoBinding {
		t.Errorf("from the NHS: want a NAK, have %s to %s", got.Type, got.to)
	}
	h.Out.Reset()
	m = h.message(t, spoke1NBMA, request(spoke1NBMA, spoke1Protocol, "172.16.7.10"))
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	if got := h.onlySent(t); got.Type != packet.ResolutionRequest || got.to != addr(upperNBMA) {
		t.Errorf("from a client: want the request sent to the NHS, have %s to %s", got.Type, got.to)
	}
}

// An Error Indication that cannot go on causes no other one.
func TestNoErrorAboutAnError(t *testing.T) {
	h := newHub(t)
	p := packet.Packet{Type: packet.ErrorIndication, HopCount: 1, SourceNBMA: addr(spoke1NBMA),
		SourceProtocol: addr(spoke1Protocol), DestProtocol: addr(spoke2Protocol),
		Quoted: make([]byte, 28)}
	m := h.message(t, spoke1NBMA, p)
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionReverseTransit)
	if got := h.sent(t); len(got) != 0 || h.dropped(overlay.DropHopCount) != 1 {
		t.Errorf("%d packets sent, dropped %v", len(got), h.Stats().Dropped)
	}
}

// The error goes to the source by the route, and not back the way that the packet came.
func TestErrorFollowsTheRoute(t *testing.T) {
	h := newHub(t)
	p := request(spoke2NBMA, spoke2Protocol, "198.51.100.1")
	m := h.message(t, upperNBMA, p)
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	if got := h.onlySent(t); got.to != addr(spoke2NBMA) {
		t.Errorf("want the error sent to the source at %s, have %s", spoke2NBMA, got.to)
	}
}

// Nobody passes on packets in the name of a router that the hub knows, except the NHS and the
// router with a static map.
func TestTransitDropsForged(t *testing.T) {
	purge := as(request(spoke1NBMA, spoke1Protocol, spoke2Protocol), packet.PurgeRequest)
	purgeReply := as(request(spoke2NBMA, spoke2Protocol, spoke1Protocol), packet.PurgeReply)
	resolutionReply := as(request(spoke2NBMA, spoke2Protocol, spoke1Protocol),
		packet.ResolutionReply)
	anError := packet.Packet{Type: packet.ErrorIndication, HopCount: 9,
		SourceNBMA: addr(spoke1NBMA), SourceProtocol: addr(spoke1Protocol),
		DestProtocol: addr(spoke2Protocol), Quoted: make([]byte, 28)}
	ourError := anError
	ourError.SourceNBMA, ourError.SourceProtocol = addr(hubNBMA), addr(unknownProtocol)
	for _, tt := range []struct {
		name, from string
		p          packet.Packet
		forged     bool
	}{
		{"a purge of another's", malloryNBMA, purge, true},
		{"a purge of its own", spoke1NBMA, purge, false},
		{"a purge by the NHS", upperNBMA, purge, false},
		{"another's Purge Reply", malloryNBMA, purgeReply, true},
		{"its own Purge Reply", spoke1NBMA, purgeReply, false},
		{"a Resolution Reply", malloryNBMA, resolutionReply, false},
		{"another's error", malloryNBMA, anError, true},
		{"its own error", spoke1NBMA, anError, false},
		{"an error with our NBMA address", malloryNBMA, ourError, true},
		{"an error with our NBMA address, by the NHS", upperNBMA, ourError, true},
	} {
		h := newHub(t)
		m := h.message(t, tt.from, tt.p)
		h.Transit.Forward(m, addr(spoke2Protocol), packet.ExtensionReverseTransit)
		passed, dropped := len(h.sent(t)), h.dropped(overlay.DropNotOwner)
		if tt.forged && (passed != 0 || dropped != 1) ||
			!tt.forged && (passed != 1 || dropped != 0) {
			t.Errorf("%s: forged %t, but %d packets went on and %d were dropped",
				tt.name, tt.forged, passed, dropped)
		}
	}
}

// A Resolution Request whose answer would not reach the router that it names is refused.
func TestTransitRefusesToDivertAnAnswer(t *testing.T) {
	h := newHub(t)
	m := h.message(t, malloryNBMA, request(malloryNBMA, spoke1Protocol, "172.16.2.10"))
	h.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	if got := h.onlySent(t); got.Type != packet.ResolutionReply || got.to != addr(malloryNBMA) ||
		got.CIEs[0].Code != packet.CodeProhibited {
		t.Errorf("want a NAK with %s, have %s %+v", packet.CodeProhibited, got.Type, got.CIEs)
	}
}
