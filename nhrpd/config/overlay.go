package config

import "net/netip"

// overlay returns the range of the overlay's addresses: the one in the file, or the prefix of this
// router's own address. If that is a host prefix, it says nothing about other routers: the range is
// unknown, and overlay returns the zero Prefix.
func (c *checker) overlay(raw *rawInterface, own netip.Prefix) netip.Prefix {
	v := raw.Overlay
	if !v.set || !own.IsValid() {
		return onLink(own)
	}
	p, err := netip.ParsePrefix(v.v)
	switch {
	case err != nil:
		c.problem(v.at, "found %s, allowed is a prefix, such as \"10.255.0.0/24\"", quote(v.v))
	case p != p.Masked():
		c.problem(v.at, "found %s, which has host bits; did you mean %s?",
			quote(v.v), quote(p.Masked().String()))
	case p.Addr().Is4() != own.Addr().Is4():
		c.problem(v.at, "found %s, allowed is a prefix of the family of address, %s", p, own)
	case p.Bits() == 0:
		c.problem(v.at, "found %s, allowed is a prefix length of 1 and above: the overlay is not the whole world", p)
	case p.Bits() > own.Bits() || !p.Contains(own.Addr()):
		c.problem(v.at, "found %s, allowed is a prefix that contains address, %s", p, own)
	default:
		return p
	}
	return onLink(own)
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
// unknown, this router's own address.
func (i *Interface) ownRange() netip.Prefix {
	if i.Overlay.IsValid() {
		return i.Overlay
	}
	return i.Address.Masked()
}

// unboundedOverlay warns if clients may register any address, because neither a range nor a rule
// bounds them.
func (c *checker) unboundedOverlay(raw *rawInterface, i *Interface) {
	if i.Address.IsValid() && !i.Overlay.IsValid() && i.Server && i.Policy == nil {
		c.warn(raw.Address.at, "found the host prefix %s without overlay, so a client may register any address that no other route "+
			"leads to, and its traffic goes into the tunnel; give the range of the overlay's addresses: overlay = %q",
			i.Address, exampleRange(i.Address.Addr()))
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
