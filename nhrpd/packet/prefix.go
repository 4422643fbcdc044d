package packet

import "net/netip"

// Host reports whether the prefix length means a single address. 0 and 255 do (RFC 2332 §5.2.0.1),
// and so does the full length of the overlay's addresses, which DMVPN routers send even with the
// flag U. In a CIE built by hand without a protocol address, 32 and 128 both count as the full
// length.
func (c CIE) Host() bool {
	switch c.PrefixLength {
	case 0, 255:
		return true
	case 32, 128:
		full := c.addressBits
		if c.Protocol.IsValid() {
			full = uint8(c.Protocol.BitLen())
		}
		return full == 0 || full == c.PrefixLength
	}
	return false
}

// PrefixOf applies the prefix length to addr and returns the masked prefix, which is addr alone if
// Host. It reports false for a length beyond addr's family and for the zero Addr. In registrations
// and purges addr is c.Protocol or, if that is absent, the header's source; in resolution replies
// it is the header's destination (RFC 2332 §5.2.2).
func (c CIE) PrefixOf(addr netip.Addr) (netip.Prefix, bool) {
	bits := int(c.PrefixLength)
	if bits == 0 || bits == 255 {
		bits = addr.BitLen()
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil && prefix.IsValid()
}
