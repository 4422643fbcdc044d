package xfrm

import (
	"encoding/binary"
	"net/netip"
)

const (
	maxMark = 1<<24 - 1 - 1<<16 // the largest mark that a peer can be named by
	maxName = 1<<24 - 1
)

// MarkedNBMA names a peer by the mark of its SAs, where several peers share one NBMA address behind
// NAT: the address 0.x.y.z whose low 24 bits are the mark. Nothing routes to it; the program at the
// tunnel's egress sends what is for it to where kernel.DataPath.SetMarked says. Marks that do not
// fit, and 0, give the zero address. The addresses of 0.255.0.0/16 name no mark: they are for peers
// without one.
func MarkedNBMA(mark uint32) netip.Addr {
	if mark == 0 || mark > maxMark {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, mark)))
}

// MarkOf is the inverse of MarkedNBMA: the mark that an address names a peer by. For names of no
// mark it is one that no SA has. It is false for addresses that the world sees.
func MarkOf(nbma netip.Addr) (uint32, bool) {
	if !nbma.Is4() {
		return 0, false
	}
	b := nbma.As4()
	mark := binary.BigEndian.Uint32(b[:])
	return mark, mark != 0 && mark <= maxName
}
