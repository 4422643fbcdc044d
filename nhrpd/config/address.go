package config

import (
	"net/netip"
	"strings"
)

// address checks the overlay address of an interface.
func (c *checker) address(raw *rawInterface) netip.Prefix {
	v := raw.Address
	if !v.set {
		if !v.present() {
			c.problem(raw.At.key("address"), "missing; give the overlay address with its prefix length: address = \"10.255.0.11/24\"")
		}
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(v.v)
	if err != nil {
		c.problem(v.at, "found %s, allowed is an address with a prefix length, such as \"10.255.0.11/24\"", quote(v.v))
		return netip.Prefix{}
	}
	if wrong := notUnicast(p.Addr()); wrong != "" {
		c.problem(v.at, "found %s, %s; allowed is a unicast address", quote(v.v), wrong)
		return netip.Prefix{}
	}
	switch host := p.Addr().BitLen() - p.Bits(); {
	case p.Bits() == 0:
		c.problem(v.at, "found %s, allowed is a prefix length of 1 and above: the overlay is not the whole world", quote(v.v))
	case host >= 2 && p.Addr() == p.Masked().Addr():
		c.problem(v.at, "found %s, the address of the network itself; allowed is a host's, such as \"%s/%d\"", quote(v.v), p.Addr().Next(), p.Bits())
	case host >= 2 && p.Addr().Is4() && p.Addr() == broadcast(p):
		c.problem(v.at, "found %s, the broadcast address of its network; allowed is a host's, such as \"%s/%d\"", quote(v.v), p.Addr().Prev(), p.Bits())
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
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "a multicast or broadcast address"
	case a.Is6() && a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

// underlay checks what the tunnel sends from. A value that is not an address is the name of a
// device.
func (c *checker) underlay(raw *rawInterface) Underlay {
	v := raw.Underlay
	if !v.set {
		if !v.present() {
			c.problem(raw.At.key("underlay"), "missing; give the device or the local address that the tunnel sends from: underlay = \"eth0\"")
		}
		return Underlay{}
	}
	if a, err := netip.ParseAddr(v.v); err == nil {
		if wrong := notUnicast(a); wrong != "" {
			c.problem(v.at, "found %s, %s; allowed is a unicast address of this router or a device",
				quote(v.v), wrong)
		}
		return Underlay{Address: a}
	}
	switch {
	case looksLikeAddress(v.v), v.v == "" || len(v.v) > 15, strings.ContainsAny(v.v, "/ \t\r\n") ||
		!printable(v.v):
		c.problem(v.at, "found %s, allowed is a device such as \"eth0\" or an address such as \"198.51.100.1\", without a prefix length", quote(v.v))
	case v.v == raw.At.last():
		c.problem(v.at, "found %s, the tunnel itself; allowed is the device that leads to the other routers", quote(v.v))
	}
	return Underlay{Device: v.v}
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
func (c *checker) addr(v value[string], example string) netip.Addr {
	if !v.set {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(v.v)
	if err != nil {
		c.problem(v.at, "found %s, allowed is an address, such as %s", quote(v.v), quote(example))
		return netip.Addr{}
	}
	if wrong := notUnicast(a); wrong != "" {
		c.problem(v.at, "found %s, %s; allowed is a unicast address, such as %s",
			quote(v.v), wrong, quote(example))
		return netip.Addr{}
	}
	return a
}

// host checks an address or host name and returns its canonical form.
func (c *checker) host(v value[string]) string {
	if a, err := netip.ParseAddr(v.v); err == nil {
		if wrong := notUnicast(a); wrong != "" {
			c.problem(v.at, "found %s, %s; allowed is a unicast address or a host name",
				quote(v.v), wrong)
			return ""
		}
		return a.String()
	}
	if looksLikeAddress(v.v) {
		c.problem(v.at, "found %s, which is not an address; allowed is an address without prefix length or port, or a host name", quote(v.v))
		return ""
	}
	if !hostName(v.v) {
		c.problem(v.at, "found %s, allowed is an address or a host name: labels of at most 63 letters, digits and inner hyphens, with dots between", quote(v.v))
		return ""
	}
	return strings.ToLower(v.v)
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
