package engine

import (
	"math"
	"net/netip"

	"cygnet/nhrpd/packet"
)

// sendError answers a packet with an Error Indication, sent to the neighbour from which the packet
// came. The error travels on from there to the packet's source.
func (e *Engine) sendError(m *message, code packet.ErrorCode, offset uint16) {
	e.sendErrorTo(m.from, m, code, offset)
}

// sendErrorTo sends an Error Indication about a packet. It quotes the whole packet if the tunnel's
// MTU allows: tshark, for one, takes a shortened quotation for a malformed packet. The error is
// therefore longer than the packet, but only by its own header of at most 76 bytes, so nobody can
// use it to amplify traffic.
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

// origin returns the overlay address of the router that sent the packet. In a reply, the source in
// the header is the requester instead (RFC 2332 §5.2.0.1), so origin looks elsewhere. It returns
// the zero address if the packet does not show who sent it.
func (m *message) origin() netip.Addr {
	if !m.Type.IsReply() {
		return m.SourceProtocol
	}
	if ext := m.Extension(packet.ExtensionResponder); ext != nil &&
		len(ext.CIEs) > 0 && ext.CIEs[0].Protocol.IsValid() {
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
	hopCountOffset = 9 // of the hop count in the fixed header

	fixedLen  = 20           // of the fixed header (RFC 2332 §5.1)
	commonLen = 8            // of the mandatory part before the addresses
	quotedLen = fixedLen + 8 // of what shows which request an Error Indication is about
)

// addressOffset returns the offset of the overlay address to which the packet travels: in a reply
// the source in the header, otherwise the destination.
func (m *message) addressOffset() uint16 {
	at := fixedLen + commonLen + m.SourceNBMA.BitLen()/8 + len(m.SourceSubaddress)
	if !m.Type.IsReply() {
		at += m.SourceProtocol.BitLen() / 8
	}
	return uint16(at)
}

// errorHeaderLen returns the length of an Error Indication before the packet that it quotes.
func errorHeaderLen(p *packet.Packet) int {
	bits := p.SourceNBMA.BitLen() + p.SourceProtocol.BitLen() + p.DestProtocol.BitLen()
	return fixedLen + commonLen + bits/8
}

// errorIndication takes an Error Indication. One about a request of ours counts as a reply to that
// request. One for another router is forwarded.
func (e *Engine) errorIndication(m *message) {
	ifc := m.ifc
	if m.SourceProtocol == ifc.overlay() && !ifc.isNHS(m.from) {
		e.drop(dropOwnPacket) // RFC 2332 §5.2.7: without an error about it
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
	// ParseQuoted reads type and ID first; it does not matter if the addresses are cut off.
	_ = quoted.ParseQuoted(m.Quoted)
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
	e.notice(ifc, Notice{Kind: NoticeError, NextHop: m.SourceProtocol, NBMA: m.from,
		Reason: m.ErrorCode.String()})
}

// failedRequest applies an Error Indication to the request of ours that it is about. It returns
// false if there is no such request, or if the error comes from a router to which that request did
// not go. An error about a Resolution Request may also come through one of our NHSs.
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

// reports reports whether an Error Indication about a registration comes from the NHS to which the
// registration went. Only that NHS answers registrations. Their IDs count up and can be guessed, so
// an error that the NHS passed on for another router may be forged.
//
// Some routers report an error with the requester's own overlay address as the source. An NHS
// passes such an error on for no other router.
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
