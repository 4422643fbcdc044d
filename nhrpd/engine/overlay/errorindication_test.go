package overlay

import (
	"bytes"
	"testing"

	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// sentError returns the only packet that an interface sent, which has to be an Error Indication.
func sentError(t *testing.T, ifc *Interface) packet.Packet {
	t.Helper()
	if n := len(ifc.Out.Packets); n != 1 {
		t.Fatalf("want one Error Indication sent, have %d packets", n)
	}
	var p packet.Packet
	if err := p.Parse(ifc.Out.Packets[0].Data); err != nil {
		t.Fatal(err)
	}
	if p.Type != packet.ErrorIndication {
		t.Fatalf("want an Error Indication, have a %s", p.Type)
	}
	return p
}

// An Error Indication quotes the whole packet, as long as the tunnel's MTU allows.
func TestErrorQuotesThePacket(t *testing.T) {
	long := func(p *packet.Packet) {
		p.Extensions = []packet.Extension{
			{Type: packet.ExtensionVendor, Data: bytes.Repeat([]byte{7}, 1200)}}
	}
	for _, tt := range []struct {
		name     string
		mtu      uint16
		change   func(*packet.Packet)
		complete bool
	}{
		{"a short packet", 1400, func(*packet.Packet) {}, true},
		{"a long packet", 1400, long, true},
		{"a packet that fits no more", 1200, long, false},
		{"a long packet where no MTU is stated", 0, long, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ifc := hub(func(c *InterfaceConfig) { c.MTU = tt.mtu })
			m := request(t, ifc, tt.change)
			ifc.SendError(m, packet.ErrorLoop, 30)
			p, size := sentError(t, ifc), len(ifc.Out.Packets[0].Data)
			if complete := bytes.Equal(p.Quoted, m.Raw); complete != tt.complete ||
				!bytes.HasPrefix(m.Raw, p.Quoted) {
				t.Errorf("%d of %d bytes quoted", len(p.Quoted), len(m.Raw))
			}
			if !tt.complete && size != int(tt.mtu) {
				t.Errorf("the error has %d bytes, want all %d of the MTU used", size, tt.mtu)
			}
			if size > len(m.Raw)+76 {
				t.Errorf("an error of %d bytes for a packet of %d bytes", size, len(m.Raw))
			}
			if p.ErrorCode != packet.ErrorLoop || p.ErrorOffset != 30 {
				t.Errorf("want %s at 30, have %s at %d",
					packet.ErrorLoop, p.ErrorCode, p.ErrorOffset)
			}
		})
	}
}

// An error that cannot show which request it is about is not sent.
func TestErrorWithoutRoomIsNotSent(t *testing.T) {
	header := FixedHeaderLen + mandatoryLen + 3*4
	for mtu, want := range map[int]int{header + leastQuoted - 1: 0, header + leastQuoted: 1} {
		ifc := hub(func(c *InterfaceConfig) { c.MTU = uint16(mtu) })
		ifc.SendError(request(t, ifc), packet.ErrorLoop, 0)
		if got := len(ifc.Out.Packets); got != want ||
			ifc.dropped(dropErrorLimit) != uint64(1-want) {
			t.Errorf("MTU %d: want %d errors sent, have %d, and %d dropped",
				mtu, want, got, ifc.dropped(dropErrorLimit))
		}
	}
}

// An error names the source of the packet as its destination, unless that cannot be a destination.
func TestErrorDestination(t *testing.T) {
	for source, want := range map[string]string{
		"10.255.0.11": "10.255.0.11",
		"10.255.0.1":  "invalid IP",
		"fd00::11":    "invalid IP",
	} {
		ifc := hub()
		m := request(t, ifc, func(p *packet.Packet) {
			p.SourceProtocol = addr(source)
			if source == "fd00::11" {
				p.DestProtocol = addr("fd00::12")
			}
		})
		ifc.SendError(m, packet.ErrorLoop, 0)
		if got := sentError(t, ifc).DestProtocol; got.String() != want {
			t.Errorf("error about a packet of %s: want destination %s, have %s", source, want, got)
		}
	}
}

// A router that causes more errors than it may gets no more for a while. Others do.
func TestErrorsAreLimited(t *testing.T) {
	ifc := hub()
	m := request(t, ifc)
	for range 100 {
		ifc.SendError(m, packet.ErrorLoop, 0)
	}
	sent := len(ifc.Out.Packets)
	if want := ifc.Config.Limits.Errors/4 + 1; sent != want ||
		ifc.dropped(dropErrorLimit) != uint64(100-want) {
		t.Errorf("100 packets at once: want %d errors, have %d, and %d not sent",
			want, sent, ifc.dropped(dropErrorLimit))
	}
	m.From = peerid.At(addr("192.0.2.12"))
	ifc.SendError(m, packet.ErrorLoop, 0)
	if len(ifc.Out.Packets) != sent+1 {
		t.Error("another router gets no error")
	}
}

// The offset of the address that a packet travels to is that of the source in a reply, and that of
// the destination otherwise.
func TestAddressOffset(t *testing.T) {
	ifc := hub()
	for _, tt := range []struct {
		of    packet.Type
		names func(*Message) [4]byte
	}{
		{packet.ResolutionRequest, func(m *Message) [4]byte { return m.DestProtocol.As4() }},
		{packet.ResolutionReply, func(m *Message) [4]byte { return m.SourceProtocol.As4() }},
	} {
		m := request(t, ifc, func(p *packet.Packet) { p.Type = tt.of })
		want := tt.names(m)
		if at := m.AddressOffset(); !bytes.HasPrefix(m.Raw[at:], want[:]) {
			t.Errorf("%s: no %v at %d", tt.of, want, at)
		}
	}
}

// HopCountOffset is where the hop count is.
func TestHopCountOffset(t *testing.T) {
	m := request(t, hub(), func(p *packet.Packet) { p.HopCount = 77 })
	if got := m.Raw[HopCountOffset]; got != 77 {
		t.Errorf("want the hop count 77, have %d", got)
	}
}
