package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what a packet on the underlay is.
type Kind uint8

// The kinds of packets. Other is every packet that is none of the rest, such as a ping or a NAT
// keepalive.
const (
	Other    Kind = iota
	IKE           // UDP port 500, or 4500 with the non-ESP marker
	ESP           // IP protocol 50
	ESPinUDP      // ESP in UDP port 4500 (RFC 3948)
	GRE           // IP protocol 47 without IPsec
)

// String returns the name of a kind.
func (k Kind) String() string {
	switch k {
	case IKE:
		return "IKE"
	case ESP:
		return "ESP"
	case ESPinUDP:
		return "ESP in UDP"
	case GRE:
		return "clear GRE"
	}
	return "other"
}

// Packet is an IP packet that a capture saw.
type Packet struct {
	Kind     Kind
	At       time.Time // when the kernel took the packet
	Src, Dst netip.Addr
	Link     netip.Addr // on a tunnel: the outer source of a received packet
	Ether    [6]byte    // on Ethernet: the source, which a forged IP header does not change
	Sent     bool       // the captured device sent the packet; false: it received the packet
	Length   int        // in bytes, from the IP header on
	SPI      uint32     // of an ESP packet, in UDP or not
	GREProto uint16     // payload type of a GRE packet: 0x0800 data, 0x2001 NHRP
	Echo     Echo       // of an ICMP echo message
}

// Echo is what an ICMP echo message says. It is zero for other packets.
type Echo struct {
	Reply  bool
	ID     uint16 // of the flow
	Number uint32 // of the request in its flow, from 0 on
}

// String returns a packet's kind, addresses and length.
func (p Packet) String() string {
	return fmt.Sprintf("%s %s -> %s, %d bytes", p.Kind, p.Src, p.Dst, p.Length)
}

// classify reads a packet from its network header on. It returns false for a packet that is not IP.
func classify(etherType uint16, data []byte) (Packet, bool) {
	switch etherType {
	case unix.ETH_P_IP:
		return classify4(data)
	case unix.ETH_P_IPV6:
		return classify6(data)
	}
	return Packet{}, false
}

// classify4 is classify for IPv4.
func classify4(data []byte) (Packet, bool) {
	if len(data) < 20 || data[0]>>4 != 4 {
		return Packet{}, false
	}
	p := Packet{
		Src: netip.AddrFrom4([4]byte(data[12:16])),
		Dst: netip.AddrFrom4([4]byte(data[16:20])),
	}
	payload := data[min(int(data[0]&15)*4, len(data)):]
	if fragment := binary.BigEndian.Uint16(data[6:]) & 0x1fff; fragment != 0 {
		payload = nil // a later fragment has no transport header: only the protocol is known
	}
	p.read(data[9], payload)
	return p, true
}

// classify6 is classify for IPv6.
func classify6(data []byte) (Packet, bool) {
	if len(data) < 40 || data[0]>>4 != 6 {
		return Packet{}, false
	}
	p := Packet{
		Src: netip.AddrFrom16([16]byte(data[8:24])),
		Dst: netip.AddrFrom16([16]byte(data[24:40])),
	}
	proto, payload := data[6], data[40:]
	if proto == 44 && len(payload) >= 8 {
		proto = payload[0]
		if binary.BigEndian.Uint16(payload[2:])>>3 != 0 {
			payload = payload[:8]
		}
		payload = payload[8:]
	}
	p.read(proto, payload)
	return p, true
}

// read sets the fields of a packet that depend on the transport header.
func (p *Packet) read(proto uint8, payload []byte) {
	switch proto {
	case 1:
		p.readICMP(payload)
	case 47:
		p.Kind = GRE
		if len(payload) >= 4 {
			p.GREProto = binary.BigEndian.Uint16(payload[2:])
		}
	case 50:
		p.Kind = ESP
		if len(payload) >= 4 {
			p.SPI = binary.BigEndian.Uint32(payload)
		}
	case 17:
		p.readUDP(payload)
	}
}

// readICMP is read for an ICMP header and what a Flow sends after it.
func (p *Packet) readICMP(payload []byte) {
	if len(payload) >= 12 && (payload[0] == echoRequest || payload[0] == echoReply) {
		p.Echo = Echo{
			Reply:  payload[0] == echoReply,
			ID:     binary.BigEndian.Uint16(payload[4:]),
			Number: binary.BigEndian.Uint32(payload[8:]),
		}
	}
}

// readUDP is read for a UDP header.
func (p *Packet) readUDP(payload []byte) {
	if len(payload) < 8 {
		return
	}
	src, dst, data := binary.BigEndian.Uint16(payload),
		binary.BigEndian.Uint16(payload[2:]),
		payload[8:]
	switch {
	case src == 500 || dst == 500:
		p.Kind = IKE
	case src != 4500 && dst != 4500 || len(data) < 4:
		return // not IPsec, or a NAT keepalive
	case binary.BigEndian.Uint32(data) == 0:
		p.Kind = IKE
	default:
		p.Kind = ESPinUDP
		p.SPI = binary.BigEndian.Uint32(data)
	}
}
