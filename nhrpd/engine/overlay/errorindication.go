package overlay

import (
	"math"
	"net/netip"

	"cygnet/nhrpd/packet"
)

// SendError answers a packet with an Error Indication, sent to the neighbour from which the packet
// came. The error travels on from there to the packet's source.
func (ifc *Interface) SendError(m *Message, code packet.ErrorCode, offset uint16) {
	ifc.SendErrorTo(m.From, m, code, offset)
}

// SendErrorTo sends an Error Indication about a packet. It quotes the whole packet if the tunnel's
// MTU allows: tshark, for one, takes a shortened quotation for a malformed packet. The error is
// therefore longer than the packet, but only by its own header of at most 76 bytes, so nobody can
// use it to amplify traffic.
func (ifc *Interface) SendErrorTo(to netip.Addr, m *Message, code packet.ErrorCode, offset uint16) {
	p := packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       HopCount,
		SourceNBMA:     ifc.Local,
		SourceProtocol: ifc.Address(),
		ErrorCode:      code,
		ErrorOffset:    offset,
	}
	if origin := m.Origin(); ifc.OnOverlay(origin) && origin != p.SourceProtocol {
		p.DestProtocol = origin
	}
	most := math.MaxUint16
	if mtu := int(ifc.Config.MTU); mtu != 0 {
		most = mtu
	}
	room := min(packet.Size(m.Raw), most-errorHeaderLen(&p))
	if room < quotedLen || !ifc.Limiters.errors.Allow(ifc.Now, ifc.Peers.HolderAt(m.From)) {
		ifc.Drop(dropErrorLimit)
		return
	}
	p.Quoted = m.Raw[:room]
	ifc.Send(to, &p)
}

// AddressOffset returns the offset of the overlay address to which the packet travels: in a reply
// the source in the header, otherwise the destination.
func (m *Message) AddressOffset() uint16 {
	at := FixedLen + commonLen + m.SourceNBMA.BitLen()/8 + len(m.SourceSubaddress)
	if !m.Type.IsReply() {
		at += m.SourceProtocol.BitLen() / 8
	}
	return uint16(at)
}

// errorHeaderLen returns the length of an Error Indication before the packet that it quotes.
func errorHeaderLen(p *packet.Packet) int {
	bits := p.SourceNBMA.BitLen() + p.SourceProtocol.BitLen() + p.DestProtocol.BitLen()
	return FixedLen + commonLen + bits/8
}

const (
	HopCountOffset = 9 // of the hop count in the fixed header

	FixedLen  = 20           // of the fixed header (RFC 2332 §5.1)
	commonLen = 8            // of the mandatory part before the addresses
	quotedLen = FixedLen + 8 // of what shows which request an Error Indication is about
)
