// Package peername gives the peers at IPv6 addresses names: addresses of 0.254.0.0/16 that stand
// for them in the kernel, whose neighbours and eBPF tables hold IPv4 addresses (see
// xfrm.LinkedNBMA).
package peername

import (
	"net/netip"
	"sync"

	"cygnet/kernel/peerlink"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine/peerid"
)

// Names has the names of the peers at IPv6 addresses. A name is for one peer address, whatever
// interfaces the peer is on. It is not used again before all others were, so that nothing in the
// kernel is left that means the peer before. All methods may be called from any goroutine.
type Names struct {
	mu      sync.Mutex // guards the fields below
	numbers map[netip.Addr]uint16
	peers   map[uint16]netip.Addr
	next    uint16
	uses    map[any]netip.Addr // peers whose names the kernel has, by what has them
}

// New returns names that know the links which an earlier run left.
func New(left []peerlink.Left) *Names {
	n := &Names{
		numbers: make(map[netip.Addr]uint16),
		peers:   make(map[uint16]netip.Addr),
		uses:    make(map[any]netip.Addr),
	}
	for _, l := range left {
		number, is := xfrm.LinkedNumber(l.Name)
		if _, named := n.numbers[l.Remote]; !is || named {
			continue
		}
		n.numbers[l.Remote], n.peers[number] = number, l.Remote
		n.next = max(n.next, number)
	}
	return n
}

// mostNames is how many names there are.
const mostNames = 1 << 16

// Of returns the name of the peer at an IPv6 address. It returns the zero address if all names are
// in use.
func (n *Names) Of(peer netip.Addr) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if number, known := n.numbers[peer]; known {
		return xfrm.LinkedNBMA(number)
	}
	if len(n.numbers) == mostNames {
		n.forgetUnused()
	}
	if len(n.numbers) == mostNames {
		return netip.Addr{} // limits keep the peers far below that
	}
	for n.next++; n.peers[n.next].IsValid(); n.next++ {
	}
	n.numbers[peer], n.peers[n.next] = n.next, peer
	return xfrm.LinkedNBMA(n.next)
}

// forgetUnused drops the names that nothing in the kernel has. mu is held.
func (n *Names) forgetUnused() {
	used := make(map[netip.Addr]bool, len(n.uses))
	for _, peer := range n.uses {
		used[peer] = true
	}
	for peer, number := range n.numbers {
		if !used[peer] {
			delete(n.numbers, peer)
			delete(n.peers, number)
		}
	}
}

// Use notes that something in the kernel has the name of the peer, or with gone that it no longer
// has one. by says what it is: a comparable value, the same for both calls.
func (n *Names) Use(by any, peer peerid.ID, gone bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if address := peer.Address(); address.Is6() && !gone {
		n.uses[by] = address
		return
	}
	delete(n.uses, by)
}

// LinkAddress returns the address that stands for a peer in the kernel's neighbours, in NHRP
// packets to send, and in the maps of the eBPF programs.
func (n *Names) LinkAddress(id peerid.ID) netip.Addr {
	if number, parked := id.Parking(); parked {
		return xfrm.ParkedNBMA(number)
	}
	if mark, marked := id.Mark(); marked {
		return xfrm.MarkedNBMA(mark)
	}
	if id.Address().Is6() {
		return n.Of(id.Address())
	}
	return id.Address()
}

// PeerAt is the inverse of LinkAddress for what the kernel reports. It never reports parked peers:
// nothing passes to them or from them. It returns the zero ID for a name that no peer has.
func (n *Names) PeerAt(address netip.Addr) peerid.ID {
	if number, linked := xfrm.LinkedNumber(address); linked {
		n.mu.Lock()
		defer n.mu.Unlock()
		return peerid.At(n.peers[number])
	}
	if mark, marked := xfrm.MarkOf(address); marked {
		return peerid.Marked(mark)
	}
	return peerid.At(address)
}
