package peers

import "net/netip"

// A peer ID stands for the mark of a router's SA. A restarted strongSwan gives out the same marks
// again, to other routers. So a peer loses its ID at once if strongSwan does not list the ID's SA.
//
// Bindings and answers outlast the restart. They are parked: they wait for the router at its
// successor, a peer whose ID is no SA's mark and for which the kernel sends nothing. When the
// router is back, rebind gives them to its new peer.

// parkedIDs is the range of the IDs of successors. All marks lie below it; see xfrm.MarkedNBMA.
var parkedIDs = netip.MustParsePrefix("0.255.0.0/16")

// Parked reports whether an NBMA address is the ID of a successor.
func Parked(nbma netip.Addr) bool { return parkedIDs.Contains(nbma) }

// Park has the bindings and answers of a peer wait for it at its successor. Everything else that
// depended on its SA ends: nothing can be sent to the router, and a hub has another way to it.
//
// successors has the successors of this restart by the IDs of the peers that they follow. The
// caller passes the same map for all peers of one restart.
func (ps *Table) Park(p *Peer, successors map[netip.Addr]*Peer) {
	for owner := range p.owners() {
		owner.MarkGone(p, successors)
	}
	ps.Timers.Stop(&p.grace)
	ps.reviseSecurity(p)
}

// Successor returns the peer at which the bindings and answers of p wait; it makes that peer once
// for each p. It returns nil if no ID is free.
func (ps *Table) Successor(p *Peer, successors map[netip.Addr]*Peer) *Peer {
	if to := successors[p.NBMA]; to != nil {
		return to
	}
	id := ps.freeID()
	if !id.IsValid() {
		return nil
	}
	to := ps.At(id)
	to.IKE = p.IKE
	ps.RecordOuter(to, p.Outer)
	ps.awaitReturn(to, ResyncGrace)
	successors[p.NBMA] = to
	return to
}

// freeID returns an ID for a successor that is not in use, or the zero address if all are.
func (ps *Table) freeID() netip.Addr {
	for range 1 << 16 {
		ps.parkings++
		id := netip.AddrFrom4([4]byte{0, 255, byte(ps.parkings >> 8), byte(ps.parkings)})
		if ps.ByNBMA[id] == nil {
			return id
		}
	}
	return netip.Addr{}
}

// rebind gives a router that is back behind its NAT address, under another peer ID, the bindings
// and answers that wait for it there. If an answer went to that address, the router may be the one
// that asked for it, so it is admitted too.
func (ps *Table) rebind(p *Peer) {
	if !p.Outer.IsValid() {
		return
	}
	var waiting []*Peer
	for _, old := range ps.byOuter[p.Outer] {
		if !old.Secured {
			waiting = append(waiting, old)
		}
	}
	if at := ps.ByNBMA[p.Outer]; at != nil && !at.Secured {
		waiting = append(waiting, at)
	}
	for _, old := range waiting {
		for owner := range old.owners() {
			owner.PeerBack(old, p)
		}
	}
	if ps.parts.Answered(p.Outer) {
		ps.admitVisitor(p)
	}
}
