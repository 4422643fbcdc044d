package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// Routers pass on packets for other routers, and IKE proves only who passed a packet on. If a
// packet names a router that is known here, the engine accepts it only from that router, or from a
// relay that it trusts. If nobody here knows the named router, the engine accepts the packet: the
// router may be known to its own hub only.

// trustsRelay reports whether the router at an NBMA address is trusted to say who sent what it
// passes on. That is one of our NHSs, or a router with a static map, which the administrator
// configured. Without IPsec no sender is proven, so every router is trusted.
func (ifc *iface) trustsRelay(nbma netip.Addr) bool {
	return !ifc.cfg.Protected || ifc.isNHS(nbma) || ifc.hasMap(nbma)
}

// hasMap reports whether the router at an NBMA address has a static map.
func (ifc *iface) hasMap(nbma netip.Addr) bool {
	p := ifc.peers[nbma]
	if p == nil || !p.has(reasonBinding) {
		return false
	}
	for b := range p.bindings() {
		if b.static {
			return true
		}
	}
	return false
}

// belongsToOther reports whether an overlay address belongs to another router than the sender of a
// packet, and the sender may not speak for that router.
func (e *Engine) belongsToOther(m *message, protocol netip.Addr) bool {
	ifc := m.ifc
	switch b := ifc.bindings[protocol]; {
	case ifc.trustsRelay(m.from):
		return false
	case ifc.isNHSElsewhere(protocol, m.from):
		return true
	case b != nil:
		return b.nbma != m.from && (b.static || !b.mayBe(m.proven()))
	}
	_, owned := e.ownedByOther(m, protocol)
	return owned
}

// misleads reports whether a Resolution Request would lead its answer to another NBMA address than
// that of the router that it names as its source. A router that passes on a request may name that
// source if the answer goes to the NBMA address from which the source registered.
func (e *Engine) misleads(m *message, nbma netip.Addr) bool {
	ifc := m.ifc
	switch b := ifc.bindings[m.SourceProtocol]; {
	case ifc.trustsRelay(m.from):
		return false
	case nbma == m.from || nbma == ifc.real(m.from):
		return e.belongsToOther(m, m.SourceProtocol)
	case b != nil:
		return nbma != b.nbma && nbma != ifc.real(b.nbma)
	}
	return e.belongsToOther(m, m.SourceProtocol)
}

// leadsTo returns the NBMA address that the next router will take for the requester's.
func (m *message) leadsTo() netip.Addr {
	nbma := natAddress(m.Packet, m.SourceProtocol)
	if !nbma.IsValid() {
		nbma = m.SourceNBMA
	}
	return m.ifc.nameOf(m.SourceProtocol, nbma)
}

// anothersName is the objection to a Resolution Request that misleads.
var anothersName = objection.New(objection.NameOfOther,
	"another router has the overlay address that it names as its source")

// refusesToSpeakFor reports whether we may not forward a packet because it names a router that did
// not send it. If so, it refuses a Resolution Request, and drops any other packet. A Purge Reply
// speaks for the router to which the purge was sent. Other replies are forwarded: they need a
// request ID that only the routers on the requester's path know.
func (e *Engine) refusesToSpeakFor(m *message) bool {
	forged := false
	switch m.Type {
	case packet.ResolutionRequest:
		if e.misleads(m, m.leadsTo()) {
			e.prohibit(m, anothersName)
			return true
		}
	case packet.PurgeRequest:
		forged = e.belongsToOther(m, m.SourceProtocol)
	case packet.PurgeReply:
		forged = e.belongsToOther(m, m.DestProtocol)
	case packet.ErrorIndication:
		// An error with our NBMA address as its source is forged, whatever overlay address it
		// names: our own do not come in from outside.
		forged = e.belongsToOther(m, m.SourceProtocol) || m.SourceNBMA == m.ifc.local
	}
	if forged {
		e.drop(dropNotOwner)
	}
	return forged
}
