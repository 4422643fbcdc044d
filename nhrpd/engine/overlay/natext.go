package overlay

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// NATAddress returns the NBMA address that a packet's NAT address extension gives for an overlay
// address, or the zero address if it gives no usable one.
func NATAddress(p *packet.Packet, protocol netip.Addr) netip.Addr {
	ext := p.Extension(packet.ExtensionNATAddress)
	if ext == nil {
		return netip.Addr{}
	}
	for i := range ext.CIEs {
		if c := &ext.CIEs[i]; c.Protocol == protocol &&
			c.NBMA.IsValid() && !c.NBMA.IsUnspecified() && !InThisNetwork(c.NBMA) {
			return c.NBMA
		}
	}
	return netip.Addr{}
}

// NATCIE returns an entry of the NAT address extension, in the form that Cisco and FRR use.
func NATCIE(protocol, nbma netip.Addr) packet.CIE {
	return packet.CIE{PrefixLength: uint8(protocol.BitLen()), NBMA: nbma, Protocol: protocol}
}

// InThisNetwork reports whether an address is in 0.0.0.0/8 and not 0.0.0.0. No router has such an
// address (RFC 1122 §3.2.1.3), so the engine uses them as names.
func InThisNetwork(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 0 && !a.IsUnspecified() }
