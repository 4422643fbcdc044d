package rtnl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// protocolZStatic is the protocol number of the static routes of FRR.
const protocolZStatic = 196

// Maker says in words who put a route with a protocol number (unix.RTPROT_…) into the kernel.
func Maker(protocol byte) string {
	name := map[byte]string{
		unix.RTPROT_KERNEL: "by the kernel, from an address",
		unix.RTPROT_BOOT:   "by hand or a script",
		unix.RTPROT_STATIC: "by the administrator or a network manager",
		unix.RTPROT_RA:     "by a router advertisement",
		unix.RTPROT_DHCP:   "by DHCP",
		unix.RTPROT_ZEBRA:  "by FRR's zebra",
		protocolZStatic:    "by FRR, static",
		unix.RTPROT_BIRD:   "by BIRD",
		unix.RTPROT_BGP:    "by BGP of FRR",
		unix.RTPROT_OSPF:   "by OSPF of FRR",
		unix.RTPROT_ISIS:   "by IS-IS of FRR",
		unix.RTPROT_RIP:    "by RIP of FRR",
		unix.RTPROT_EIGRP:  "by EIGRP of FRR",
		unix.RTPROT_BABEL:  "by Babel",
		Protocol:           "by cygnetd",
	}[protocol]
	if name == "" {
		return fmt.Sprintf("by protocol number %d", protocol)
	}
	return name
}
