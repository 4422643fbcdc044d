package rtnl

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// appendAttribute appends a netlink attribute, and pads it so that the next attribute is aligned.
func appendAttribute(b []byte, kind uint16, value ...byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// appendAddress appends a netlink attribute whose value is an address.
func appendAddress(b []byte, kind uint16, a netip.Addr) []byte {
	if a.Is4() {
		value := a.As4()
		return appendAttribute(b, kind, value[:]...)
	}
	value := a.As16()
	return appendAttribute(b, kind, value[:]...)
}
