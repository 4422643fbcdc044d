// Package linklocal knows which link-local address belongs to a router's overlay address.
//
// IPv6 routing protocols, such as OSPFv3, name link-local addresses as next hops. NHRP knows
// routers by overlay addresses. So each router gives its tunnel the link-local address with the
// last 64 bits of its overlay address, and every router knows the one from the other: fe80::11
// belongs to fd00:255::11. Whose overlay address is proven has the link-local address too, so
// nobody has to register it, and nobody can claim another router's.
package linklocal

import "net/netip"

// interfaceBits is the length of what an overlay address and its link-local address have in common
// (RFC 4291 §2.5.6).
const interfaceBits = 64

// Overlay is the range of overlay addresses. The zero value, where the range is unknown, has no
// link-local addresses, and neither has a range of IPv4 or one that is wider than a /64, where two
// routers may have the last 64 bits in common.
type Overlay netip.Prefix

// Exist reports whether the routers of the overlay have link-local addresses.
func (o Overlay) Exist() bool {
	p := netip.Prefix(o)
	return p.IsValid() && p.Addr().Is6() && p.Bits() >= interfaceBits
}

// Of returns the link-local address of the router with an overlay address. It returns the zero
// address if that router has none, or one that could be the kernel's own on another router.
func (o Overlay) Of(router netip.Addr) netip.Addr {
	if !o.Exist() || !netip.Prefix(o).Contains(router) {
		return netip.Addr{}
	}
	a := router.As16()
	if kernels(a) {
		return netip.Addr{}
	}
	copy(a[:], []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0})
	return netip.AddrFrom16(a)
}

// kernels reports whether the last 64 bits are those of the link-local addresses that the kernel
// itself gives to a GRE tunnel, with the tunnel's local address in them (RFC 5214 §6.1).
func kernels(a [16]byte) bool {
	return a[8]&^2 == 0 && a[9] == 0 && a[10] == 0x5e && a[11] == 0xfe
}

// Router returns the overlay address of the router with a link-local address. It returns any other
// address as it is, and a link-local address that no router of the overlay has, too.
func (o Overlay) Router(hop netip.Addr) netip.Addr {
	if !hop.Is6() || !hop.IsLinkLocalUnicast() || !o.Exist() {
		return hop
	}
	a := netip.Prefix(o).Addr().As16()
	last := hop.As16()
	copy(a[interfaceBits/8:], last[interfaceBits/8:])
	if router := netip.AddrFrom16(a); o.Of(router) == hop {
		return router
	}
	return hop
}
