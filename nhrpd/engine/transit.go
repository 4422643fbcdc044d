package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/packet"
)

// forward passes a message on along the route to an overlay address, as a transit NHS does (RFC
// 2332 §5.3). It adds this router's record to the extension of type record, unless the packet has a
// compulsory extension that this router does not know.
func (e *Engine) forward(m *message, to netip.Addr, record packet.ExtensionType) {
	p, err := e.pathTo(m.ifc, to)
	if err == pathOK && p.byNHS && p.nbma == m.from {
		err = pathNoBinding // the NHS that sent the message here knows no way either
	}
	switch {
	case err == pathNoRoute || err == pathElsewhere:
		e.refuseTransit(m, dropUnreachable, packet.ErrorProtocolUnreachable, m.addressOffset())
	case err == pathNoBinding && m.Type == packet.ResolutionRequest:
		e.drop(dropNoBinding)
		if e.understood(m) {
			e.refuse(m, packet.CodeNoBinding)
		}
	case err == pathNoBinding:
		e.refuseTransit(m, dropNoBinding, packet.ErrorProtocolUnreachable, m.addressOffset())
	default:
		e.forwardOn(m, to, p, record)
	}
}

// forwardOn sends a message on by path p, unless the message has come through here before or its
// hop count is used up.
func (e *Engine) forwardOn(m *message, to netip.Addr, p path, record packet.ExtensionType) {
	if m.HopCount <= 1 {
		e.refuseTransit(m, dropHopCount, packet.ErrorHopCount, hopCountOffset)
		return
	}
	if offset, passed := e.passedBefore(m, record); passed || p.nbma == m.from {
		e.refuseTransit(m, dropLoop, packet.ErrorLoop, offset)
		return
	}
	known := m.unknownCompulsory() == nil
	if known {
		e.fillTransitNAT(m)
	}
	if e.refusesToSpeakFor(m) {
		return
	}
	m.HopCount--
	if ext := m.Extension(record); known && ext != nil {
		ext.CIEs = e.cieList(ext.CIEs, m.ifc.ownCIE())
	}
	switch why, ok := e.trySend(m.ifc, p.nbma, m.Packet); {
	case ok:
	case why == dropTooLong:
		e.refuseTransit(m, why, packet.ErrorSDUSizeExceeded, 0)
	default:
		e.drop(why)
	}
}

// fillTransitNAT adds to a message what this router knows about the NAT that one of its clients is
// behind.
func (e *Engine) fillTransitNAT(m *message) {
	switch m.Type {
	case packet.ResolutionRequest:
		e.fillNAT(m, m.SourceProtocol)
	case packet.ResolutionReply:
		if len(m.CIEs) > 0 {
			e.fillNAT(m, m.CIEs[0].Protocol)
		}
	}
}

// passedBefore reports whether the packet came through this router before, and the offset of the
// extension that says so. In a reply, the Responder extension counts too (RFC 2332 §5.3.1).
func (e *Engine) passedBefore(m *message, record packet.ExtensionType) (uint16, bool) {
	own := m.ifc.overlay()
	for i := range m.Extensions {
		ext := &m.Extensions[i]
		if ext.Type != record && (ext.Type != packet.ExtensionResponder || !m.Type.IsReply()) {
			continue
		}
		if slices.ContainsFunc(ext.CIEs, func(c packet.CIE) bool { return c.Protocol == own }) {
			return ext.Offset(), true
		}
	}
	return 0, false
}

// refuseTransit drops a message that cannot go on. It sends an Error Indication to the source,
// unless the message is itself one. The error goes along the route to the source. The way that the
// message came would not do: in a loop, that way leads through this router again.
func (e *Engine) refuseTransit(m *message, why dropReason, code packet.ErrorCode, offset uint16) {
	e.drop(why)
	if m.Type == packet.ErrorIndication {
		return
	}
	to := m.from
	if p, err := e.pathTo(m.ifc, m.origin()); err == pathOK {
		to = p.nbma
	}
	e.sendErrorTo(to, m, code, offset)
}
