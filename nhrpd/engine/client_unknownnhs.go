package engine

import "net/netip"

// A client that does not know its NHS's overlay address has to name some destination in its
// registration. RFC 2332 §5.2.3 has it name its own address, as Cisco's and FRR's routers do.
// OpenNHRP names the overlay's broadcast address instead, and its hub answers nothing else.

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
