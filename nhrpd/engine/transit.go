package engine

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// forward passes a message on along the route to an overlay address, as a transit NHS (RFC 2332 §5.3): with our record in the
// extension that is named, unless the packet asks for what we do not know.
func (e *Engine) forward(m *message, to netip.Addr, record packet.ExtensionType) {
	p, err := e.pathTo(m.ifc, to)
	switch {
	case err == pathNoRoute || err == pathElsewhere:
		e.refuseTransit(m, dropUnreachable, packet.ErrorProtocolUnreachable)
	case err == pathNoBinding && m.Type == packet.ResolutionRequest:
		e.drop(dropNoBinding)
		e.refuse(m, packet.CodeNoBinding)
	case err == pathNoBinding:
		e.refuseTransit(m, dropNoBinding, packet.ErrorProtocolUnreachable)
	default:
		e.forwardOn(m, to, p, record)
	}
}

func (e *Engine) forwardOn(m *message, to netip.Addr, p path, record packet.ExtensionType) {
	switch {
	case m.HopCount <= 1:
		e.refuseTransit(m, dropHopCount, packet.ErrorHopCount)
		return
	case p.nbma == m.from, e.passedBefore(m, record):
		e.refuseTransit(m, dropLoop, packet.ErrorLoop)
		return
	}
	m.HopCount--
	if !m.hasUnknownCompulsory() {
		if ext := m.Extension(record); ext != nil {
			ext.CIEs = e.cieList(ext.CIEs, m.ifc.ownCIE())
		}
		e.fillTransitNAT(m)
	}
	e.send(m.ifc, p.nbma, m.Packet)
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

// passedBefore says whether the packet came through here already. The Responder extension of a reply tells as well (RFC 2332 §5.3.1).
func (e *Engine) passedBefore(m *message, record packet.ExtensionType) bool {
	own := m.ifc.overlay()
	names := func(t packet.ExtensionType) bool {
		ext := m.Extension(t)
		if ext == nil {
			return false
		}
		for i := range ext.CIEs {
			if ext.CIEs[i].Protocol == own {
				return true
			}
		}
		return false
	}
	return names(record) || m.Type.IsReply() && names(packet.ExtensionResponder)
}

// refuseTransit drops a message that cannot go on and tells its source. Only requests are answered: an error about a reply would go
// to the router that has done its part.
func (e *Engine) refuseTransit(m *message, why dropReason, code packet.ErrorCode) {
	e.drop(why)
	if m.Type.IsRequest() {
		e.sendError(m, code, 0)
	}
}
