package engine

import (
	"net/netip"
	"slices"
)

// peerMoved handles the event that a peer and its SA are at another NBMA address: a NAT gave the
// peer another address, or the peer announced the move by IKE (MOBIKE). What refers to the peer
// follows it.
func (e *Engine) peerMoved(ifc *iface, from netip.Addr, ike Peer) {
	old := ifc.peers[from]
	if old == nil || !old.secured || old.ike.Identity != ike.Identity {
		e.peerLost(ifc, from, "the peer moved", false)
		e.peerSecured(ifc, ike)
		return
	}
	before := ifc.real(from)
	e.peerSecured(ifc, ike)
	if p := ifc.peers[ike.NBMA]; p != nil && p.secured {
		e.moveClaims(old, p, before)
	}
	e.peerLost(ifc, from, "the peer moved to "+ifc.real(ike.NBMA).String(), false)
}

// moveClaims lets every reference to a peer follow it to its new place. An NHS stays at the address
// that the configuration gives.
func (e *Engine) moveClaims(from, to *peer, before netip.Addr) {
	for _, c := range slices.Clone(from.refs) {
		if c.peer == from {
			c.owner.peerMoved(e, to, before)
		}
	}
}

// moveAnswer changes an answer whose requester is at another NBMA address now. An answer that was
// already there for that address, requester and prefix is merged into it.
func (e *Engine) moveAnswer(a *answer, nbma netip.Addr) {
	delete(a.ifc.answers, a.answerKey)
	a.nbma = nbma
	if there := a.ifc.answers[a.answerKey]; there != nil {
		a.expires = later(a.expires, there.expires)
		e.dropAnswer(there)
	}
	a.ifc.answers[a.answerKey] = a
	if a.admission.nbma.IsValid() {
		identity := a.admission.identity // the requester moved, and its identity is the same
		e.admit(&a.admission, a.ifc, nbma, a.admission.as)
		a.admission.asker, a.admission.identity = true, identity
	}
}
