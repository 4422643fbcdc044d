package packet

import "net/netip"

// reader reads the lengths of addresses and then the addresses themselves from offset at on. After
// the first error it returns only zero values.
type reader struct {
	b   []byte
	at  int
	err *ParseError

	anyLength bool // addresses need not be of the packet's family
	foreign   bool // an address was not of the packet's family
}

// nbmaLen reads the type/length field of an NBMA address. The address has the length of its family,
// or is absent.
func (r *reader) nbmaLen(
	offset int, field string, family uint8, format oddity, received *oddity,
) int {
	n := r.typeLen(offset, field, format, received)
	if n != 0 && n != int(family) && r.refuses() {
		r.err = malformed(offset, field, n, "that of the address family, or 0")
	}
	return n
}

// subaddressLen reads the type/length field of an NBMA subaddress.
func (r *reader) subaddressLen(offset int, field string, received *oddity) int {
	return r.typeLen(offset, field, oddSubaddressFormat, received)
}

// typeLen reads a type/length field (RFC 2332 §5.1). The format bit has no meaning with length 0;
// otherwise it marks an E.164 address, which IP networks do not have.
func (r *reader) typeLen(offset int, field string, format oddity, received *oddity) int {
	v := r.b[offset]
	n := int(v & lenMask)
	if r.err == nil && (v&lenReserved != 0 || v&lenFormat != 0 && n != 0) {
		r.err = malformed(offset, field, int(v), "without the bits 0x80 and 0x40")
	}
	if v&lenFormat != 0 {
		*received |= format
	}
	return n
}

// protocolLen reads the length of an overlay address. The address has the length of its protocol
// type, or is absent.
func (r *reader) protocolLen(offset int, field string, protocol uint8) int {
	n := int(r.b[offset])
	if n != 0 && n != int(protocol) && r.refuses() {
		r.err = malformed(offset, field, n, "that of the protocol type, or 0")
	}
	return n
}

// refuses reports whether an address that is not of the packet's family is an error. If it is not,
// refuses notes that there was one.
func (r *reader) refuses() bool {
	r.foreign = r.anyLength
	return !r.anyLength && r.err == nil
}

// room reports an error unless n bytes of addresses follow at offset.
func (r *reader) room(offset int, field string, n int) {
	if r.err == nil && n > len(r.b)-r.at {
		r.err = malformed(offset, field, n, "not more than what is left for them")
	}
}

func (r *reader) address(n int) netip.Addr {
	a, _ := netip.AddrFromSlice(r.bytes(n))
	return a
}

// addressOf reads an address of n bytes. It returns the zero Addr if the addresses of the family
// have another length.
func (r *reader) addressOf(family uint8, n int) netip.Addr {
	if n != int(family) {
		r.bytes(n)
		return netip.Addr{}
	}
	return r.address(n)
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n == 0 {
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}
