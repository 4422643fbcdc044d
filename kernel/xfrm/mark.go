package xfrm

import (
	"encoding/binary"
	"net/netip"
)

const (
	maxMark    = linkedName - 1 // the largest mark that can stand for a peer
	linkedName = 0xfe << 16     // the first address of 0.254.0.0/16, as a number
	maxName    = 1<<24 - 1      // the last address of 0.0.0.0/8, as a number
)

// MarkedNBMA returns the address that stands for a peer with this mark on its SAs. Such a peer
// shares its NBMA address with other peers behind NAT. The address is 0.x.y.z, and its low 24 bits
// are the mark. No route leads to such an address: the program at the tunnel's egress sends packets
// for it to the address that datapath.Path.SetMarked gave. MarkedNBMA returns the zero address for
// mark 0 and for marks that are too large.
func MarkedNBMA(mark uint32) netip.Addr {
	if mark == 0 || mark > maxMark {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, mark)))
}

// ParkedNBMA returns an address that stands for a peer that cannot be reached for now: no SA has
// its mark, so the program at the tunnel's egress drops packets for it. Such addresses are those of
// 0.255.0.0/16, and the low 16 bits of the number are the address's.
func ParkedNBMA(number uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{0, 255, byte(number >> 8), byte(number)})
}

// LinkedNBMA returns the address that stands for a linked peer: one that has an IPv6 address and a
// device of its own (package peerlink). Such addresses are those of 0.254.0.0/16. Received packets
// of the peer have the address, as a number, as their mark.
func LinkedNBMA(number uint16) netip.Addr {
	return netip.AddrFrom4([4]byte{0, 254, byte(number >> 8), byte(number)})
}

// LinkedNumber is the inverse of LinkedNBMA. It returns false for any other address.
func LinkedNumber(nbma netip.Addr) (uint16, bool) {
	if !nbma.Is4() {
		return 0, false
	}
	b := nbma.As4()
	return binary.BigEndian.Uint16(b[2:]), b[0] == 0 && b[1] == linkedName>>16
}

// LinkedBy returns the address that stands for the linked peer that sent a packet with this mark.
// It returns false if the mark is no linked peer's.
func LinkedBy(mark uint32) (netip.Addr, bool) {
	if mark>>16 != linkedName>>16 {
		return netip.Addr{}, false
	}
	return LinkedNBMA(uint16(mark)), true
}

// MarkOf is the inverse of MarkedNBMA: it returns the mark that an address of 0.0.0.0/8 stands for.
// For a ParkedNBMA and a LinkedNBMA it returns a mark that no SA has. It returns false for any
// other address.
func MarkOf(nbma netip.Addr) (uint32, bool) {
	if !nbma.Is4() {
		return 0, false
	}
	b := nbma.As4()
	mark := binary.BigEndian.Uint32(b[:])
	return mark, mark != 0 && mark <= maxName
}
