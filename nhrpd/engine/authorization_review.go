package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/objection"
)

// reviewPolicy applies changed rules or blocks. What they no longer allow ends, and the routers
// that learned of it are told so; a router that may do nothing any more loses its SAs. What they
// allow now takes effect with the next registration or request.
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

// setAuthorizations looks up what the rules and blocks say of the identities at a peer's address,
// and revises the peer's admission accordingly.
func (e *Engine) setAuthorizations(p *peer) {
	p.authorizations = p.ifc.rules.OfSeveral(p.ike.Identity, p.ike.SharedWith, e.blocks)
	e.reviseAdmission(p.ifc, p.nbma)
}

// reviewPeer ends what depends on a peer and is not allowed to it any more. Bindings are not ended
// here: reviewPolicy reviews them by the identities that registered them.
func (e *Engine) reviewPeer(p *peer) {
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.rulesChanged(e, p)
		}
	}
}

// objectToBinding returns why a client may not have its overlay address any more. It objects only
// if none of the identities that the binding may belong to may have the address.
func (e *Engine) objectToBinding(b *binding) objection.Objection {
	if b.static || b.identity == "" {
		return objection.Objection{}
	}
	all := b.ifc.rules.OfSeveral(b.identity, b.sharers, e.blocks)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(b.protocol)
	})
}

// objectToAnnounced returns why the rules do not let a client announce a prefix.
func (e *Engine) objectToAnnounced(b *binding, prefix netip.Prefix) objection.Objection {
	s := b.ifc.rules.Of(b.identity, e.blocks)
	return s.ToPrefix(prefix)
}

// revoke ends a binding because the administrator no longer allows it. The engine then tells all
// clients to send nothing to that router any more: answers about the router went directly between
// routers, so any client may have learned its NBMA address.
func (e *Engine) revoke(b *binding, reason string) {
	e.unbind(b, reason)
	e.endAdmission(b.ifc, b.nbma)
	e.noteRevoked(b)
}

// barred reports whether a peer may do nothing here and lost its SA for that reason. It is called
// when the peer's SA has come up, and when other identities have come to its address. If the peer
// may do nothing, barred also says so in the log.
//
// A peer whose identities are all blocked loses its SA at once. A peer that merely has no rule
// keeps the SA, and barred returns false: the replies to the peer's registrations say what is
// wrong, and the peer does not dial again and again.
func (e *Engine) barred(p *peer) bool {
	e.setAuthorizations(p)
	e.expelBlocked(p)
	o := p.ifc.objectTo(p.nbma)
	if !o.Raised() {
		return false
	}
	if p.ifc.limits.refusals.Allow(e.now, p.nbma) {
		e.notice(p.ifc, Notice{Kind: NoticeProhibited, NBMA: p.nbma, Identity: p.ike.Identity,
			Reason: o.Text})
	}
	if slices.ContainsFunc(p.authorizations,
		func(a authorization.Authorization) bool { return !a.Blocked() }) {
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

// expelBlocked ends the SAs of the blocked identities at a peer's address. It leaves the SAs of
// other identities at that address alone.
func (e *Engine) expelBlocked(p *peer) {
	for i := range p.authorizations {
		if a := &p.authorizations[i]; a.Blocked() {
			e.out.Expelled = append(e.out.Expelled,
				Expelled{PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma}, a.Identity()})
		}
	}
}

// closeUnwanted closes an SA that we initiated to a router which may not have what the SA was made
// for. It leaves the SA alone while anything refers to the peer.
func (e *Engine) closeUnwanted(p *peer, reason string) {
	if p != nil && p.secured && p.ike.Initiator && len(p.refs) == 0 {
		e.closePeer(p, reason)
	}
}
