package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Inner describes the flow that the first bytes of an IP packet belong to.
type Inner struct {
	Source netip.Addr
	Dest   netip.Addr
	// transport protocol number; where the bytes end before the transport header, the number in the
	// last complete header
	Protocol uint8

	// whether the two ports are known; they are not for a later fragment, for a protocol without
	// ports, or where the bytes end before them
	Ports      bool
	SourcePort uint16
	DestPort   uint16
}

// The errors of ParseInner.
var (
	errInnerShort   = errors.New("inner packet ends within its IP header")
	errInnerVersion = errors.New("inner packet is neither IPv4 nor IPv6")
	errInnerHeader  = errors.New("inner packet has an impossible IPv4 header length")
)

// ParseInner reads an IPv4 or IPv6 packet, such as the one that a Traffic Indication quotes. b must
// hold at least the IP header. ParseInner does not check length fields and checksums, because the
// end of a quoted packet is usually cut off.
func ParseInner(b []byte) (Inner, error) {
	if len(b) == 0 {
		return Inner{}, errInnerShort
	}
	switch b[0] >> 4 {
	case 4:
		return parseInner4(b)
	case 6:
		return parseInner6(b)
	}
	return Inner{}, errInnerVersion
}

func parseInner4(b []byte) (Inner, error) {
	if len(b) < 20 {
		return Inner{}, errInnerShort
	}
	n := int(b[0]&0x0f) * 4
	if n < 20 {
		return Inner{}, errInnerHeader
	}
	in := Inner{
		Source:   netip.AddrFrom4([4]byte(b[12:16])),
		Dest:     netip.AddrFrom4([4]byte(b[16:20])),
		Protocol: b[9],
	}
	if laterFragment := binary.BigEndian.Uint16(b[6:])&0x1fff != 0; !laterFragment && n <= len(b) {
		in.parsePorts(b[n:])
	}
	return in, nil
}

// IPv6 extension headers (RFC 8200 §4 and the IANA registry) that may come before the transport
// header.
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	authHeader  = 51
	destOptions = 60
	mobility    = 135
	hostID      = 139
	shim6       = 140
)

func parseInner6(b []byte) (Inner, error) {
	if len(b) < 40 {
		return Inner{}, errInnerShort
	}
	in := Inner{
		Source:   netip.AddrFrom16([16]byte(b[8:24])),
		Dest:     netip.AddrFrom16([16]byte(b[24:40])),
		Protocol: b[6],
	}
	for rest := b[40:]; ; {
		n := 8
		switch in.Protocol {
		case hopByHop, routing, destOptions, mobility, hostID, shim6:
			if len(rest) >= 2 {
				n += int(rest[1]) * 8
			}
		case authHeader:
			if len(rest) >= 2 {
				n = (int(rest[1]) + 2) * 4
			}
		case fragment:
			if len(rest) >= 8 && binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
				in.Protocol = rest[0]
				return in, nil
			}
		default:
			in.parsePorts(rest)
			return in, nil
		}
		if len(rest) < n {
			return in, nil
		}
		in.Protocol = rest[0]
		rest = rest[n:]
	}
}

// parsePorts sets the ports from the transport header b, if the protocol has ports.
func (in *Inner) parsePorts(b []byte) {
	const tcp, udp, dccp, sctp, udpLite = 6, 17, 33, 132, 136
	switch in.Protocol {
	case tcp, udp, dccp, sctp, udpLite:
		if len(b) < 4 {
			return
		}
		in.Ports = true
		in.SourcePort = binary.BigEndian.Uint16(b)
		in.DestPort = binary.BigEndian.Uint16(b[2:])
	}
}
