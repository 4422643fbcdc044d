package engine

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// A client that does not know its NHS's overlay address has to name some destination in its
// registration. RFC 2332 §5.2.3 has it name its own address, as Cisco's and FRR's routers do.
// OpenNHRP names the overlay's broadcast address instead, and its hub answers nothing else.

// broadcast returns the overlay's broadcast address. It is zero where there is none: in IPv6, and
// in a prefix of one or two addresses.
func (ifc *iface) broadcast() netip.Addr {
	if p := ifc.cfg.Address; p.Bits() < p.Addr().BitLen()-1 {
		return broadcast(p)
	}
	return netip.Addr{}
}

// meantForNHS reports whether a registration is for this NHS: it names our overlay address, or
// one of those that stand for an unknown one.
func (ifc *iface) meantForNHS(m *message) bool {
	dest := m.DestProtocol
	return dest == ifc.overlay() || dest == m.SourceProtocol || dest == ifc.broadcast()
}

// unknownNHS returns the destination of a registration with an NHS whose overlay address is not
// known, after so many registrations in vain: our own address at first, then the broadcast
// address in turn with it.
func (ifc *iface) unknownNHS(unanswered int) netip.Addr {
	all := ifc.broadcast()
	if unanswered < triesPerAddr || (unanswered-triesPerAddr)%2 != 0 || !all.IsValid() {
		return ifc.overlay()
	}
	return all
}

// clampMTU lowers the MTU that a client claims to the tunnel's: Cisco's routers claim 17,916.
func (ifc *iface) clampMTU(cie *packet.CIE) {
	if ifc.cfg.MTU != 0 {
		cie.MTU = min(cie.MTU, ifc.cfg.MTU)
	}
}
