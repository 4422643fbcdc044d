package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/packet"
)

// forward passes a message on along the route to an overlay address, as a transit NHS (RFC 2332
// §5.3): with our record in the extension that is named, unless the packet asks for what we do not
// know.
func (e *Engine) forward(m *message, to netip.Addr, record packet.ExtensionType) {
	p, err := e.pathTo(m.ifc, to)
	if err == pathOK && p.byNHS && p.nbma == m.from {
		err = pathNoBinding // who sent it here knows no better
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

// fillTransitNAT adds what the hub of a client behind NAT knows about it.
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

// passedBefore reports whether the packet came through here already, and where it says so. The
// Responder extension of a reply tells as well (RFC 2332 §5.3.1).
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

// refuseTransit drops a message that cannot go on and tells its source, if it is not an error
// itself. The error goes along the route to the source: the way that a packet in a loop came would
// lead it through here again.
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
