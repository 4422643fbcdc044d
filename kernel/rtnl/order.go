package rtnl

import "unsafe"

// NetworkOrder returns a number whose bytes in memory are those of v in network byte order.
func NetworkOrder(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return *(*uint16)(unsafe.Pointer(&b))
}
