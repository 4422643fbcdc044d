package engine

import (
	"math"
	"net/netip"

	"cygnet/nhrpd/packet"
)

// sendError answers a packet with an Error Indication to the neighbour that it came from; it finds
// its way to the source from there.
func (e *Engine) sendError(m *message, code packet.ErrorCode, offset uint16) {
	e.sendErrorTo(m.from, m, code, offset)
}

// sendErrorTo sends an Error Indication about a packet, which it quotes whole where the tunnel's
// MTU allows: tshark, for one, takes a quotation that is cut off for a malformed packet. So the
// error is longer than the packet, but by no more than its own header of at most 76 bytes, which is
// no way to multiply traffic.
func (e *Engine) sendErrorTo(to netip.Addr, m *message, code packet.ErrorCode, offset uint16) {
	p := packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       hopCount,
		SourceNBMA:     m.ifc.local,
		SourceProtocol: m.ifc.overlay(),
		ErrorCode:      code,
		ErrorOffset:    offset,
	}
	if origin := m.origin(); m.ifc.onOverlay(origin) && origin != p.SourceProtocol {
		p.DestProtocol = origin
	}
	most := math.MaxUint16
	if mtu := int(m.ifc.cfg.MTU); mtu != 0 {
		most = mtu
	}
	room := min(packet.Size(m.raw), most-errorHeaderLen(&p))
	if room < quotedLen || !m.ifc.limits.errors.Allow(e.now, m.ifc.holderAt(m.from)) {
		e.drop(dropErrorLimit)
		return
	}
	p.Quoted = m.raw[:room]
	e.send(m.ifc, to, &p)
}

// origin is the overlay address of who sent the packet, which in a reply is not its header's
// source: that is the requester (RFC 2332 §5.2.0.1). It is zero where the packet does not tell.
func (m *message) origin() netip.Addr {
	if !m.Type.IsReply() {
		return m.SourceProtocol
	}
	if ext := m.Extension(packet.ExtensionResponder); ext != nil && len(ext.CIEs) > 0 && ext.CIEs[0].Protocol.IsValid() {
		return ext.CIEs[0].Protocol
	}
	if m.Type != packet.ResolutionReply {
		return m.DestProtocol
	}
	if len(m.CIEs) > 0 {
		return m.CIEs[0].Protocol
	}
	return netip.Addr{}
}

const (
	hopCountOffset = 9 // of the field in the fixed header

	fixedLen  = 20           // of the fixed header (RFC 2332 §5.1)
	commonLen = 8            // of the mandatory part before the addresses
	quotedLen = fixedLen + 8 // what says which request an Error Indication is about
)

// addressOffset is where the header's overlay address stands that a packet is on its way to.
func (m *message) addressOffset() uint16 {
	at := fixedLen + commonLen + m.SourceNBMA.BitLen()/8 + len(m.SourceSubaddress)
	if !m.Type.IsReply() {
		at += m.SourceProtocol.BitLen() / 8
	}
	return uint16(at)
}

func errorHeaderLen(p *packet.Packet) int {
	bits := p.SourceNBMA.BitLen() + p.SourceProtocol.BitLen() + p.DestProtocol.BitLen()
	return fixedLen + commonLen + bits/8
}

// errorIndication takes one: about our own request it is an answer, somebody else's goes on.
func (e *Engine) errorIndication(m *message) {
	ifc := m.ifc
	if m.SourceProtocol == ifc.overlay() && !ifc.isNHS(m.from) {
		e.drop(dropOwnPacket) // RFC 2332 §5.2.7: quietly
		return
	}
	if m.DestProtocol.IsValid() && m.DestProtocol != ifc.overlay() {
		if !ifc.onOverlay(m.DestProtocol) {
			e.drop(dropWrongFamily)
			return
		}
		e.forward(m, m.DestProtocol, packet.ExtensionReverseTransit)
		return
	}
	reason := "it reports: " + m.ErrorCode.String()
	if m.ErrorCode == packet.ErrorAuthentication {
		reason += ": its NHRP password is not ours (authentication)"
	}
	var quoted packet.Packet
	_ = quoted.ParseQuoted(m.Quoted) // type and id are read first; addresses that are cut off do no harm
	switch {
	case e.failedRequest(m, quoted.Type, quoted.RequestID, reason):
	case m.SourceProtocol == ifc.overlay():
		e.drop(dropOwnPacket)
		return
	default:
		e.drop(dropForeignError)
		return
	}
	if m.ErrorCode == packet.ErrorAuthentication {
		e.passwordRefused(m, reason)
	}
	e.notice(ifc, Notice{Kind: NoticeError, NextHop: m.SourceProtocol, NBMA: m.from, Reason: m.ErrorCode.String()})
}

// failedRequest finds the request of ours that an Error Indication is about.
func (e *Engine) failedRequest(m *message, t packet.Type, id uint32, reason string) bool {
	switch t {
	case packet.RegistrationRequest:
		for _, n := range m.ifc.nhs {
			if n.awaiting && n.requestID == id && n.reports(m) {
				n.err, n.told = reason, true
				return true
			}
			if a := &n.announcement; a.awaiting && a.requestID == id && n.reports(m) {
				e.stopAnnouncing(n)
				e.announcementRefused(n, a.sent, "the NHS does not take our prefixes: "+reason)
				return true
			}
		}
	case packet.ResolutionRequest:
		if s := m.ifc.requests[id]; s != nil && (m.from == s.via || m.ifc.isNHS(m.from)) {
			e.unresolve(s, reason)
			return true
		}
	}
	return false
}

// reports reports whether an Error Indication about a registration comes from the NHS that the
// registration went to. Registrations are answered by that NHS alone, and their ids count up, so
// whatever the NHS only passes on for another router may be forged. Some routers report an error
// with the requester's own overlay address as the source; an NHS passes that on for nobody else.
func (n *nhs) reports(m *message) bool {
	switch {
	case n.nbma != m.from:
		return false
	case m.SourceProtocol == n.ifc.overlay():
		return true
	case n.protocol.IsValid():
		return m.SourceProtocol == n.protocol
	}
	return m.direct()
}
