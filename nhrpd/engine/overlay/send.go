package overlay

import (
	"net/netip"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/packet"
)

// HopCount is the hop count that this router's own packets start with. Cisco's routers drop some
// packets that arrive with 0.
const HopCount = 255

// Send sends p to an NBMA address; if it cannot, it counts the reason. The log gets the reason too,
// unless the peer has no SA: the other router waits for the packet in vain, and the reason lies
// here.
func (ifc *Interface) Send(to netip.Addr, p *packet.Packet) {
	why, ok := ifc.TrySend(to, p)
	if ok {
		return
	}
	ifc.Drop(why)
	if why != DropUnsecured && ifc.Limiters.Refusals.Allow(ifc.Now, to) {
		ifc.Notice(output.Notice{
			Kind:   output.NoticeUnsent,
			NBMA:   to,
			Reason: p.Type.String() + ": " + dropNames[why],
		})
	}
}

// TrySend sends p to an NBMA address and reports whether it could. If it could not, it returns the
// reason, which the caller counts.
func (ifc *Interface) TrySend(to netip.Addr, p *packet.Packet) (DropReason, bool) {
	if !ifc.Peers.Secured(to) {
		return DropUnsecured, false
	}
	ifc.Authenticate(p)
	start := len(ifc.Out.Arena)
	arena, err := p.Append(ifc.Out.Arena)
	switch size := len(arena) - start; {
	case err != nil:
		return dropUnsendable, false
	case ifc.Config.MTU != 0 && size > int(ifc.Config.MTU):
		return DropTooLong, false // the tunnel does not fragment NHRP
	}
	// When the arena grows, append moves it. The packets before this one keep the old memory, and
	// nothing writes to that any more.
	ifc.Out.Arena = arena
	ifc.Out.Packets = append(ifc.Out.Packets, output.Packet{
		Interface: ifc.Config.Name,
		To:        to,
		Data:      arena[start:len(arena):len(arena)],
	})
	ifc.Counters.sent[p.Type]++
	ifc.Peers.SentTo(to)
	return 0, true
}

// CIEList returns a list of CIEs that stays valid until the engine receives the next packet.
func (r *Router) CIEList(first []packet.CIE, more ...packet.CIE) []packet.CIE {
	start := len(r.CIEs)
	r.CIEs = append(r.CIEs, first...)
	r.CIEs = append(r.CIEs, more...)
	return r.CIEs[start:len(r.CIEs):len(r.CIEs)]
}

// OwnCIE returns the CIE that names this router, as in the Responder and Transit extensions.
func (ifc *Interface) OwnCIE() packet.CIE {
	return packet.CIE{
		MTU:         ifc.Config.MTU,
		HoldingTime: Seconds(ifc.Config.HoldingTime),
		NBMA:        ifc.Local,
		Protocol:    ifc.Address(),
	}
}

// EmptyExtensions returns the extensions that this router's requests ask others to fill, in the
// customary order.
func (ifc *Interface) EmptyExtensions(nat ...packet.CIE) []packet.Extension {
	list := []packet.Extension{
		{Type: packet.ExtensionResponder, Compulsory: true},
		{Type: packet.ExtensionForwardTransit, Compulsory: true},
		{Type: packet.ExtensionReverseTransit, Compulsory: true},
	}
	if ifc.Config.Authentication != "" {
		list = append(list, ifc.Auth)
	}
	return append(list, packet.Extension{Type: packet.ExtensionNATAddress, CIEs: nat})
}

// FillResponder names this router as the one that replies, if the requester asked for that.
func (ifc *Interface) FillResponder(m *Message) {
	if ext := m.Extension(packet.ExtensionResponder); ext != nil {
		ext.CIEs = ifc.CIEList(nil, ifc.OwnCIE())
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

// UnknownCompulsory returns the first compulsory extension that this router does not know. It
// returns nil if there is none.
func (m *Message) UnknownCompulsory() *packet.Extension {
	for i := range m.Extensions {
		if ext := &m.Extensions[i]; ext.Compulsory && !knownExtension(ext.Type) {
			return ext
		}
	}
	return nil
}

// Understood reports whether this router knows every compulsory extension of a request that it is
// to answer. If it does not, it sends an Error Indication to the source, and the request gets no
// other answer (RFC 2332 §5.3).
func (ifc *Interface) Understood(m *Message) bool {
	ext := m.UnknownCompulsory()
	if ext == nil {
		return true
	}
	ifc.Drop(DropUnknownExtension)
	ifc.SendError(m, packet.ErrorUnrecognizedExtension, ext.Offset())
	return false
}
