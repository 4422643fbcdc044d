package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// Routers pass on what others say, and IKE proves only who passed it on. So what is said in the
// name of a router that is known here is taken from that router, or from one whose word on others
// counts. A name that nobody has here cannot be judged: it may be that of a router which only its
// own hub knows.

// trustsRelay reports whether the word of the router at an NBMA address counts for who sent what it
// passes on: an NHS of ours, or a router with a static map, which is the administrator's own word.
// Without IPsec nobody's sender is known.
func (ifc *iface) trustsRelay(nbma netip.Addr) bool {
	return !ifc.cfg.Protected || ifc.isNHS(nbma) || ifc.hasMap(nbma)
}

// hasMap reports whether there is a static map for the router at an NBMA address.
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

// belongsToOther reports whether an overlay address is that of another router than the sender, which
// may not speak for it.
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

// misleads reports whether a resolution request leads its answer to another NBMA address than that of
// the router that it names. Who passes on another's question may name it as long as the answer goes
// to that one, at the address that it registered from.
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

// leadsTo is the NBMA address that the next router will take for the requester's.
func (m *message) leadsTo() netip.Addr {
	nbma := natAddress(m.Packet, m.SourceProtocol)
	if !nbma.IsValid() {
		nbma = m.SourceNBMA
	}
	return m.ifc.nameOf(m.SourceProtocol, nbma)
}

var anothersName = objection.New(objection.NameOfOther, "another router has the overlay address that it names as its source")

// refusesToSpeakFor ends what would go on in another's name, and says whether it did. A reply to a
// purge speaks for whom the purge was for; other replies need an id that only the requester's
// routers know.
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
		// Ours do not come in from outside, whatever overlay address they name.
		forged = e.belongsToOther(m, m.SourceProtocol) || m.SourceNBMA == m.ifc.local
	}
	if forged {
		e.drop(dropNotOwner)
	}
	return forged
}
