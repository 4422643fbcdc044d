package peers

import (
	"cmp"
	"net/netip"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/peerid"
)

// PeerMoved handles the event that a peer and its SA are at another address: a NAT gave the peer
// another address, or the peer announced the move by IKE (MOBIKE). What refers to the peer follows
// it.
func (ps *Table) PeerMoved(from peerid.ID, ike event.Peer) {
	old := ps.ByID[from]
	if old == nil || !old.Secured || old.IKE.Identity != ike.Identity {
		ps.PeerLost(from, "the peer moved", false)
		ps.PeerSecured(ike)
		return
	}
	before := ps.Outer(from)
	ps.PeerSecured(ike)
	if p := ps.ByID[ike.ID]; p != nil && p.Secured {
		ps.moveRefs(old, p, before)
	}
	ps.PeerLost(from, "the peer moved to "+ps.Outer(ike.ID).String(), false)
}

// moveRefs lets every reference to a peer follow it to its new place. An NHS stays at the address
// that the configuration gives.
func (ps *Table) moveRefs(from, to *Peer, before netip.Addr) {
	for owner := range from.owners() {
		owner.PeerMoved(to, before)
	}
}

// FollowUnseen handles moves that the daemon has not seen, since it was stopped or had no link to
// strongSwan: listed are the peers with which strongSwan has SAs, and a router that was at a peer
// which is not among them may now be at another one, where nobody was before. What refers to the
// old peer follows the router. It would end otherwise, and the router, whose SA stands, would
// register again only when its next refresh is due.
func (ps *Table) FollowUnseen(listed []event.Peer) {
	stays := make(map[peerid.ID]bool, len(listed))
	arrived := make(map[string]event.Peer)
	for _, ike := range listed {
		stays[ike.ID] = true
		if ps.ByID[ike.ID] == nil && !ike.ID.Shares() && len(ike.SharedWith) == 0 {
			arrived[ike.Identity] = ike
		}
	}
	delete(arrived, "")
	if len(arrived) == 0 {
		return
	}
	for _, old := range ordered.Values(ps.ByID, peerid.ID.Compare) {
		if !stays[old.ID] && !old.ID.Shares() {
			ps.followUnseen(old, arrived)
		}
	}
}

// followUnseen lets each reference to a peer follow its router if that arrived elsewhere. arrived
// has the peers that did, by identity.
func (ps *Table) followUnseen(old *Peer, arrived map[string]event.Peer) {
	for owner := range old.owners() {
		ike, there := arrived[cmp.Or(owner.RouterIdentity(), old.IKE.Identity)]
		if !there {
			continue
		}
		ps.PeerSecured(ike)
		if p := ps.ByID[ike.ID]; p != nil && p.Secured {
			owner.PeerMoved(p, old.ID.Address())
		}
	}
}
