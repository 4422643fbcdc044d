package overlay

import "net/netip"

// UsableNBMA reports whether a saved address can be a router's NBMA address.
func UsableNBMA(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast()
}

// InThisNetwork reports whether an address is in 0.0.0.0/8 and not 0.0.0.0. No router has such an
// address (RFC 1122 §3.2.1.3), so the engine uses these addresses as peer IDs.
func InThisNetwork(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 0 && !a.IsUnspecified() }
