package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/objection"
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
		if o := e.objectToBinding(b); o.Raised() {
			e.revoke(b, o.Text)
			continue
		}
		for _, a := range slices.Clone(b.prefixes) {
			if o := e.objectToAnnounced(b, a.prefix); o.Raised() {
				e.endAnnounced(a, o.Text)
			}
		}
	}
	for _, n := range ifc.nhs {
		if n.denied && !e.objectToNHS(n).Raised() {
			e.registerAnew(n)
		}
	}
	for _, p := range inOrder(ifc.peers, byAddr) {
		if !p.secured {
			continue
		}
		e.expelBlocked(p)
		if o := ifc.objectTo(p.nbma); o.Raised() {
			e.closePeer(p, o.Text)
		}
	}
}

// setAuthorizations follows what the rules and blocks say of who is at a peer's address.
func (e *Engine) setAuthorizations(p *peer) {
	p.authorizations = p.ifc.rules.OfSeveral(p.ike.Identity, p.ike.SharedWith, e.blocks)
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
func (e *Engine) objectToBinding(b *binding) objection.Objection {
	if b.static || b.identity == "" {
		return objection.Objection{}
	}
	all := b.ifc.rules.OfSeveral(b.identity, b.sharers, e.blocks)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(b.protocol)
	})
}

// objectToAnnounced says why the rules do not let a client announce a prefix.
func (e *Engine) objectToAnnounced(b *binding, prefix netip.Prefix) objection.Objection {
	s := b.ifc.rules.Of(b.identity, e.blocks)
	return s.ToPrefix(prefix)
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
	if !o.Raised() {
		return false
	}
	if p.ifc.limits.refusals.Allow(e.now, p.nbma) {
		e.notice(p.ifc, Notice{Kind: NoticeProhibited, NBMA: p.nbma, Identity: p.ike.Identity, Reason: o.Text})
	}
	if slices.ContainsFunc(p.authorizations, func(a authorization.Authorization) bool { return !a.Blocked() }) {
		return false
	}
	p.err = o.Text
	e.closePeer(p, o.Text)
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerBarred(e, o.Text)
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
		if a := &p.authorizations[i]; a.Blocked() {
			e.out.Expelled = append(e.out.Expelled, Expelled{PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma}, a.Identity()})
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
