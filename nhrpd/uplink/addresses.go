package uplink

import "net/netip"

// Addresses are the addresses of a device that a tunnel can send from: at most one of IPv4 and one
// of IPv6. The zero address stands for none.
type Addresses struct{ V4, V6 netip.Addr }

// IsValid reports whether there is an address.
func (a Addresses) IsValid() bool { return a.V4.IsValid() || a.V6.IsValid() }

// Of returns the address of the IP version of another address; the zero address if there is none.
func (a Addresses) Of(other netip.Addr) netip.Addr {
	if other.Is4() {
		return a.V4
	}
	return a.V6
}

// shares reports whether both have an address in common.
func (a Addresses) shares(other Addresses) bool {
	return a.V4.IsValid() && a.V4 == other.V4 || a.V6.IsValid() && a.V6 == other.V6
}
