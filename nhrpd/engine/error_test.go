package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// RFC 2332 §5.2.7: an error goes to the station that sent the packet. For a reply that is not the
// header's source, which is the requester.
func TestErrorsAboutReplies(t *testing.T) {
	responder := func(p *packet.Packet) {
		p.Extensions[0].CIEs = []packet.CIE{
			{NBMA: addr("192.0.2.77"), Protocol: addr("10.255.0.77")},
		}
	}
	for _, tt := range []struct {
		rule   string
		change func(*packet.Packet)
		want   netip.Addr
	}{
		{"named as the responder", responder, addr("10.255.0.77")},
		{"named as the next hop", func(*packet.Packet) {}, addr("10.255.0.12")},
		{
			"not named",
			func(p *packet.Packet) { p.CIEs = []packet.CIE{{Code: packet.CodeNoBinding}} },
			netip.Addr{},
		},
		{"a registration reply", func(p *packet.Packet) {
			p.Type, p.DestProtocol = packet.RegistrationReply, addr("10.255.0.1")
		}, addr("10.255.0.1")},
		{"a reply that has us as the responder", func(p *packet.Packet) {
			p.Extensions[0].CIEs = []packet.CIE{
				{NBMA: addr("192.0.2.11"), Protocol: addr("10.255.0.11")},
			}
		}, netip.Addr{}},
	} {
		n, _ := spokeAlone(t)
		p := answerTo(
			requestFrom("192.0.2.11", "10.255.0.11", host2), 24, "10.255.0.12", "192.0.2.12",
		)
		tt.change(&p)
		p.Extensions = append(p.Extensions, packet.PasswordExtension("nobody wants one"))
		got := only(t, n.from("192.0.2.12", "spoke2").says(p))
		if got.ErrorCode != packet.ErrorAuthentication || got.DestProtocol != tt.want {
			t.Errorf("%s: %s for %s, want %s", tt.rule, got.ErrorCode, got.DestProtocol, tt.want)
		}
	}
}

// RFC 2332 §5.2.2: an answer without a question is an error, and its sender hears of it.
func TestUnsolicitedResolutionReply(t *testing.T) {
	n, _ := spokeAlone(t)
	spoke2 := n.from("192.0.2.12", "spoke2")
	p := answerTo(requestFrom("192.0.2.11", "10.255.0.11", host2), 24, "10.255.0.12", "192.0.2.12")
	got := only(t, spoke2.says(p))
	if got.ErrorCode != packet.ErrorInvalidResolutionReply ||
		got.DestProtocol != addr("10.255.0.12") || dropped(n, overlay.DropUnsolicited) != 1 {
		t.Errorf("%+v", got)
	}
	if len(n.shortcuts)+len(n.status().Shortcuts) != 0 {
		t.Errorf("left behind %+v", n.status().Shortcuts)
	}
}

// RFC 2332 §5.2.7: the offset in an error is that of the fault.
func TestErrorOffsets(t *testing.T) {
	loop := packet.CIE{NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")}
	for _, tt := range []struct {
		rule   string
		change func(*packet.Packet)
		code   packet.ErrorCode
		offset uint16
	}{
		{"the hop count", func(p *packet.Packet) { p.HopCount = 1 }, packet.ErrorHopCount, 9},
		{
			"the destination", func(p *packet.Packet) { p.DestProtocol = addr("203.0.113.1") },
			packet.ErrorProtocolUnreachable, 36,
		},
		{
			"our record", func(p *packet.Packet) { p.Extensions[1].CIEs = []packet.CIE{loop} },
			packet.ErrorLoop, 56,
		},
		{"the password", func(p *packet.Packet) {
			p.Extensions = append(p.Extensions[:2], packet.PasswordExtension("guess"))
		}, packet.ErrorAuthentication, 60},
	} {
		hub := hubAlone(t)
		hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
		p := requestFrom("192.0.2.11", "10.255.0.11", host2)
		tt.change(&p)
		got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
		if got.ErrorCode != tt.code || got.ErrorOffset != tt.offset {
			t.Errorf(
				"%s: %s at %d, want %s at %d",
				tt.rule, got.ErrorCode, got.ErrorOffset, tt.code, tt.offset,
			)
		}
	}
}

// RFC 2332 §5.2.7, code 8: a transit NHS drops a packet that has become too long for the tunnel,
// and tells its source.
func TestLongerThanTheTunnel(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.MTU = 600 })
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	spoke1 := hub.from("192.0.2.11", "spoke1")
	p := requestFrom("192.0.2.11", "10.255.0.11", host2)
	data, _ := p.Append(nil)
	const record, header = 20, 4
	room := 600 - len(data) - record - header
	p.Extensions = append(p.Extensions, packet.Extension{
		Type: packet.ExtensionVendor,
		Data: make([]byte, room),
	})
	if got := only(t, spoke1.says(p)); got.Type != packet.ResolutionRequest ||
		len(hub.sent[len(hub.sent)-1].data) != 600 {
		t.Fatalf("%s of %d bytes", got.Type, len(hub.sent[len(hub.sent)-1].data))
	}
	p.Extensions[4].Data = make([]byte, room+1)
	if got := only(t, spoke1.says(p)); got.ErrorCode != packet.ErrorSDUSizeExceeded ||
		dropped(hub, overlay.DropTooLong) != 1 {
		t.Errorf("%s %s", got.Type, got.ErrorCode)
	}
	p.Extensions[4].Data = make([]byte, 2000)
	if got := only(t, spoke1.says(p)); got.ErrorCode != packet.ErrorSDUSizeExceeded ||
		len(hub.sent[len(hub.sent)-1].data) > 600 {
		t.Errorf("%s %s, %d bytes", got.Type, got.ErrorCode, len(hub.sent[len(hub.sent)-1].data))
	}
}

// RFC 2332 §5.2.7: an error has no extensions, and one that is passed on gets none.
func TestErrorsHaveNoExtensions(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Authentication = "secret" })
	spoke2 := registrationFrom("192.0.2.12", "10.255.0.12")
	spoke2.Extensions = append(spoke2.Extensions, packet.PasswordExtension("secret"))
	hub.from("192.0.2.12", "spoke2").says(spoke2)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	if got := only(
		t, spoke1.says(requestFrom("192.0.2.11", "10.255.0.11", host2)),
	); got.Type != packet.ErrorIndication || len(got.Extensions) != 0 {
		t.Errorf("our own: %+v", got.Extensions)
	}
	p := packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       255,
		SourceNBMA:     addr("192.0.2.11"),
		SourceProtocol: addr("10.255.0.11"),
		DestProtocol:   addr("10.255.0.12"),
		ErrorCode:      packet.ErrorLoop,
		Quoted:         make([]byte, 40),
	}
	if got := only(t, spoke1.says(p)); len(got.Extensions) != 0 || got.HopCount != 254 {
		t.Errorf("somebody else's: %+v", got.Extensions)
	}
}

// A spoke whose registrations get an error shows that error, however often it tries. It does not
// show that it has no answer.
func TestAnErrorIsAnAnswer(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	answered := 0
	for range 300 {
		for _, request := range n.sent[answered:] {
			answered++
			hub.says(packet.Packet{
				Type:           packet.ErrorIndication,
				HopCount:       255,
				SourceNBMA:     addr("192.0.2.1"),
				SourceProtocol: addr("10.255.0.1"),
				DestProtocol:   addr("10.255.0.11"),
				ErrorCode:      packet.ErrorAuthentication,
				Quoted:         request.data,
			})
		}
		if st := n.status().NHS[0]; !strings.Contains(st.Error, "its NHRP password is not ours") {
			t.Fatalf("after %d requests: %+v", answered, st)
		}
		n.w.run(time.Second)
	}
	if answered <= 2*client.TriesPerAddr || n.has(output.NoticeUnanswered) != 0 {
		t.Errorf(
			"%d requests, told %d times that there is no answer",
			answered,
			n.has(output.NoticeUnanswered),
		)
	}
}
