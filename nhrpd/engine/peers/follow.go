package peers

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/event"
)

// PeerMoved handles the event that a peer and its SA are at another NBMA address: a NAT gave the
// peer another address, or the peer announced the move by IKE (MOBIKE). What refers to the peer
// follows it.
func (ps *Table) PeerMoved(from netip.Addr, ike event.Peer) {
	old := ps.ByNBMA[from]
	if old == nil || !old.Secured || old.IKE.Identity != ike.Identity {
		ps.PeerLost(from, "the peer moved", false)
		ps.PeerSecured(ike)
		return
	}
	before := ps.Outer(from)
	ps.PeerSecured(ike)
	if p := ps.ByNBMA[ike.NBMA]; p != nil && p.Secured {
		ps.moveClaims(old, p, before)
	}
	ps.PeerLost(from, "the peer moved to "+ps.Outer(ike.NBMA).String(), false)
}

// moveClaims lets every reference to a peer follow it to its new place. An NHS stays at the address
// that the configuration gives.
func (ps *Table) moveClaims(from, to *Peer, before netip.Addr) {
	for _, c := range slices.Clone(from.Refs) {
		if c.Peer == from {
			c.Owner.PeerMoved(to, before)
		}
	}
}
