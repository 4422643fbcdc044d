package engine

import (
	"errors"
	"net/netip"

	"cygnet/nhrpd/packet"
)

// message is a received packet, with where it came from.
type message struct {
	*packet.Packet
	ifc  *iface
	from netip.Addr // the outer source address, or the sender's name
	raw  []byte     // the packet as received
}

// direct reports whether the packet came straight from the router that its header names as the
// source, and no NAT changed that router's address.
func (m *message) direct() bool { return m.ifc.real(m.from) == m.SourceNBMA }

// receiveFrom handles a packet from an NBMA address. The packets of a sender without an SA are
// held: see heldPacket.
func (e *Engine) receiveFrom(ifname string, from netip.Addr, data []byte) {
	ifc := e.ifaces[ifname]
	switch {
	case ifc == nil:
		e.drop(dropNoInterface)
	case ifc.leaving:
		e.farewell(ifc, from, data)
	case ifc.left || !ifc.local.IsValid() || !from.IsValid():
		e.drop(dropInactive)
	case e.separating(ifc, from):
		e.drop(dropSeparating)
	case !ifc.heardFrom(from):
		e.hold(ifc, from, data)
	default:
		e.receive(ifc, from, data)
	}
}

// heardFrom reports whether the sender of a packet is secured. If it is, heardFrom counts the
// packet.
func (ifc *iface) heardFrom(nbma netip.Addr) bool {
	p := ifc.peers[nbma]
	if ifc.cfg.Protected && (p == nil || !p.secured) {
		return false
	}
	if p != nil {
		p.received++
	}
	return true
}

// receive handles a packet of a secured sender: it parses the packet, and drops what no handler may
// see.
func (e *Engine) receive(ifc *iface, from netip.Addr, data []byte) {
	m := message{Packet: &e.in, ifc: ifc, from: from, raw: data}
	e.cies = e.cies[:0]
	if err := m.Parse(data); err != nil {
		e.malformed(&m, err)
		return
	}
	if m.impossibleNBMA() {
		e.drop(dropMalformed)
		return
	}
	e.stats.received[m.Type]++
	if !e.authentic(&m) {
		e.drop(dropAuthentication)
		e.tellForeignPassword(&m)
		e.sendError(&m, packet.ErrorAuthentication, m.passwordOffset())
		return
	}
	ifc.settled(from, MismatchPassword)
	if !ifc.takes(e.now, &m) {
		e.drop(dropRateLimit)
		return
	}
	if m.Type != packet.RegistrationRequest && m.Type != packet.ResolutionRequest &&
		ifc.objectTo(from).Raised() {
		e.drop(dropProhibited) // the handlers of the two requests refuse those with a reply
		return
	}
	if m.Type == packet.ErrorIndication {
		e.errorIndication(&m)
		return
	}
	if !ifc.onOverlay(m.SourceProtocol) ||
		m.DestProtocol.IsValid() && !ifc.onOverlay(m.DestProtocol) {
		e.drop(dropWrongFamily)
		return
	}
	if !m.Type.IsReply() && m.SourceProtocol == ifc.overlay() {
		e.drop(dropOwnPacket)
		return
	}
	e.dispatch(&m)
}

// maxEntries bounds the CIEs of one request, since each of them costs a search.
const maxEntries = 64

// dispatch hands a message to the handler for its type, or forwards it if it is for another router.
func (e *Engine) dispatch(m *message) {
	if m.Type == packet.TrafficIndication {
		e.indication(m)
		return
	}
	if !m.DestProtocol.IsValid() {
		e.drop(dropWrongFamily)
		return
	}
	if m.Type.IsRequest() && len(m.CIEs) > maxEntries {
		e.drop(dropTooMany)
		e.sendError(m, packet.ErrorProtocol, 0)
		return
	}
	own := m.ifc.overlay()
	switch m.Type {
	case packet.RegistrationRequest:
		e.registration(m)
	case packet.RegistrationReply:
		e.registrationReply(m)
	case packet.ResolutionRequest:
		e.resolution(m)
	case packet.ResolutionReply:
		if m.SourceProtocol == own {
			e.answered(m)
			return
		}
		e.forward(m, m.SourceProtocol, packet.ExtensionReverseTransit)
	case packet.PurgeRequest:
		if m.DestProtocol == own || m.DestProtocol == m.SourceProtocol {
			e.purgeRequest(m)
			return
		}
		e.forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	case packet.PurgeReply:
		if m.SourceProtocol == own {
			e.purgeReply(m)
			return
		}
		e.forward(m, m.SourceProtocol, packet.ExtensionReverseTransit)
	}
}

// malformed drops a packet that cannot be parsed. It sends an Error Indication if the parser found
// a fault that may be answered.
func (e *Engine) malformed(m *message, err error) {
	e.drop(dropMalformed)
	var fault *packet.ParseError
	if errors.As(err, &fault) && fault.Answerable() {
		e.sendError(m, fault.Code, fault.Offset)
	}
}
