package config

import (
	"cmp"
	"net/netip"
	"slices"

	"cygnet/nhrpd/config/document"
)

// maxAnnounced is the most prefixes of one family that a router announces, if the tunnel's MTU
// leaves room for them in one registration.
const maxAnnounced = 32

// roomForPrefixes returns how many prefixes of the family of own, an overlay address of this
// router, fit into a registration at the MTU of the interface.
// The longest form of the registration is the reply to a client behind NAT. It has these bytes: a
// fixed header of 28 and the client's NBMA address; both overlay addresses; Responder, Forward and
// Reverse Transit, NAT and End extensions of 4 each; a CIE of 12 with NBMA and overlay address for
// the responder, and two for NAT; with a password, an extension of 8 and the password.
func roomForPrefixes(i *Interface, own netip.Addr) int {
	address := own.BitLen() / 8
	rest := 28 + 4 + 2*address + 5*4 + 3*(12+4+address)
	if len(i.Authentication) > 0 {
		rest += 8 + len(i.Authentication)
	}
	return (i.MTU - rest) / (12 + address)
}

// announce checks the networks to register with the servers.
func (c *checker) announce(raw *rawInterface, i *Interface) []netip.Prefix {
	v := raw.Announce
	prefixes := c.prefixes(v, i, func(p netip.Prefix) string {
		if overlay := i.FamilyOf(p.Addr()).ownRange(); p.Overlaps(overlay) {
			return "which overlaps with the overlay " + overlay.String() + "; allowed are networks outside the tunnel"
		}
		return ""
	})
	for _, f := range i.Families() {
		c.announcedOfOne(v.At, prefixes, i, f.Address.Addr())
	}
	if len(prefixes) > 0 && len(i.NHS) == 0 && len(raw.NHS) == 0 {
		c.Warn(v.At, "prefixes are announced to an NHS, and none is configured: give nhs = [{ nbma = \"…\" }]")
	}
	return prefixes
}

// announcedOfOne checks that the prefixes of the family of own fit into one registration.
func (c *checker) announcedOfOne(
	at document.Place, prefixes []netip.Prefix, i *Interface, own netip.Addr,
) {
	n := 0
	for _, p := range prefixes {
		if p.Addr().Is4() == own.Is4() {
			n++
		}
	}
	switch room := roomForPrefixes(i, own); {
	case n > maxAnnounced:
		c.Report(at, "found %d prefixes, allowed are %d: announce a shorter one that contains several",
			n, maxAnnounced)
	case n > room:
		c.Report(at, "found %d prefixes, allowed are %d with this mtu: announce a shorter one that contains several", n, room)
	}
}

// accept checks what clients may announce. These prefixes may contain the overlay, no part of which
// is ever accepted from a client.
func (c *checker) accept(raw *rawInterface, i *Interface) []netip.Prefix {
	return c.prefixes(raw.Accept, i, func(p netip.Prefix) string {
		overlay := i.FamilyOf(p.Addr()).ownRange()
		if overlay.Bits() <= p.Bits() && p.Overlaps(overlay) {
			return "which is in the overlay " + overlay.String() + "; allowed are networks outside the tunnel"
		}
		return ""
	})
}

// prefixes checks a list of networks that may lie behind routers of the overlay.
func (c *checker) prefixes(
	v document.Value[[]string], i *Interface, inOverlay func(netip.Prefix) string,
) []netip.Prefix {
	var list []netip.Prefix
	for n, text := range v.V {
		at := v.At.Element(n)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			c.Report(at, "found %s, allowed is a prefix, such as \"172.16.1.0/24\"",
				document.Quote(text))
			continue
		}
		if wrong := cmp.Or(prefixFault(p, i), inOverlay(p)); wrong != "" {
			c.Report(at, "found %s, %s", p, wrong)
			continue
		}
		for m, other := range list {
			if other.Overlaps(p) {
				c.Report(at,
					"found %s, which overlaps with %s of %s; allowed is each address once",
					p, other, v.At.Element(m))
				break
			}
		}
		list = append(list, p)
	}
	return list
}

// prefixFault returns why a prefix cannot be a network behind a router of the overlay, or "" if it
// can.
func prefixFault(p netip.Prefix, i *Interface) string {
	least := 8
	if p.Addr().Is6() {
		least = 16
	}
	switch {
	case p != p.Masked():
		return "which has bits set beyond its length; allowed is the network, " +
			p.Masked().String()
	case notUnicast(p.Addr()) != "" && !p.Addr().IsUnspecified():
		return notUnicast(p.Addr()) + "; allowed is a network of unicast addresses"
	case p.Bits() < least:
		return "nearly the whole world; allowed is a prefix length of 8 and above, for IPv6 16 and above"
	case !i.Address.IsValid():
		return ""
	case i.familyFault(p.Addr(), "a prefix") != "":
		return i.familyFault(p.Addr(), "a prefix")
	case slices.ContainsFunc(i.Underlay.Addresses(), p.Contains):
		return "which contains " + i.Underlay.String() + ", the address that the tunnel sends from; allowed are networks outside the underlay"
	}
	for _, n := range i.NHS {
		if a, err := netip.ParseAddr(n.NBMA); err == nil && p.Contains(a) {
			return "which contains the NHS " + a.String() + "; allowed are networks outside the underlay"
		}
	}
	for _, m := range i.Maps {
		if p.Contains(m.NBMA) {
			return "which contains the underlay address " + m.NBMA.String() + " of a map; allowed are networks outside the underlay"
		}
	}
	return ""
}
