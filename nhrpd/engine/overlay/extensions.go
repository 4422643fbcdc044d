package overlay

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// EmptyExtensions returns the extensions that this router's requests ask others to fill, in the
// customary order. The NAT address extension has the entries nat.
func (ifc *Interface) EmptyExtensions(nat ...packet.CIE) []packet.Extension {
	list := []packet.Extension{
		{Type: packet.ExtensionResponder, Compulsory: true},
		{Type: packet.ExtensionForwardTransit, Compulsory: true},
		{Type: packet.ExtensionReverseTransit, Compulsory: true},
	}
	if ifc.Config.Authentication != "" {
		list = append(list, ifc.password)
	}
	return append(list, packet.Extension{Type: packet.ExtensionNATAddress, CIEs: nat})
}

// FillResponder names this router as the one that replies, if the requester asked for that (RFC
// 2332 §5.3.1).
func (ifc *Interface) FillResponder(m *Message) {
	if ext := m.Extension(packet.ExtensionResponder); ext != nil {
		ext.CIEs = ifc.CIEList(nil, ifc.OwnCIE(m.SourceProtocol, m.SourceNBMA))
	}
}

// NATAddress returns the NBMA address that a packet's NAT address extension gives for an overlay
// address, or the zero address if it gives no usable one.
func NATAddress(p *packet.Packet, protocol netip.Addr) netip.Addr {
	ext := p.Extension(packet.ExtensionNATAddress)
	if ext == nil {
		return netip.Addr{}
	}
	for i := range ext.CIEs {
		if c := &ext.CIEs[i]; c.Protocol == protocol &&
			c.NBMA.IsValid() && !c.NBMA.IsUnspecified() && !InThisNetwork(c.NBMA) {
			return c.NBMA
		}
	}
	return netip.Addr{}
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

// knownExtension reports whether this router, as a responder, can process an extension.
func knownExtension(t packet.ExtensionType) bool {
	switch t {
	case packet.ExtensionResponder, packet.ExtensionForwardTransit, packet.ExtensionReverseTransit,
		packet.ExtensionAuthentication, packet.ExtensionVendor, packet.ExtensionNATAddress:
		return true
	}
	return false
}
