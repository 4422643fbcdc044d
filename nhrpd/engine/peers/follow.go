package peers

import (
	"net/netip"

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
		ps.moveRefs(old, p, before)
	}
	ps.PeerLost(from, "the peer moved to "+ps.Outer(ike.NBMA).String(), false)
}

// moveRefs lets every reference to a peer follow it to its new place. An NHS stays at the address
// that the configuration gives.
func (ps *Table) moveRefs(from, to *Peer, before netip.Addr) {
	for owner := range from.owners() {
		owner.PeerMoved(to, before)
	}
}
