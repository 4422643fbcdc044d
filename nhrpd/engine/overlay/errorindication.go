package overlay

import (
	"math"
	"net/netip"

	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// Offsets and lengths in a packet, in bytes (RFC 2332 §5.1, §5.2.0.1).
const (
	// HopCountOffset is the offset of the hop count.
	HopCountOffset = 9

	// FixedHeaderLen is the length of the fixed header, and so the offset of the mandatory part.
	FixedHeaderLen = 20

	mandatoryLen = 8                  // of the mandatory part before the addresses
	leastQuoted  = FixedHeaderLen + 8 // enough to show the type and the ID of a request
)

// SendError answers a packet with an Error Indication (RFC 2332 §5.2.7), sent to the neighbour from
// which the packet came. The error travels on from there to the packet's source. The offset is that
// of the fault in the packet.
func (ifc *Interface) SendError(m *Message, code packet.ErrorCode, offset uint16) {
	ifc.SendErrorTo(m.From, m, code, offset)
}

// SendErrorTo sends an Error Indication about a packet to a peer, unless the router that sent the
// packet has caused too many errors lately. It quotes the whole packet if the tunnel's MTU allows:
// tshark, for one, takes a shortened quotation for a malformed packet. The error is therefore
// longer than the packet, but only by its own header of at most 76 bytes, so nobody can use it to
// amplify traffic.
func (ifc *Interface) SendErrorTo(to peerid.ID, m *Message, code packet.ErrorCode, offset uint16) {
	p := packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       HopCount,
		SourceNBMA:     ifc.LocalTo(to),
		SourceProtocol: ifc.addressAbout(m),
		ErrorCode:      code,
		ErrorOffset:    offset,
	}
	if origin := m.Origin(); ifc.HasFamily(origin) && origin != p.SourceProtocol {
		p.DestProtocol = origin
	}
	longest := math.MaxUint16
	if mtu := int(ifc.Config.MTU); mtu != 0 {
		longest = mtu
	}
	quoted := min(packet.Size(m.Raw), longest-errorHeaderLen(&p))
	if quoted < leastQuoted || !ifc.Limiters.errors.Allow(ifc.Now, ifc.Peers.HolderAt(m.From)) {
		ifc.Drop(dropErrorLimit)
		return
	}
	p.Quoted = m.Raw[:quoted]
	ifc.Send(to, &p)
}

// addressAbout returns our overlay address for an Error Indication about a packet: that of the IP
// version of the packet's source, or our first one if the packet has no such source.
func (ifc *Interface) addressAbout(m *Message) netip.Addr {
	if own := ifc.AddressFor(m.Origin()); own.IsValid() {
		return own
	}
	return ifc.Address()
}

// errorHeaderLen returns the length of an Error Indication before the packet that it quotes.
func errorHeaderLen(p *packet.Packet) int {
	bits := p.SourceNBMA.BitLen() + p.SourceProtocol.BitLen() + p.DestProtocol.BitLen()
	return FixedHeaderLen + mandatoryLen + bits/8
}

// AddressOffset returns the offset of the overlay address to which the packet travels: in a reply
// the source in the header, otherwise the destination.
func (m *Message) AddressOffset() uint16 {
	at := FixedHeaderLen + mandatoryLen + m.SourceNBMA.BitLen()/8 + len(m.SourceSubaddress)
	if !m.Type.IsReply() {
		at += m.SourceProtocol.BitLen() / 8
	}
	return uint16(at)
}
