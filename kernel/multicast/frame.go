package multicast

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// groupPacket is a packet to a group, as it leaves the tunnel.
type groupPacket struct {
	kind      uint16 // EtherType
	inner     []byte
	source    netip.Addr
	group     netip.Addr
	class     class
	discovery bool // neighbour discovery
}

// Lengths of headers in bytes, and the types of ICMPv6 that neighbour discovery uses.
const (
	ipv4Header = 20
	ipv6Header = 40
	greHeader  = 4

	routerSolicitation = 133
	redirect           = 137
)

// parseFrame reads a packet with its outer IPv4 header and GRE. It returns false for what is not to
// a group, and for what is damaged.
func parseFrame(frame []byte) (p groupPacket, ok bool) {
	if len(frame) < ipv4Header || frame[0]>>4 != 4 {
		return p, false
	}
	start := int(frame[0]&0xf) * 4
	if start < ipv4Header || len(frame) < start+greHeader {
		return p, false
	}
	gre := frame[start:]
	const sum, key, number = 0x80, 0x20, 0x10 // each flag stands for four bytes
	length := greHeader
	for _, flag := range []byte{sum, key, number} {
		if gre[0]&flag != 0 {
			length += 4
		}
	}
	if len(gre) < length {
		return p, false
	}
	p.kind, p.inner = binary.BigEndian.Uint16(gre[2:]), gre[length:]
	switch p.kind {
	case unix.ETH_P_IP:
		return p, p.parseIPv4()
	case unix.ETH_P_IPV6:
		return p, p.parseIPv6()
	}
	return p, false
}

// parseIPv4 reads the inner header, and reports whether the packet goes to a group.
func (p *groupPacket) parseIPv4() bool {
	if len(p.inner) < ipv4Header || p.inner[0]>>4 != 4 {
		return false
	}
	p.source = netip.AddrFrom4([4]byte(p.inner[12:]))
	p.group = netip.AddrFrom4([4]byte(p.inner[16:]))
	p.class = data
	if p.group.IsLinkLocalMulticast() {
		p.class = control
	}
	return p.group.IsMulticast()
}

// parseIPv6 reads the inner header, and reports whether the packet goes to a group.
func (p *groupPacket) parseIPv6() bool {
	if len(p.inner) < ipv6Header || p.inner[0]>>4 != 6 {
		return false
	}
	p.source = netip.AddrFrom16([16]byte(p.inner[8:]))
	p.group = netip.AddrFrom16([16]byte(p.inner[24:]))
	p.class = data
	if p.group.IsLinkLocalMulticast() {
		p.class = control
	}
	if p.inner[6] == unix.IPPROTO_ICMPV6 && len(p.inner) > ipv6Header {
		kind := p.inner[ipv6Header]
		p.discovery = kind >= routerSolicitation && kind <= redirect
	}
	return p.group.IsMulticast()
}
