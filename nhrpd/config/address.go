package config

import (
	"net/netip"
	"slices"
	"strings"

	"cygnet/nhrpd/config/document"
)

// addresses checks the overlay addresses of an interface: one, or one of each family. It also
// checks the ranges of the overlay's addresses.
func (c *checker) addresses(raw *rawInterface, i *Interface) {
	v := raw.Address
	if !v.Present() {
		c.Report(raw.At.Key("address"), "missing; give the overlay address with its prefix length: address = \"10.255.0.11/24\"")
	}
	for n, text := range v.V {
		at := placeOf(v, n)
		own := c.address(at, text)
		switch {
		case !own.IsValid():
		case !i.Address.IsValid():
			i.Address = own
		case i.FamilyOf(own.Addr()) != Family{}:
			c.Report(at, "found %s beside %s, allowed is one address of each family",
				own, i.FamilyOf(own.Addr()).Address)
		default:
			i.Second.Address = own
		}
	}
	c.overlays(raw, i)
}

// placeOf returns the place of the n-th text of a setting. One that is alone has the place of the
// setting.
func placeOf(v document.Value[document.OneOrMore], n int) document.Place {
	if len(v.V) == 1 {
		return v.At
	}
	return v.At.Element(n)
}

// address checks one overlay address of an interface.
func (c *checker) address(at document.Place, text string) netip.Prefix {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		c.Report(at, "found %s, allowed is an address with a prefix length, such as \"10.255.0.11/24\"", document.Quote(text))
		return netip.Prefix{}
	}
	if wrong := notUnicast(p.Addr()); wrong != "" {
		c.Report(at, "found %s, %s; allowed is a unicast address", document.Quote(text), wrong)
		return netip.Prefix{}
	}
	switch host := p.Addr().BitLen() - p.Bits(); {
	case p.Bits() == 0:
		c.Report(at, "found %s, allowed is a prefix length of 1 and above: the overlay is not the whole world", document.Quote(text))
	case host >= 2 && p.Addr() == p.Masked().Addr():
		c.Report(at, "found %s, the address of the network itself; allowed is a host's, such as \"%s/%d\"", document.Quote(text), p.Addr().Next(), p.Bits())
	case host >= 2 && p.Addr().Is4() && p.Addr() == broadcast(p):
		c.Report(at, "found %s, the broadcast address of its network; allowed is a host's, such as \"%s/%d\"", document.Quote(text), p.Addr().Prev(), p.Bits())
	}
	return p
}

// broadcast returns the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

// notUnicast returns why an address cannot be a router's, or "" if it can.
func notUnicast(a netip.Addr) string {
	switch {
	case a.Zone() != "":
		return "an address with a zone"
	case a.Is4In6():
		return "an IPv4 address written as IPv6"
	case a.IsUnspecified():
		return "the unspecified address"
	case a.Is4() && a.As4()[0] == 0:
		return "an address in 0.0.0.0/8, which no host has"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "a multicast or broadcast address"
	case a.Is6() && a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

// underlay checks what the tunnel sends from: the name of a device, or one address or one of each
// IP version. Of a list of devices, uplinks checks those after the first.
func (c *checker) underlay(raw *rawInterface) (u Underlay) {
	v := firstOf(raw.Underlay)
	if !v.Set {
		if !v.Present() {
			c.Report(raw.At.Key("underlay"), "missing; give the device or the local address that the tunnel sends from: underlay = \"eth0\"")
		}
		return u
	}
	if allAddresses(raw.Underlay.V) {
		return c.underlayAddresses(raw)
	}
	if _, err := netip.ParseAddr(v.V); err == nil {
		return u // uplinks reports it
	}
	switch {
	case looksLikeAddress(v.V), !isDeviceName(v.V):
		c.Report(v.At, "found %s, allowed is a device such as \"eth0\" or an address such as \"198.51.100.1\", without a prefix length", document.Quote(v.V))
	case v.V == raw.At.Last():
		c.Report(v.At, "found %s, the tunnel itself; allowed is the device that leads to the other routers", document.Quote(v.V))
	}
	return Underlay{Device: v.V}
}

// allAddresses reports whether all of the strings are addresses.
func allAddresses(list []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool {
		_, err := netip.ParseAddr(s)
		return err != nil
	})
}

// underlayAddresses checks the local addresses that the tunnel sends from.
func (c *checker) underlayAddresses(raw *rawInterface) (u Underlay) {
	at := raw.Underlay.At
	for _, text := range raw.Underlay.V {
		a, _ := netip.ParseAddr(text)
		if wrong := notUnicast(a); wrong != "" {
			c.Report(at, "found %s, %s; allowed is a unicast address of this router or a device",
				document.Quote(text), wrong)
		}
		of := &u.Address
		if a.Is6() {
			of = &u.Address6
		}
		if of.IsValid() {
			c.Report(at, "found %s beside %s; allowed is one address of each IP version", a, *of)
		}
		*of = a
	}
	return u
}

// isDeviceName reports whether a network interface may have the name s.
func isDeviceName(s string) bool {
	return !looksLikeAddress(s) && s != "" && len(s) <= 15 &&
		!strings.ContainsAny(s, "/ \t\r\n") && printable(s)
}

// looksLikeAddress reports whether s is a mistyped address rather than a name: it has only digits
// and dots, or it has colons.
func looksLikeAddress(s string) bool {
	return s != "" &&
		(strings.Contains(s, ":") ||
			strings.Trim(s, "0123456789.") == "" && strings.Contains(s, "."))
}

// addr checks a single address. The key may be missing; where its table requires it, the caller
// reports that.
func (c *checker) addr(v document.Value[string], example string) netip.Addr {
	if !v.Set {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(v.V)
	if err != nil {
		c.Report(v.At, "found %s, allowed is an address, such as %s",
			document.Quote(v.V), document.Quote(example))
		return netip.Addr{}
	}
	if wrong := notUnicast(a); wrong != "" {
		c.Report(v.At, "found %s, %s; allowed is a unicast address, such as %s",
			document.Quote(v.V), wrong, document.Quote(example))
		return netip.Addr{}
	}
	return a
}

// host checks an address or host name and returns its canonical form.
func (c *checker) host(v document.Value[string]) string {
	if a, err := netip.ParseAddr(v.V); err == nil {
		if wrong := notUnicast(a); wrong != "" {
			c.Report(v.At, "found %s, %s; allowed is a unicast address or a host name",
				document.Quote(v.V), wrong)
			return ""
		}
		return a.String()
	}
	if looksLikeAddress(v.V) {
		c.Report(v.At, "found %s, which is not an address; allowed is an address without prefix length or port, or a host name", document.Quote(v.V))
		return ""
	}
	if !hostName(v.V) {
		c.Report(v.At, "found %s, allowed is an address or a host name: labels of at most 63 letters, digits and inner hyphens, with dots between", document.Quote(v.V))
		return ""
	}
	return strings.ToLower(v.V)
}

// hostName reports whether s is a host name by RFC 1123 §2.1. It also accepts a trailing dot, and
// underscores, which some sites have in internal names.
func hostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}
