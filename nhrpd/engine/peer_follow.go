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
	for _, c := range slices.Clone(from.claims) {
		if c.peer != from {
			continue
		}
		switch owner := c.owner.(type) {
		case *binding:
			e.moveBinding(owner, to, before)
		case *shortcut:
			e.moveShortcut(owner, to)
		case *answer:
			e.moveAnswer(owner, to.nbma)
			e.claim(&owner.claim, to, owner.claim.kind, owner.claim.dial)
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

func (e *Engine) moveBinding(b *binding, to *peer, before netip.Addr) {
	if b.static || b.identity != to.ike.Identity {
		return
	}
	e.bind(b, to.nbma)
	if before == b.ifc.real(to.nbma) {
		return
	}
	e.notice(b.ifc, Notice{Kind: NoticeMoved, Prefix: hostPrefix(b.protocol), NBMA: to.nbma, Identity: b.identity,
		Reason: "it was at " + before.String()})
}

func (e *Engine) moveShortcut(s *shortcut, to *peer) {
	if s.prefix.Contains(to.ifc.real(to.nbma)) {
		e.endShortcut(s, "its next hop moved into the prefix that it leads to")
		return
	}
	s.nbma = to.nbma
	e.admit(&s.admission, s.ifc, s.nbma, s.admission.as)
	e.claim(&s.claim, to, s.claim.kind, s.claim.dial)
	if s.state == ShortcutUp {
		e.wantNeighbor(&s.neighbor, s.ifc, rankShortcut, s.nextHop, s.nbma)
	}
}
