package overlay

import "net/netip"

// SameFamily reports whether addr is valid, and of the same IP version as the overlay.
func (ifc *Interface) SameFamily(addr netip.Addr) bool {
	return addr.IsValid() && addr.Is4() == ifc.Address().Is4()
}

// OnLink reports whether the kernel reaches an overlay address without a host route, because the
// prefix of our own address contains it.
func (ifc *Interface) OnLink(a netip.Addr) bool { return ifc.Config.Address.Contains(a) }

// OverlayRange returns the prefix that contains all overlay addresses. It returns the zero prefix
// if the range is unknown, because our own address has a host prefix and no overlay is configured.
func (ifc *Interface) OverlayRange() netip.Prefix {
	switch {
	case ifc.Config.Overlay.IsValid():
		return ifc.Config.Overlay
	case ifc.Config.Address.IsSingleIP():
		return netip.Prefix{}
	}
	return ifc.Config.Address.Masked()
}

// InOverlay reports whether an address is known to be an overlay address.
func (ifc *Interface) InOverlay(a netip.Addr) bool {
	r := ifc.OverlayRange()
	return r.IsValid() && r.Contains(a)
}

// Overlaid reports whether a prefix overlaps the overlay. If the overlay's range is unknown, it
// reports whether the prefix covers our own overlay address.
func (ifc *Interface) Overlaid(prefix netip.Prefix) bool {
	if r := ifc.OverlayRange(); r.IsValid() {
		return prefix.Overlaps(r)
	}
	return prefix.Overlaps(ifc.Config.Address)
}

// ClientAddress reports whether an overlay address may be another router's. Such an address lies in
// the overlay, is not ours, and is neither the network nor the broadcast address of the prefix on
// the tunnel's link. If the overlay's range is unknown, any unicast address may be.
func (ifc *Interface) ClientAddress(a netip.Addr) bool {
	prefix := ifc.Config.Address
	switch r := ifc.OverlayRange(); {
	case !ifc.SameFamily(a) || a == prefix.Addr():
		return false
	case r.IsValid() && !r.Contains(a), !r.IsValid() && !a.IsGlobalUnicast():
		return false
	case prefix.Bits() >= a.BitLen()-1:
		return true // RFC 3021: both addresses are hosts
	}
	return a != prefix.Masked().Addr() && a != broadcast(prefix)
}

// Broadcast returns the overlay's broadcast address. It returns the zero address where there is
// none: in IPv6, and in a prefix of one or two addresses.
func (ifc *Interface) Broadcast() netip.Addr {
	if p := ifc.Config.Address; p.Bits() < p.Addr().BitLen()-1 {
		return broadcast(p)
	}
	return netip.Addr{}
}

// broadcast returns the last address of an IPv4 prefix, and the zero address for IPv6.
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() {
		return netip.Addr{}
	}
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// HostPrefix returns the prefix that contains only a. For the zero address it returns the zero
// prefix.
func HostPrefix(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// Unspecified returns the all-zero address of the same IP version as a.
func Unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
