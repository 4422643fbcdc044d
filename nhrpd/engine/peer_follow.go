package engine

import (
	"net/netip"
	"slices"
)

// peerMoved follows a peer, and the SA with it, to another address: a NAT gave it another one, or
// IKE told so.
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

// moveClaims takes what rests on a peer to where it is now. An NHS stays where the configuration
// says that it is.
func (e *Engine) moveClaims(from, to *peer, before netip.Addr) {
	for _, c := range slices.Clone(from.refs) {
		if c.peer == from {
			c.owner.peerMoved(e, to, before)
		}
	}
}

// moveAnswer has an answer be one to a requester that is elsewhere now.
func (e *Engine) moveAnswer(a *answer, nbma netip.Addr) {
	delete(a.ifc.answers, a.answerKey)
	a.nbma = nbma
	if there := a.ifc.answers[a.answerKey]; there != nil {
		a.expires = later(a.expires, there.expires)
		e.dropAnswer(there)
	}
	a.ifc.answers[a.answerKey] = a
	if a.admission.nbma.IsValid() {
		identity := a.admission.identity // it moved, and is who it was
		e.admit(&a.admission, a.ifc, nbma, a.admission.as)
		a.admission.asker, a.admission.identity = true, identity
	}
}
