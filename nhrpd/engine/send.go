package engine

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// hopCount is the hop count that this router's own packets start with. Cisco's routers drop some
// packets that arrive with 0.
const hopCount = 255

// send sends p to an NBMA address; if it cannot, it counts the reason. The log gets the reason too,
// unless the peer has no SA: the other router waits for the packet in vain, and the reason lies
// here.
func (e *Engine) send(ifc *iface, to netip.Addr, p *packet.Packet) {
	why, ok := e.trySend(ifc, to, p)
	if ok {
		return
	}
	e.drop(why)
	if why != dropUnsecured && ifc.limits.refusals.Allow(e.now, to) {
		e.notice(ifc, Notice{
			Kind:   NoticeUnsent,
			NBMA:   to,
			Reason: p.Type.String() + ": " + dropNames[why],
		})
	}
}

// trySend sends p to an NBMA address and reports whether it could. If it could not, it returns the
// reason, which the caller counts.
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
	// When the arena grows, append moves it. The packets before this one keep the old memory, and
	// nothing writes to that any more.
	e.out.arena = arena
	e.out.Packets = append(e.out.Packets, Packet{
		Interface: ifc.cfg.Name,
		To:        to,
		Data:      arena[start:len(arena):len(arena)],
	})
	e.stats.sent[p.Type]++
	if peer != nil {
		peer.sent++
	}
	return 0, true
}

// cieList returns a list of CIEs that stays valid until the engine receives the next packet.
func (e *Engine) cieList(first []packet.CIE, more ...packet.CIE) []packet.CIE {
	start := len(e.cies)
	e.cies = append(e.cies, first...)
	e.cies = append(e.cies, more...)
	return e.cies[start:len(e.cies):len(e.cies)]
}

// ownCIE returns the CIE that names this router, as in the Responder and Transit extensions.
func (ifc *iface) ownCIE() packet.CIE {
	return packet.CIE{
		MTU:         ifc.cfg.MTU,
		HoldingTime: seconds(ifc.cfg.HoldingTime),
		NBMA:        ifc.local,
		Protocol:    ifc.overlay(),
	}
}

// emptyExtensions returns the extensions that this router's requests ask others to fill, in the
// customary order.
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

// fillResponder names this router as the one that replies, if the requester asked for that.
func (e *Engine) fillResponder(m *message) {
	if ext := m.Extension(packet.ExtensionResponder); ext != nil {
		ext.CIEs = e.cieList(nil, m.ifc.ownCIE())
	}
}

// knownExtension reports whether this router, as a responder, can process an extension.
func knownExtension(t packet.ExtensionType) bool {
	switch t {
	case packet.ExtensionResponder, packet.ExtensionForwardTransit, packet.ExtensionReverseTransit,
		packet.ExtensionAuthentication, packet.ExtensionVendor, packet.ExtensionNATAddress:
		return true
	}
	return false
}

// unknownCompulsory returns the first compulsory extension that this router does not know. It
// returns nil if there is none.
func (m *message) unknownCompulsory() *packet.Extension {
	for i := range m.Extensions {
		if ext := &m.Extensions[i]; ext.Compulsory && !knownExtension(ext.Type) {
			return ext
		}
	}
	return nil
}

// understood reports whether this router knows every compulsory extension of a request that it is
// to answer. If it does not, it sends an Error Indication to the source, and the request gets no
// other answer (RFC 2332 §5.3).
func (e *Engine) understood(m *message) bool {
	ext := m.unknownCompulsory()
	if ext == nil {
		return true
	}
	e.drop(dropUnknownExtension)
	e.sendError(m, packet.ErrorUnrecognizedExtension, ext.Offset())
	return false
}
