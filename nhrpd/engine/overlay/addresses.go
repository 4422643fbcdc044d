package overlay

import (
	"net/netip"

	"cygnet/nhrpd/linklocal"
)

// Family is this router's overlay address of one IP version, and the range of the overlay addresses
// of that version. The zero value is that of a version that the overlay does not have.
type Family struct {
	// Address is our overlay address, with the prefix that the kernel has on the tunnel's link.
	Address netip.Prefix

	// Overlay is the range of overlay addresses. If it is zero, the range is the prefix of Address,
	// or unknown where that is a host prefix.
	Overlay netip.Prefix
}

// exists reports whether the overlay has the family.
func (f Family) exists() bool { return f.Address.IsValid() }

// Range returns the prefix that contains all overlay addresses of the family. It returns the zero
// prefix if the range is unknown, because our own address has a host prefix and no overlay is
// configured.
func (f Family) Range() netip.Prefix {
	switch {
	case f.Overlay.IsValid():
		return f.Overlay
	case !f.exists() || f.Address.IsSingleIP():
		return netip.Prefix{}
	}
	return f.Address.Masked()
}

// Families returns the families that the overlay has, in the order of the configuration.
func (c *InterfaceConfig) Families() []Family {
	first := Family{Address: c.Address, Overlay: c.Overlay}
	if !c.Second.exists() {
		return []Family{first}
	}
	return []Family{first, c.Second}
}

// FamilyOf returns the family of an address. It returns the zero Family for the zero address, and
// if the overlay does not have the family of the address.
func (c *InterfaceConfig) FamilyOf(a netip.Addr) Family {
	switch {
	case !a.IsValid():
		return Family{}
	case a.Is4() == c.Address.Addr().Is4():
		return Family{Address: c.Address, Overlay: c.Overlay}
	}
	return c.Second
}

// HasFamily reports whether addr is valid, and we have an overlay address of the same IP version.
func (ifc *Interface) HasFamily(addr netip.Addr) bool { return ifc.Config.FamilyOf(addr).exists() }

// AddressFor returns our own overlay address of the same IP version as a. It returns the zero
// address if we have none.
func (ifc *Interface) AddressFor(a netip.Addr) netip.Addr {
	return ifc.Config.FamilyOf(a).Address.Addr()
}

// LongestAddress returns the longest of our overlay addresses: the IPv6 one, if there is one.
func (ifc *Interface) LongestAddress() netip.Addr {
	if own := ifc.AddressFor(netip.IPv6Unspecified()); own.IsValid() {
		return own
	}
	return ifc.Address()
}

// IsOwn reports whether a is an overlay address of ours.
func (ifc *Interface) IsOwn(a netip.Addr) bool { return a.IsValid() && ifc.AddressFor(a) == a }

// OwnInside returns the first of our overlay addresses that a prefix contains. It returns the zero
// address if there is none.
func (ifc *Interface) OwnInside(prefix netip.Prefix) netip.Addr {
	if own := ifc.AddressFor(prefix.Addr()); prefix.Contains(own) {
		return own
	}
	return netip.Addr{}
}

// OnLink reports whether the kernel reaches an overlay address without a host route, because the
// prefix of our own address contains it.
func (ifc *Interface) OnLink(a netip.Addr) bool {
	return ifc.Config.FamilyOf(a).Address.Contains(a)
}

// OverlayRange returns the prefix that contains all overlay addresses of the same IP version as a.
// It returns the zero prefix if the range is unknown, because our own address has a host prefix and
// no overlay is configured.
func (ifc *Interface) OverlayRange(a netip.Addr) netip.Prefix {
	return ifc.Config.FamilyOf(a).Range()
}

// LinkLocals returns the range of IPv6 overlay addresses as one by which routers have link-local
// addresses.
func (ifc *Interface) LinkLocals() linklocal.Overlay { return ifc.Config.LinkLocals() }

// InOverlay reports whether an address is known to be an overlay address.
func (ifc *Interface) InOverlay(a netip.Addr) bool {
	r := ifc.OverlayRange(a)
	return r.IsValid() && r.Contains(a)
}

// Overlaid reports whether a prefix overlaps the overlay. If the overlay's range is unknown, it
// reports whether the prefix covers our own overlay address.
func (ifc *Interface) Overlaid(prefix netip.Prefix) bool {
	f := ifc.Config.FamilyOf(prefix.Addr())
	if r := f.Range(); r.IsValid() {
		return prefix.Overlaps(r)
	}
	return prefix.Overlaps(f.Address)
}

// ClientAddress reports whether an overlay address may be another router's. Such an address lies in
// the overlay, is not ours, and is neither the network nor the broadcast address of the prefix on
// the tunnel's link. If the overlay's range is unknown, any unicast address may be.
func (ifc *Interface) ClientAddress(a netip.Addr) bool {
	f := ifc.Config.FamilyOf(a)
	prefix := f.Address
	switch r := f.Range(); {
	case !f.exists() || a == prefix.Addr():
		return false
	case r.IsValid() && !r.Contains(a), !r.IsValid() && !a.IsGlobalUnicast():
		return false
	case prefix.Bits() >= a.BitLen()-1:
		return true // RFC 3021: both addresses are hosts
	}
	return a != prefix.Masked().Addr() && a != broadcast(prefix)
}

// Broadcast returns the overlay's broadcast address of the same IP version as a. It returns the
// zero address where there is none: in IPv6, and in a prefix of one or two addresses.
func (ifc *Interface) Broadcast(a netip.Addr) netip.Addr {
	f := ifc.Config.FamilyOf(a)
	if p := f.Address; f.exists() && p.Bits() < p.Addr().BitLen()-1 {
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
