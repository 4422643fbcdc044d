package peers

import (
	"cygnet/nhrpd/engine/peerid"
)

// A marked peer is known by the mark of its SA. A restarted strongSwan gives out the same marks
// again, to other routers. So the peer loses its ID at once if strongSwan does not list its SA.
//
// Bindings and answers outlast the restart. They are parked: they wait for the router at its
// successor, a parked peer, for which the kernel sends nothing. When the router is back, rebind
// gives them to its new peer.

// Park has the bindings and answers of a peer wait for it at its successor. Everything else that
// depended on its SA ends: nothing can be sent to the router, and a hub has another way to it.
//
// successors has the successors of this restart by the IDs of the peers that they follow. The
// caller passes the same map for all peers of one restart.
func (ps *Table) Park(p *Peer, successors map[peerid.ID]*Peer) {
	for owner := range p.owners() {
		owner.MarkGone(p, successors)
	}
	ps.Timers.Stop(&p.grace)
	ps.reviseSecurity(p)
}

// Successor returns the peer at which the bindings and answers of p wait; it makes that peer once
// for each p.
func (ps *Table) Successor(p *Peer, successors map[peerid.ID]*Peer) *Peer {
	if to := successors[p.ID]; to != nil {
		return to
	}
	to := ps.At(ps.freeID())
	to.IKE = p.IKE
	ps.Addresses.record(to, p.Outer)
	ps.awaitReturn(to, ResyncGrace)
	successors[p.ID] = to
	return to
}

// freeID returns an ID for a successor. Those that were restored after a restart are in use.
func (ps *Table) freeID() peerid.ID {
	for {
		ps.parkings++
		if id := peerid.Parked(ps.parkings); id.IsValid() && ps.ByID[id] == nil {
			return id
		}
	}
}

// rebind gives a router that is back behind its NAT address, with another mark, the bindings and
// answers that wait for it there. If an answer went to that address, the router may be the one that
// asked for it, so it is admitted too.
func (ps *Table) rebind(p *Peer) {
	if !p.ID.Shares() {
		return
	}
	var waiting []*Peer
	for _, old := range ps.Addresses.byOuter[p.Outer] {
		if !old.Secured {
			waiting = append(waiting, old)
		}
	}
	if at := ps.ByID[peerid.At(p.Outer)]; at != nil && !at.Secured {
		waiting = append(waiting, at)
	}
	for _, old := range waiting {
		for owner := range old.owners() {
			owner.PeerBack(old, p)
		}
	}
	if ps.parts.Answered(peerid.At(p.Outer)) {
		ps.admitVisitor(p)
	}
}
