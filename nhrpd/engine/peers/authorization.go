package peers

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
)

// bearer returns the identity that an overlay address is registered for: the first of those at the
// peer's address that may have it. If none may, that is the peer's own identity. others are the
// remaining identities at the peer's address.
func (p *Peer) bearer(protocol netip.Addr) (identity string, others []string) {
	for i := range p.authorizations {
		if o := p.authorizations[i].ToAddress(protocol); !o.Raised() {
			identity = p.authorizations[i].Identity()
			break
		}
	}
	if identity == "" || identity == p.IKE.Identity {
		return p.IKE.Identity, p.IKE.SharedWith
	}
	others = append([]string{p.IKE.Identity}, p.IKE.SharedWith...)
	return identity, slices.DeleteFunc(others, func(o string) bool { return o == identity })
}

// authorizationsAt returns the authorizations of the identities that an SA proves at an NBMA
// address. The list is empty while the peer has no SA, and where no rule or block could object to
// it. An empty list allows everything.
func (d Directory) authorizationsAt(nbma netip.Addr) []authorization.Authorization {
	if p := d.ByNBMA[nbma]; p != nil && p.Secured {
		return p.authorizations
	}
	return nil
}

// ObjectTo returns why the router at an NBMA address may do nothing here. It raises no objection to
// a router without an SA.
func (d Directory) ObjectTo(nbma netip.Addr) objection.Objection {
	return authorization.OfAll(d.authorizationsAt(nbma), (*authorization.Authorization).Objection)
}

// ObjectToBeing returns why the router at an NBMA address may not have an overlay address.
func (d Directory) ObjectToBeing(nbma, protocol netip.Addr) objection.Objection {
	all := d.authorizationsAt(nbma)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(protocol)
	})
}

// ObjectToDirect returns why there is to be no direct path to or from the router at an NBMA
// address. There is never an objection to an NHS: NHSs relay the traffic of other routers, and an
// NHS's own rules must not restrict the paths of those routers.
func (d Directory) ObjectToDirect(nbma netip.Addr) objection.Objection {
	if d.IsNHS(nbma) {
		return objection.Objection{}
	}
	return authorization.OfAll(d.authorizationsAt(nbma),
		(*authorization.Authorization).ToShortcut)
}

// ObjectToPath returns why there is to be no direct path to or from the router that has an overlay
// address and is at an NBMA address.
func (d Directory) ObjectToPath(nbma, protocol netip.Addr) objection.Objection {
	if o := d.ObjectToBeing(nbma, protocol); o.Raised() {
		return o
	}
	return d.ObjectToDirect(nbma)
}

// SetAuthorizations looks up what the rules and blocks say of the identities at a peer's address,
// and revises the peer's admission accordingly.
func (ps *Table) SetAuthorizations(p *Peer) {
	ps.lookUpAuthorizations(p)
	ps.parts.ReviseAdmission(p.NBMA)
}

// lookUpAuthorizations looks up what the rules and blocks say of the identities at a peer's
// address.
func (ps *Table) lookUpAuthorizations(p *Peer) {
	p.authorizations = ps.Rules.OfSeveral(p.IKE.Identity, p.IKE.SharedWith, ps.Blocks)
}

// RulesRenumbered is called when the configuration has the same rules on other lines of its file.
// Objections name those lines, so the authorizations of all peers are looked up again. They allow
// the same as before.
func (ps *Table) RulesRenumbered() {
	for _, p := range ps.ByNBMA {
		ps.lookUpAuthorizations(p)
	}
}

// ReviewPeer ends what depends on a peer and is not allowed to it any more. It does not end
// bindings: the engine reviews them by the identities that registered them.
func (ps *Table) ReviewPeer(p *Peer) {
	for owner := range p.owners() {
		owner.RulesChanged(p)
	}
}

// barred reports whether a peer may do nothing here and lost its SA for that reason. It is called
// when the peer's SA has come up, and when other identities have come to its address. If the peer
// may do nothing, barred also says so in the log.
//
// A peer whose identities are all blocked loses its SA at once. A peer that merely has no rule
// keeps the SA, and barred returns false: the replies to the peer's registrations say what is
// wrong, and the peer does not dial again and again.
func (ps *Table) barred(p *Peer) bool {
	ps.SetAuthorizations(p)
	ps.ExpelBlocked(p)
	o := ps.ObjectTo(p.NBMA)
	if !o.Raised() {
		return false
	}
	if ps.Limiters.Refusals.Allow(ps.Now, p.NBMA) {
		ps.Notice(output.Notice{Kind: output.NoticeProhibited, NBMA: p.NBMA,
			Identity: p.IKE.Identity, Reason: o.Text})
	}
	unblocked := func(a authorization.Authorization) bool { return !a.Blocked() }
	if slices.ContainsFunc(p.authorizations, unblocked) {
		return false
	}
	p.Err = o.Text
	ps.ClosePeer(p, o.Text)
	for owner := range p.owners() {
		owner.PeerBarred(o.Text)
	}
	if len(p.Refs) > 0 {
		ps.awaitReturn(p, LostGrace)
	}
	return true
}

// ExpelBlocked ends the SAs of the blocked identities at a peer's address. It leaves the SAs of
// other identities at that address alone.
func (ps *Table) ExpelBlocked(p *Peer) {
	for i := range p.authorizations {
		if a := &p.authorizations[i]; a.Blocked() {
			ps.Out.Expelled = append(ps.Out.Expelled,
				output.Expelled{PeerKey: ps.keyOf(p), Identity: a.Identity()})
		}
	}
}

// CloseUnwanted closes an SA that we initiated to a router which may not have what the SA was made
// for. It leaves the SA alone while anything refers to the peer. p may be nil.
func (ps *Table) CloseUnwanted(p *Peer, reason string) {
	if p != nil && p.Secured && p.IKE.Initiator && len(p.Refs) == 0 {
		ps.ClosePeer(p, reason)
	}
}

// Identity returns the identity of the router at an NBMA address, as IKE proved it. It is empty
// without IPsec.
func (d Directory) Identity(nbma netip.Addr) string { return d.Proven(nbma).Identity }

// Proven returns all that IKE proved about the router at an NBMA address. It is the zero Peer if
// that is nothing.
func (d Directory) Proven(nbma netip.Addr) event.Peer {
	if p := d.ByNBMA[nbma]; p != nil {
		return p.IKE
	}
	return event.Peer{}
}

// BearerAt returns the identity that an overlay address is registered for: one of those at an NBMA
// address that may have the overlay address. It also returns the other identities there.
func (d Directory) BearerAt(nbma, protocol netip.Addr) (identity string, others []string) {
	if p := d.ByNBMA[nbma]; p != nil {
		return p.bearer(protocol)
	}
	return "", nil
}
