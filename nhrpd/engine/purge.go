package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// purge is a purge request of this router that waits for its reply (RFC 2332 §5.2.5).
type purge struct {
	ifc      *iface
	id       uint32
	dest     netip.Addr // overlay address of the router that is told
	nbma     netip.Addr // NBMA address of that router, to reach it directly
	prefixes []netip.Prefix
	via      netip.Addr // the NBMA address that the purge last went to
	tries    int
	again    timers.Timer
}

const (
	purgeTries   = 3
	purgeAgain   = 2 * time.Second
	goodbyeAgain = time.Second // in place of purgeAgain while the interface leaves
)

// purgeAnswer takes an answer back from its requester: the routes do not support it any more.
func (e *Engine) purgeAnswer(a *answer) {
	e.takeBackFrom(&purge{
		ifc:      a.ifc,
		id:       e.newRequestID(),
		dest:     a.requester,
		nbma:     a.nbma,
		prefixes: []netip.Prefix{a.prefix},
	})
}

// takeBackFrom tells a router that what it may have been told of some prefixes no longer holds. If
// too many purges are out already, this one goes once and asks for no reply.
func (e *Engine) takeBackFrom(p *purge) {
	if ifc := p.ifc; len(ifc.purges) >= ifc.cfg.Limits.Answers {
		e.drop(dropTableFull) // the table of purges that are repeated
		e.sendPurgeOnce(p, packet.PurgeNoReply)
		return
	}
	e.startPurge(p)
}

// startPurge sends a purge, and repeats it until a reply comes or purgeTries requests have gone.
func (e *Engine) startPurge(p *purge) {
	p.again.Run = func() { e.sendPurge(p) }
	p.ifc.purges[p.id] = p
	e.sendPurge(p)
}

// sendPurge sends a purge once more, or gives it up after purgeTries requests.
func (e *Engine) sendPurge(p *purge) {
	if p.tries == purgeTries {
		e.endPurge(p)
		return
	}
	p.tries++
	wait := purgeAgain
	if p.ifc.leaving {
		wait = goodbyeAgain
	}
	e.timers.Set(&p.again, e.now.Add(wait))
	e.sendPurgeOnce(p, 0)
}

// endPurge ends the repetition of a purge. An interface that leaves waits for its purges, so it
// goes on with leaving after the last one.
func (e *Engine) endPurge(p *purge) {
	delete(p.ifc.purges, p.id)
	e.timers.Stop(&p.again)
	e.leaveOn(p.ifc)
}

// sendPurgeOnce sends a purge and sets no timer.
func (e *Engine) sendPurgeOnce(p *purge, flags packet.Flags) {
	e.sendPurgeEntries(p, flags, purgeCIEs(p.prefixes))
}

// sendPurgeEntries sends a purge directly to the router, if that has an SA. Otherwise the purge
// goes along the route to the router; and if there is no route any more, it goes where the last one
// went.
//
// Along the route, the purge goes by an NHS rather than by a shortcut's neighbour. A router that
// has no SA with this one takes the purge only from its NHS, or from the NBMA address at which it
// knows this router; and that address may have changed.
func (e *Engine) sendPurgeEntries(p *purge, flags packet.Flags, cies []packet.CIE) {
	if there := p.ifc.peers[p.nbma]; there != nil && there.secured &&
		!p.ifc.ambiguous(p.dest, p.nbma) {
		p.via = p.nbma
	} else if way, err := e.pathPastShortcuts(p.ifc, p.dest); err == pathOK {
		p.via = way.nbma
	}
	if p.via.IsValid() && p.ifc.local.IsValid() {
		e.sendPurgeCIEs(p.ifc, p.dest, p.via, p.id, flags, cies)
	}
}

// registrationPurges returns the purges that take this router's registrations back from an NHS.
// They carry the request ids of the registrations, since some NHSs take them only with those.
func (n *nhs) registrationPurges() []*purge {
	ifc, to := n.ifc, n.protocol
	if !to.IsValid() {
		to = ifc.overlay()
	}
	var purges []*purge
	if held := n.announcement.held; len(held) > 0 {
		purges = append(purges, &purge{
			ifc:      ifc,
			id:       n.announcement.requestID,
			dest:     to,
			nbma:     n.nbma,
			via:      n.nbma,
			prefixes: held,
		})
	}
	return append(purges, &purge{
		ifc:      ifc,
		id:       n.requestID,
		dest:     to,
		nbma:     n.nbma,
		via:      n.nbma,
		prefixes: []netip.Prefix{hostPrefix(ifc.overlay())},
	})
}

// purgeRegistration takes this router's registrations back from an NHS. It sends each purge once
// and asks for no reply.
func (e *Engine) purgeRegistration(n *nhs) {
	for _, p := range n.registrationPurges() {
		e.sendPurgeRequest(n.ifc, p.dest, n.nbma, p.id, packet.PurgeNoReply, p.prefixes...)
	}
}

// sendPurgeRequest sends one purge request for prefixes to an NBMA address.
func (e *Engine) sendPurgeRequest(
	ifc *iface,
	dest, nbma netip.Addr,
	id uint32,
	flags packet.Flags,
	prefixes ...netip.Prefix,
) {
	e.sendPurgeCIEs(ifc, dest, nbma, id, flags, purgeCIEs(prefixes))
}

// purgeCIEs returns the CIEs that name prefixes in a purge request.
func purgeCIEs(prefixes []netip.Prefix) []packet.CIE {
	var cies []packet.CIE
	for _, p := range prefixes {
		cies = append(cies, packet.CIE{PrefixLength: uint8(p.Bits()), Protocol: p.Addr()})
	}
	return cies
}

// sendPurgeCIEs sends one purge request with those CIEs to an NBMA address.
func (e *Engine) sendPurgeCIEs(
	ifc *iface,
	dest, nbma netip.Addr,
	id uint32,
	flags packet.Flags,
	cies []packet.CIE,
) {
	e.send(ifc, nbma, &packet.Packet{
		Type:           packet.PurgeRequest,
		HopCount:       hopCount,
		Flags:          flags,
		RequestID:      id,
		SourceNBMA:     ifc.local,
		SourceProtocol: ifc.overlay(),
		DestProtocol:   dest,
		CIEs:           cies,
	})
}

// purgeRequest handles a purge request: this router forgets what the sender itself told it, and
// nothing else. Only an NHS may take back other routers too: see purgeRouters.
//
// If one of the prefixes is not the sender's to take back, the purge gets no reply, since a reply
// would say that all of it was done. Such a sender may well be the router that it claims to be, at
// an address that this router does not know yet. It then repeats the purge, perhaps along an NHS by
// that time.
func (e *Engine) purgeRequest(m *message) {
	if !e.understood(m) {
		return
	}
	refused, nhs := false, m.isOfNHS()
	var prefixes []netip.Prefix
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.clientOf(&m.CIEs[i]))
		if !ok {
			continue
		}
		bindings, announced := e.purgeBindings(m, prefix), e.purgeAnnounced(m, prefix)
		if (bindings || announced) && !(nhs && m.ifc.isRouter(prefix)) {
			refused = true
		}
		prefixes = append(prefixes, prefix)
	}
	for _, prefix := range e.purgeShortcuts(m, prefixes) {
		if !(nhs && m.ifc.isRouter(prefix)) {
			refused = true
		}
	}
	if nhs {
		e.purgeRouters(m)
	}
	if refused || m.Flags&packet.PurgeNoReply != 0 {
		return
	}
	m.Type = packet.PurgeReply
	m.HopCount = hopCount
	e.fillResponder(m)
	e.send(m.ifc, m.from, m.Packet)
}

// purgeBindings ends the sender's own registrations inside prefix. It reports whether it refuses
// the purge because the prefix is another router's registration.
func (e *Engine) purgeBindings(m *message, prefix netip.Prefix) (refused bool) {
	owns := func(b *binding) bool { return b.nbma == m.from && b.mayBe(m.proven()) }
	if b := m.ifc.bindings[prefix.Addr()]; b != nil && prefix.IsSingleIP() &&
		!b.static && !owns(b) {
		e.drop(dropNotOwner)
		refused = true
	}
	for _, b := range slices.Collect(m.ifc.peers[m.from].bindings()) {
		if !b.static && prefix.Contains(b.protocol) && owns(b) {
			e.unbind(b, "the client took its registration back")
		}
	}
	return refused
}

// purgeAnnounced ends the sender's own announced prefixes inside prefix. It reports whether it
// refuses the purge because another router announces the prefix.
func (e *Engine) purgeAnnounced(m *message, prefix netip.Prefix) (refused bool) {
	owns := func(b *binding) bool { return b.nbma == m.from && b.mayBe(m.proven()) }
	if a := m.ifc.announced[prefix]; a != nil && !owns(a.owner) {
		e.drop(dropNotOwner)
		refused = true
	}
	for _, b := range slices.Collect(m.ifc.peers[m.from].bindings()) {
		if !owns(b) {
			continue
		}
		for _, a := range slices.Clone(b.prefixes) {
			if prefix.Bits() <= a.prefix.Bits() && prefix.Contains(a.prefix.Addr()) {
				e.endAnnounced(a, "the client took it back")
			}
		}
	}
	return refused
}

// purgeShortcuts ends the shortcuts that overlap one of prefixes and rest on the sender's answers.
// The purge has to come from the sender itself or through one of this router's NHSs. purgeShortcuts
// returns the prefixes that it refuses to purge: those of another router's shortcuts, and those
// that the sender may not speak for.
func (e *Engine) purgeShortcuts(m *message, prefixes []netip.Prefix) (refused []netip.Prefix) {
	nhs, from := m.ifc.isNHS(m.from), m.proven()
	var said []*shortcut
	may := make(map[*shortcut]bool)
	for _, s := range m.ifc.shortcuts {
		if s.state != ShortcutResolving && s.saidBy(m.SourceProtocol) {
			said = append(said, s)
			// A router that moved sends the purge from its new address, under its old identity.
			may[s] = nhs || s.nbma == m.from || s.identity != "" && from.isOneOf(s.identity)
		}
	}
	ends := make(map[*shortcut]bool)
	for _, prefix := range prefixes {
		ended, denied := false, false
		for _, s := range said {
			switch {
			case !prefix.Overlaps(s.prefix):
			case may[s]:
				ends[s], ended = true, true
			default:
				denied = true
			}
		}
		if s := m.ifc.shortcuts[prefix]; denied ||
			!ended && s != nil && s.state != ShortcutResolving {
			e.drop(dropNotOwner)
			refused = append(refused, prefix)
		}
	}
	said = slices.DeleteFunc(said, func(s *shortcut) bool { return !ends[s] })
	slices.SortFunc(said, func(a, b *shortcut) int { return a.prefix.Compare(b.prefix) })
	for _, s := range said {
		e.endShortcut(s, "the router that answered for it took its answer back")
	}
	return refused
}

// purgeReply handles the reply to a purge, which ends the repetition. The reply counts only if it
// comes from where the purge went, from the router that was told, or from an NHS: the ids of purges
// count up, so any other router could guess one.
func (e *Engine) purgeReply(m *message) {
	p, h := m.ifc.purges[m.RequestID], m.ifc.revocations.waiting[m.RequestID]
	if h != nil {
		p = &h.purge
	}
	switch {
	case p == nil || p.dest != m.DestProtocol:
		e.drop(dropUnsolicited)
	case m.from != p.via && m.from != p.nbma && !m.ifc.isNHS(m.from):
		e.drop(dropThirdParty)
	case h != nil:
		e.heardRevoked(h)
	default:
		e.endPurge(p)
	}
}
