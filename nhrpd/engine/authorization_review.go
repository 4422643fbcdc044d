package engine

import (
	"net/netip"
	"slices"
)

// reviewPolicy follows when the rules or the blocks have changed: what they do not allow any more
// ends, those who were told of it are told again, and a router that may nothing any more loses its
// SAs. What they allow now, the next registration and request get.
func (e *Engine) reviewPolicy(ifc *iface) {
	for _, p := range inOrder(ifc.peers, byAddr) {
		if !p.secured {
			continue
		}
		e.setAuthorizations(p)
		e.reviewPeer(p)
	}
	for _, b := range inOrder(ifc.bindings, byAddr) {
		if o := e.objectToBinding(b); o.raised() {
			e.revoke(b, o.text)
			continue
		}
		for _, a := range slices.Clone(b.prefixes) {
			if o := e.objectToAnnounced(b, a.prefix); o.raised() {
				e.endAnnounced(a, o.text)
			}
		}
	}
	for _, n := range ifc.nhs {
		if n.denied && !e.objectToNHS(n).raised() {
			e.registerAnew(n)
		}
	}
	for _, p := range inOrder(ifc.peers, byAddr) {
		if !p.secured {
			continue
		}
		e.expelBlocked(p)
		if o := ifc.objectTo(p.nbma); o.raised() {
			e.closePeer(p, o.text)
		}
	}
}

// setAuthorizations follows what the rules and blocks say of who is at a peer's address.
func (e *Engine) setAuthorizations(p *peer) {
	p.authorizations = e.authorizations(p.ifc, p.ike)
	e.reviseAdmission(p.ifc, p.nbma)
}

// reviewPeer ends what rests on a peer that is not allowed it. Bindings are looked at by their own
// identities.
func (e *Engine) reviewPeer(p *peer) {
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.rulesChanged(e, p)
		}
	}
}

// objectToBinding says why a client may not have its address any more: of the identities that may
// be its, none may.
func (e *Engine) objectToBinding(b *binding) objection {
	if b.static || b.identity == "" {
		return objection{}
	}
	who := Peer{Identity: b.identity, SharedWith: b.sharers}
	return objectsAll(e.authorizations(b.ifc, who), func(a *authorization) objection {
		return a.objectToAddress(b.protocol)
	})
}

// objectToAnnounced says why the rules do not let a client announce a prefix.
func (e *Engine) objectToAnnounced(b *binding, prefix netip.Prefix) objection {
	s := e.authorization(b.ifc, b.identity)
	return s.objectToPrefix(prefix)
}

// revoke ends a binding by the administrator's will. Whoever was led to that router is told that it
// is not to be had any more: the answers went directly, so that may be any client.
func (e *Engine) revoke(b *binding, reason string) {
	e.unbind(b, reason)
	e.endAdmission(b.ifc, b.nbma)
	e.noteRevoked(b)
}

// barred reports whether a peer whose SA has come up, or to whose address others came, may nothing
// here, and tells so. Who is blocked loses the SA at once. Who only has no rule keeps it: the
// answers to his registrations tell him what is wrong, and he does not dial again and again.
func (e *Engine) barred(p *peer) bool {
	e.setAuthorizations(p)
	e.expelBlocked(p)
	o := p.ifc.objectTo(p.nbma)
	if !o.raised() {
		return false
	}
	if p.ifc.limits.refusals.Allow(e.now, p.nbma) {
		e.notice(p.ifc, Notice{Kind: NoticeProhibited, NBMA: p.nbma, Identity: p.ike.Identity, Reason: o.text})
	}
	if slices.ContainsFunc(p.authorizations, func(s authorization) bool { return s.block == nil }) {
		return false
	}
	p.err = o.text
	e.closePeer(p, o.text)
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerBarred(e, o.text)
		}
	}
	if len(p.refs) > 0 {
		e.awaitReturn(p, lostGrace)
	}
	return true
}

// expelBlocked ends the SAs of blocked identities, and leaves alone those of others at the same
// address.
func (e *Engine) expelBlocked(p *peer) {
	for i := range p.authorizations {
		if s := &p.authorizations[i]; s.block != nil {
			e.out.Expelled = append(e.out.Expelled, Expelled{PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma}, s.identity})
		}
	}
}

// closeUnwanted closes an SA of our own making that led to a router which may not have what it was
// made for.
func (e *Engine) closeUnwanted(p *peer, reason string) {
	if p != nil && p.secured && p.ike.Initiator && len(p.refs) == 0 {
		e.closePeer(p, reason)
	}
}
