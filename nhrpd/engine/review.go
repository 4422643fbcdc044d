package engine

import (
	"net/netip"
	"slices"
)

// reviewPolicy follows when the rules or the blocks have changed: what they do not allow any more ends, those who were told of it are
// told again, and a router that may nothing any more loses its SAs. What they allow now, the next registration and request get.
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

// reviewPeer ends what rests on a peer that is not allowed it. Bindings are looked at by their own identities.
func (e *Engine) reviewPeer(p *peer) {
	ifc := p.ifc
	for _, c := range slices.Clone(p.claims) {
		if c.peer != p {
			continue
		}
		switch owner := c.owner.(type) {
		case *shortcut:
			if o := ifc.objectToPath(p.nbma, owner.nextHop); o.raised() {
				e.endShortcut(owner, o.text)
			}
		case *answer:
			if o := ifc.objectToPath(p.nbma, owner.requester); o.raised() {
				e.takeBack(owner)
			}
		case *nhs:
			if o := e.objectToNHS(owner); o.raised() {
				e.denyNHS(owner, o)
			}
		}
	}
}

// objectToBinding says why a client may not have its address any more: of the identities that may be its, none may.
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

// revoke ends a binding by the administrator's will. Whoever was led to that router is told that it is not to be had any more: the
// answers went directly, so that may be any client.
func (e *Engine) revoke(b *binding, reason string) {
	e.unbind(b, reason)
	e.endAdmission(b.ifc, b.nbma)
	e.noteRevoked(b)
}

// barred says whether a peer whose SA has come up, or to whose address others came, may nothing here, and tells so. Who is blocked loses
// the SA at once. Who only has no rule keeps it: the answers to his registrations tell him what is wrong, and he does not dial again and
// again.
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
	for _, c := range slices.Clone(p.claims) {
		if c.peer != p {
			continue
		}
		// Routers behind one NAT address may have been told apart by now, and the one that this led to is gone.
		if s, is := c.owner.(*shortcut); is && s.state == ShortcutUp {
			e.endShortcut(s, o.text)
			continue
		}
		c.owner.peerFailed(e)
	}
	if len(p.claims) > 0 {
		e.awaitReturn(p, lostGrace)
	}
	return true
}

// isOfNHS reports whether one of our NHSs speaks in its own name.
func (m *message) isOfNHS() bool {
	return slices.ContainsFunc(m.ifc.nhs, func(n *nhs) bool { return n.nbma == m.from && n.protocol == m.SourceProtocol })
}

// isRouter reports whether a prefix is the overlay address of another router.
func (ifc *iface) isRouter(prefix netip.Prefix) bool {
	return prefix.IsSingleIP() && ifc.clientAddress(prefix.Addr())
}

// purgeRouters forgets routers that one of our NHSs takes back in its own name: the NHS has shut them out. What leads to such a router, and
// what it was told, ends like anything that rests on the NHS's word. The NBMA address goes beside its overlay address, since a router may
// have asked under another name; it is zero where the NHS says none.
func (e *Engine) purgeRouters(m *message) {
	ifc := m.ifc
	gone, goneAt := make(map[netip.Addr]bool), make(map[netip.Addr]bool) // by overlay address, by NBMA address
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.clientOf(&m.CIEs[i]))
		if ok && ifc.isRouter(prefix) {
			gone[prefix.Addr()] = true
			goneAt[m.CIEs[i].NBMA] = m.CIEs[i].NBMA.IsValid()
		}
	}
	isIt := func(protocol, at netip.Addr) bool { return gone[protocol] || goneAt[ifc.real(at)] && !ifc.isNHS(at) }
	var left []*peer
	for _, s := range inOrderIf(ifc.shortcuts, byPrefix, func(s *shortcut) bool { return isIt(s.nextHop, s.nbma) }) {
		if s.state != ShortcutResolving {
			left = append(left, s.claim.peer)
			e.endShortcut(s, "the NHS shut out the router that it leads to")
		}
	}
	for _, a := range inOrderIf(ifc.answers, answerKey.compare, func(a *answer) bool { return isIt(a.requester, a.nbma) }) {
		left = append(left, a.claim.peer)
		e.dropAnswer(a)
	}
	for _, p := range left {
		if p != nil && p.secured && len(p.claims) == 0 {
			e.closePeer(p, "the NHS shut it out")
		}
	}
}

// expelBlocked ends the SAs of blocked identities, and leaves alone those of others at the same address.
func (e *Engine) expelBlocked(p *peer) {
	for i := range p.authorizations {
		if s := &p.authorizations[i]; s.block != nil {
			e.out.Expelled = append(e.out.Expelled, Expelled{PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma}, s.identity})
		}
	}
}

// closeUnwanted closes an SA of our own making that led to a router which may not have what it was made for.
func (e *Engine) closeUnwanted(p *peer, reason string) {
	if p != nil && p.secured && p.ike.Initiator && len(p.claims) == 0 {
		e.closePeer(p, reason)
	}
}
