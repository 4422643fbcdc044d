package rtnl

import (
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Encode returns the bytes of the attributes. Encoding fails only for an attribute longer than 64
// KiB, and the daemon sends none of that length.
func Encode(attributes *netlink.AttributeEncoder) []byte {
	b, err := attributes.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

// Family returns the family of an address, unix.AF_INET or unix.AF_INET6.
func Family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
