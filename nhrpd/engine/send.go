package engine

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// hopCount is what our own packets start with. Cisco drops some of those that come with 0.
const hopCount = 255

// send sends p to an NBMA address. It says whether it could.
func (e *Engine) send(ifc *iface, to netip.Addr, p *packet.Packet) bool {
	if !ifc.secured(to) {
		e.drop(dropUnsecured)
		return false
	}
	e.authenticate(ifc, p)
	start := len(e.out.arena)
	arena, err := p.Append(e.out.arena)
	if err != nil {
		e.drop(dropUnsendable)
		return false
	}
	// When the arena grows it moves; packets before this one keep the old memory, which nobody writes to any more.
	e.out.arena = arena
	e.out.Packets = append(e.out.Packets, Packet{Interface: ifc.cfg.Name, To: to, Data: arena[start:len(arena):len(arena)]})
	e.stats.sent[p.Type]++
	return true
}

// cieList makes a list of CIEs that lives until the next packet is received.
func (e *Engine) cieList(first []packet.CIE, more ...packet.CIE) []packet.CIE {
	start := len(e.cies)
	e.cies = append(e.cies, first...)
	e.cies = append(e.cies, more...)
	return e.cies[start:len(e.cies):len(e.cies)]
}

// ownCIE names us, as in the Responder and Transit extensions.
func (ifc *iface) ownCIE() packet.CIE {
	return packet.CIE{
		MTU:         ifc.cfg.MTU,
		HoldingTime: seconds(ifc.cfg.HoldingTime),
		NBMA:        ifc.local,
		Protocol:    ifc.overlay(),
	}
}

// emptyExtensions are those that our requests ask to be filled, in the customary order.
func (ifc *iface) emptyExtensions(nat ...packet.CIE) []packet.Extension {
	list := []packet.Extension{
		{Type: packet.ExtensionResponder, Compulsory: true},
		{Type: packet.ExtensionForwardTransit, Compulsory: true},
		{Type: packet.ExtensionReverseTransit, Compulsory: true},
	}
	if ifc.cfg.Authentication != "" {
		list = append(list, ifc.auth)
	}
	return append(list, packet.Extension{Type: packet.ExtensionNATAddress, CIEs: nat})
}

// fillResponder names us as the one who replies, if the requester wants to know.
func (e *Engine) fillResponder(m *message) {
	if ext := m.Extension(packet.ExtensionResponder); ext != nil {
		ext.CIEs = e.cieList(nil, m.ifc.ownCIE())
	}
}

// knownExtension says whether we can process an extension as a responder.
func knownExtension(t packet.ExtensionType) bool {
	switch t {
	case packet.ExtensionResponder, packet.ExtensionForwardTransit, packet.ExtensionReverseTransit,
		packet.ExtensionAuthentication, packet.ExtensionVendor, packet.ExtensionNATAddress:
		return true
	}
	return false
}

// hasUnknownCompulsory says whether the packet asks for what we cannot do.
func (m *message) hasUnknownCompulsory() bool {
	for i := range m.Extensions {
		if m.Extensions[i].Compulsory && !knownExtension(m.Extensions[i].Type) {
			return true
		}
	}
	return false
}
