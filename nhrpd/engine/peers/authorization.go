package peers

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
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

// authorizationsAt returns the authorizations of the identities that the SA with a peer proves. The
// list is empty while the peer has no SA, and where no rule or block could object to it. An empty
// list allows everything.
func (d Directory) authorizationsAt(id peerid.ID) []authorization.Authorization {
	if p := d.ByID[id]; p != nil && p.Secured {
		return p.authorizations
	}
	return nil
}

// ObjectTo returns why a peer may do nothing here. It raises no objection to a router without an
// SA.
func (d Directory) ObjectTo(id peerid.ID) objection.Objection {
	return authorization.OfAll(d.authorizationsAt(id), (*authorization.Authorization).Objection)
}

// ObjectToBeing returns why a peer may not have an overlay address.
func (d Directory) ObjectToBeing(id peerid.ID, protocol netip.Addr) objection.Objection {
	all := d.authorizationsAt(id)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(protocol)
	})
}

// ObjectToDirect returns why there is to be no direct path to or from a peer. There is never an
// objection to an NHS: NHSs relay the traffic of other routers, and an NHS's own rules must not
// restrict the paths of those routers.
func (d Directory) ObjectToDirect(id peerid.ID) objection.Objection {
	if d.IsNHS(id) {
		return objection.Objection{}
	}
	if p := d.ByID[id]; p != nil && p.noDirect != "" {
		return objection.New(objection.ShortcutNotGiven, p.noDirect)
	}
	return authorization.OfAll(d.authorizationsAt(id),
		(*authorization.Authorization).ToShortcut)
}

// SetNoDirect sets why the authorizer allows no direct path to or from a peer, or that it allows
// them if the text is empty. Direct paths that are not allowed any more end.
func (ps *Table) SetNoDirect(p *Peer, text string) {
	if p.noDirect == text {
		return
	}
	p.noDirect = text
	ps.ReviewPeer(p)
}

// ObjectToPath returns why there is to be no direct path to or from a peer that has an overlay
// address.
func (d Directory) ObjectToPath(id peerid.ID, protocol netip.Addr) objection.Objection {
	if o := d.ObjectToBeing(id, protocol); o.Raised() {
		return o
	}
	return d.ObjectToDirect(id)
}

// ShutOut reports whether the administrator has shut out one of the identities that were last seen
// at a peer's address. p may be nil.
func (d Directory) ShutOut(p *Peer) bool {
	return p != nil && slices.ContainsFunc(p.authorizations,
		func(a authorization.Authorization) bool { return a.Blocked() })
}

// RulesOf returns what the rules and blocks say of each identity that was last seen at a peer's
// address, and of its having an overlay address. p may be nil.
func (d Directory) RulesOf(p *Peer, protocol netip.Addr) []report.RuleStatus {
	if p == nil {
		return nil
	}
	var list []report.RuleStatus
	for i := range p.authorizations {
		a := &p.authorizations[i]
		rule, rules := a.Rule()
		st := report.RuleStatus{
			Identity: a.Identity(),
			Rules:    rules,
			Shortcut: !a.ToShortcut().Raised(),
			Address:  !a.ToAddress(protocol).Raised(),
		}
		if rule != nil {
			st.Rule, st.Source = rule.Identity.String(), rule.Source
		}
		if b := a.Block(); b != nil {
			st.Blocked, st.Since, st.Until = true, b.Since, b.Ends
		}
		list = append(list, st)
	}
	return list
}

// SetAuthorizations looks up what the rules and blocks say of the identities at a peer's address,
// and revises the peer's admission accordingly.
func (ps *Table) SetAuthorizations(p *Peer) {
	ps.lookUpAuthorizations(p)
	ps.parts.ReviseAdmission(p.ID)
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
	for _, p := range ps.ByID {
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
	o := ps.ObjectTo(p.ID)
	if !o.Raised() {
		return false
	}
	if ps.Limiters.Refusals.Allow(ps.Now, p.ID) {
		ps.Notice(output.Notice{Kind: output.NoticeProhibited, Peer: p.ID,
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

// Identity returns the identity of a peer, as IKE proved it. It is empty without IPsec.
func (d Directory) Identity(id peerid.ID) string { return d.Proven(id).Identity }

// Proven returns all that IKE proved about a peer. It is the zero Peer if that is nothing.
func (d Directory) Proven(id peerid.ID) event.Peer {
	if p := d.ByID[id]; p != nil {
		return p.IKE
	}
	return event.Peer{}
}

// BearerAt returns the identity that an overlay address is registered for: one of those at a peer's
// address that may have the overlay address. It also returns the other identities there.
func (d Directory) BearerAt(id peerid.ID, protocol netip.Addr) (identity string, others []string) {
	if p := d.ByID[id]; p != nil {
		return p.bearer(protocol)
	}
	return "", nil
}
