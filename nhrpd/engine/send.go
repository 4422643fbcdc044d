package engine

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// hopCount is what our own packets start with. Cisco drops some of those that come with 0.
const hopCount = 255

// send sends p to an NBMA address, or counts why it cannot. What the other waits for in vain for a
// reason that lies here is told, too.
func (e *Engine) send(ifc *iface, to netip.Addr, p *packet.Packet) {
	why, ok := e.trySend(ifc, to, p)
	if ok {
		return
	}
	e.drop(why)
	if why != dropUnsecured && ifc.limits.refusals.Allow(e.now, to) {
		e.notice(ifc, Notice{Kind: NoticeUnsent, NBMA: to, Reason: p.Type.String() + ": " + dropNames[why]})
	}
}

// trySend sends p to an NBMA address. Where it cannot it says why, and leaves the counting to the
// caller.
func (e *Engine) trySend(ifc *iface, to netip.Addr, p *packet.Packet) (dropReason, bool) {
	peer := ifc.peers[to]
	if ifc.cfg.Protected && (peer == nil || !peer.secured) {
		return dropUnsecured, false
	}
	e.authenticate(ifc, p)
	start := len(e.out.arena)
	arena, err := p.Append(e.out.arena)
	switch size := len(arena) - start; {
	case err != nil:
		return dropUnsendable, false
	case ifc.cfg.MTU != 0 && size > int(ifc.cfg.MTU):
		return dropTooLong, false // the tunnel does not fragment NHRP
	}
	// When the arena grows it moves; packets before this one keep the old memory, which nobody
	// writes to any more.
	e.out.arena = arena
	e.out.Packets = append(e.out.Packets, Packet{Interface: ifc.cfg.Name, To: to, Data: arena[start:len(arena):len(arena)]})
	e.stats.sent[p.Type]++
	if peer != nil {
		peer.sent++
	}
	return 0, true
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

// knownExtension reports whether we can process an extension as a responder.
func knownExtension(t packet.ExtensionType) bool {
	switch t {
	case packet.ExtensionResponder, packet.ExtensionForwardTransit, packet.ExtensionReverseTransit,
		packet.ExtensionAuthentication, packet.ExtensionVendor, packet.ExtensionNATAddress:
		return true
	}
	return false
}

// unknownCompulsory is the first extension that asks for what we cannot do; nil if there is none.
func (m *message) unknownCompulsory() *packet.Extension {
	for i := range m.Extensions {
		if ext := &m.Extensions[i]; ext.Compulsory && !knownExtension(ext.Type) {
			return ext
		}
	}
	return nil
}

// understood reports whether we know all that a request demands of who answers it. Where we do not,
// its source is told, and there is no other answer (RFC 2332 §5.3).
func (e *Engine) understood(m *message) bool {
	ext := m.unknownCompulsory()
	if ext == nil {
		return true
	}
	e.drop(dropUnknownExtension)
	e.sendError(m, packet.ErrorUnrecognizedExtension, ext.Offset())
	return false
}
