package overlay

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// MaxEntries bounds the CIEs of one request, since each of them costs a search.
const MaxEntries = 64

// CIEList returns a list of CIEs that stays valid until the engine receives the next packet.
func (r *Router) CIEList(first []packet.CIE, more ...packet.CIE) []packet.CIE {
	start := len(r.cies)
	r.cies = append(r.cies, first...)
	r.cies = append(r.cies, more...)
	return r.cies[start:len(r.cies):len(r.cies)]
}

// OwnCIE returns the CIE that names this router, as in the Responder and Transit extensions, by its
// overlay address of the same IP version as a. A packet has overlay addresses of one version only
// (RFC 2332 §5.1), and NBMA addresses of the version of its source: the CIE has none if this router
// has none of that version.
func (ifc *Interface) OwnCIE(a, source netip.Addr) packet.CIE {
	return packet.CIE{
		MTU:         ifc.Config.MTU,
		HoldingTime: Seconds(ifc.Config.HoldingTime),
		NBMA:        ifc.LocalFor(source),
		Protocol:    ifc.AddressFor(a),
	}
}

// NATCIE returns an entry of the NAT address extension, in the form that Cisco and FRR use.
func NATCIE(protocol, nbma netip.Addr) packet.CIE {
	return packet.CIE{PrefixLength: uint8(protocol.BitLen()), NBMA: nbma, Protocol: protocol}
}
