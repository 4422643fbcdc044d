package config

import (
	"fmt"
	"net/netip"

	"cygnet/nhrpd/config/document"
)

// Family is this router's overlay address of one family, IPv4 or IPv6, and the range of the overlay
// addresses of that family. The zero value is that of a family that the overlay does not have.
type Family struct {
	// the overlay address, with the prefix length on the tunnel's link; not masked
	Address netip.Prefix
	// the prefix, masked, that contains all overlay addresses; zero: unknown, because Address has a
	// host prefix
	Overlay netip.Prefix
}

// Families returns the families that the overlay has, in the order of the file.
func (i *Interface) Families() []Family {
	all := []Family{{i.Address, i.Overlay}}
	if i.Second.Address.IsValid() {
		all = append(all, i.Second)
	}
	return all
}

// FamilyOf returns the overlay's family that an address is of. It returns the zero Family if the
// overlay has no such family.
func (i *Interface) FamilyOf(a netip.Addr) Family {
	for _, f := range i.Families() {
		if own := f.Address.Addr(); a.IsValid() && own.IsValid() && own.Is4() == a.Is4() {
			return f
		}
	}
	return Family{}
}

// IPv6 returns the IPv6 part of the overlay. It returns the zero Family if there is none.
func (i *Interface) IPv6() Family { return i.FamilyOf(netip.IPv6Unspecified()) }

// IsOwn reports whether an address is an overlay address of this router.
func (i *Interface) IsOwn(a netip.Addr) bool {
	return a.IsValid() && i.FamilyOf(a).Address.Addr() == a
}

// familyFault returns why an address cannot be of the overlay, or "" if it is of one of its
// families. what is what the address belongs to: "an address" or "a prefix", for example.
func (i *Interface) familyFault(a netip.Addr, what string) string {
	if !i.Address.IsValid() || i.FamilyOf(a) != (Family{}) {
		return ""
	}
	return fmt.Sprintf("allowed is %s of the overlay's family, which is that of %s; "+
		"for both families, give address one of each", what, i.Address)
}

// overlays checks the ranges of the overlay's addresses: those in the file, or the prefixes of this
// router's own addresses. If one of those is a host prefix, it says nothing about other routers:
// the range is unknown, and stays the zero Prefix.
func (c *checker) overlays(raw *rawInterface, i *Interface) {
	i.Overlay, i.Second.Overlay = onLink(i.Address), onLink(i.Second.Address)
	v := raw.Overlay
	if !i.Address.IsValid() {
		return
	}
	given := map[bool]netip.Prefix{} // by whether it is of IPv4
	for n, text := range v.V {
		at := placeOf(v, n)
		p := c.overlay(at, text, i)
		if !p.IsValid() {
			continue
		}
		if other, twice := given[p.Addr().Is4()]; twice {
			c.Report(at, "found %s beside %s, allowed is one prefix of each family", p, other)
			continue
		}
		given[p.Addr().Is4()] = p
		if p.Addr().Is4() == i.Address.Addr().Is4() {
			i.Overlay = p
		} else {
			i.Second.Overlay = p
		}
	}
}

// overlay checks the range of the overlay's addresses of one family. It returns the zero Prefix if
// the range cannot be used.
func (c *checker) overlay(at document.Place, text string, i *Interface) netip.Prefix {
	p, err := netip.ParsePrefix(text)
	own := i.FamilyOf(p.Addr()).Address
	switch {
	case err != nil:
		c.Report(at, "found %s, allowed is a prefix, such as \"10.255.0.0/24\"",
			document.Quote(text))
	case p != p.Masked():
		c.Report(at, "found %s, which has host bits; did you mean %s?",
			document.Quote(text), document.Quote(p.Masked().String()))
	case !own.IsValid():
		c.Report(at, "found %s, allowed is a prefix of the family of address, %s", p, i.Address)
	case p.Bits() == 0:
		c.Report(at, "found %s, allowed is a prefix length of 1 and above: the overlay is not the whole world", p)
	case p.Bits() > own.Bits() || !p.Contains(own.Addr()):
		c.Report(at, "found %s, allowed is a prefix that contains address, %s", p, own)
	default:
		return p
	}
	return netip.Prefix{}
}

// onLink returns the prefix that an address shares with others on the tunnel's link, or the zero
// Prefix for a host prefix.
func onLink(own netip.Prefix) netip.Prefix {
	if !own.IsValid() || own.IsSingleIP() {
		return netip.Prefix{}
	}
	return own.Masked()
}

// ownRange returns the addresses that certainly belong to the overlay: its range or, if that is
// unknown, this router's own address. It returns the zero Prefix for no family.
func (f Family) ownRange() netip.Prefix {
	if f.Overlay.IsValid() || !f.Address.IsValid() {
		return f.Overlay
	}
	return f.Address.Masked()
}

// unboundedOverlay warns if clients may register any address, because neither a range nor a rule
// bounds them.
func (c *checker) unboundedOverlay(raw *rawInterface, i *Interface) {
	if !i.Server || i.Policy != nil {
		return
	}
	for _, f := range i.Families() {
		if f.Address.IsValid() && !f.Overlay.IsValid() {
			c.Warn(raw.Address.At, "found the host prefix %s without overlay, so a client may register any address that no other route "+
				"leads to, and its traffic goes into the tunnel; give the range of the overlay's addresses: overlay = %q",
				f.Address, exampleRange(f.Address.Addr()))
		}
	}
}

// exampleRange returns a prefix around an address of the usual size of an overlay, for a message.
func exampleRange(a netip.Addr) string {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked().String()
}
