package xfrm

import (
	"encoding/binary"
	"net/netip"
)

const (
	maxMark = 1<<24 - 1 - 1<<16 // the largest mark that can stand for a peer
	maxName = 1<<24 - 1         // the last address of 0.0.0.0/8, as a number
)

// MarkedNBMA returns the address that stands for a peer with this mark on its SAs. Such a peer
// shares its NBMA address with other peers behind NAT. The address is 0.x.y.z, and its low 24 bits
// are the mark. No route leads to such an address: the program at the tunnel's egress sends packets
// for it to the address that datapath.Path.SetMarked gave. MarkedNBMA returns the zero address for
// mark 0 and for marks that are too large. The addresses of 0.255.0.0/16 stand for peers without a
// mark.
func MarkedNBMA(mark uint32) netip.Addr {
	if mark == 0 || mark > maxMark {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, mark)))
}

// MarkOf is the inverse of MarkedNBMA: it returns the mark that an address of 0.0.0.0/8 stands for.
// For an address of 0.255.0.0/16, which stands for a peer without a mark, it returns a mark that no
// SA has. It returns false for any other address.
func MarkOf(nbma netip.Addr) (uint32, bool) {
	if !nbma.Is4() {
		return 0, false
	}
	b := nbma.As4()
	mark := binary.BigEndian.Uint32(b[:])
	return mark, mark != 0 && mark <= maxName
}
