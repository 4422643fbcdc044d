package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/packet"
)

// natAddress returns the NBMA address that a packet's NAT address extension gives for an overlay
// address, or the zero address if it gives no usable one.
func natAddress(p *packet.Packet, protocol netip.Addr) netip.Addr {
	ext := p.Extension(packet.ExtensionNATAddress)
	if ext == nil {
		return netip.Addr{}
	}
	for i := range ext.CIEs {
		if c := &ext.CIEs[i]; c.Protocol == protocol &&
			c.NBMA.IsValid() && !c.NBMA.IsUnspecified() && !inThisNetwork(c.NBMA) {
			return c.NBMA
		}
	}
	return netip.Addr{}
}

// natCIE returns an entry of the NAT address extension, in the form that Cisco and FRR use.
func natCIE(protocol, nbma netip.Addr) packet.CIE {
	return packet.CIE{PrefixLength: uint8(protocol.BitLen()), NBMA: nbma, Protocol: protocol}
}

// publicCIE returns an entry with our NBMA address as the NHS sees it, if we are behind NAT.
// Otherwise it returns no entry.
func (ifc *iface) publicCIE() []packet.CIE {
	if public := ifc.public(); public.IsValid() {
		return []packet.CIE{natCIE(ifc.overlay(), public)}
	}
	return nil
}

// fillNAT writes what we know about a client behind NAT into the NAT address extension of a packet
// that we forward. If the client sent the packet itself, fillNAT replaces the address that the
// client wrote there. That address may be from before the client's NAT changed: the client learns
// the new one with its next registration.
//
// As Cisco's hub does, fillNAT adds the extension to a packet that has none, if the NAT flag says
// that the requester understands it. Otherwise the packet would name only the client's private
// address.
func (e *Engine) fillNAT(m *message, protocol netip.Addr) {
	b := m.ifc.bindings[protocol]
	if b == nil || !b.clientNBMA.IsValid() || b.clientNBMA == m.ifc.real(b.nbma) {
		return
	}
	public := natCIE(protocol, m.ifc.real(b.nbma))
	ext := m.Extension(packet.ExtensionNATAddress)
	if ext == nil {
		if m.Flags&packet.FlagNAT != 0 {
			m.Extensions = append(m.Extensions, packet.Extension{
				Type: packet.ExtensionNATAddress, CIEs: e.cieList(nil, public)})
		}
		return
	}
	switch i := slices.IndexFunc(ext.CIEs,
		func(c packet.CIE) bool { return c.Protocol == protocol }); {
	case len(ext.CIEs) == 0:
		ext.CIEs = e.cieList(nil, public)
	case i >= 0 && b.nbma == m.from:
		ext.CIEs[i].NBMA = public.NBMA
	}
}
