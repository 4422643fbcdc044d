package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/packet"
)

// purge is a purge request of ours that waits for its reply (RFC 2332 §5.2.5).
type purge struct {
	answerKey
	ifc   *iface
	id    uint32
	nbma  netip.Addr // of the requester, to reach it directly
	tries int
	again timer
}

const (
	purgeTries = 3
	purgeAgain = 2 * time.Second
)

// purgeAnswer takes an answer back: the routes do not support it any more.
func (e *Engine) purgeAnswer(a *answer) {
	ifc := a.ifc
	if len(ifc.purges) >= ifc.cfg.Limits.Answers {
		e.drop(dropTableFull) // of those that are repeated: this one goes once
		e.sendPurgeOf(ifc, a.answerKey, a.nbma, e.newRequestID(), packet.PurgeNoReply)
		return
	}
	p := &purge{answerKey: a.answerKey, ifc: ifc, id: e.newRequestID(), nbma: a.nbma}
	p.again.run = func() { e.sendPurge(p) }
	ifc.purges[p.id] = p
	e.sendPurge(p)
}

func (e *Engine) sendPurge(p *purge) {
	if p.tries == purgeTries {
		e.endPurge(p)
		return
	}
	p.tries++
	e.deadlines.set(&p.again, e.now.Add(purgeAgain))
	e.sendPurgeOf(p.ifc, p.answerKey, p.nbma, p.id, 0)
}

func (e *Engine) endPurge(p *purge) {
	delete(p.ifc.purges, p.id)
	e.deadlines.stop(&p.again)
}

// sendPurgeOf takes an answer back, directly where there is an SA, else along the route.
func (e *Engine) sendPurgeOf(ifc *iface, key answerKey, nbma netip.Addr, id uint32, flags packet.Flags) {
	if p := ifc.peers[nbma]; p == nil || !p.secured {
		way, err := e.pathTo(ifc, key.requester)
		if err != pathOK {
			return
		}
		nbma = way.nbma
	}
	e.sendPurgeRequest(ifc, key.requester, nbma, id, flags, key.prefix)
}

// purgeRegistration tells an NHS that we go. Some take it only with the id of the registration.
func (e *Engine) purgeRegistration(n *nhs) {
	to := n.protocol
	if !to.IsValid() {
		to = n.ifc.overlay()
	}
	if held := n.announcement.held; len(held) > 0 {
		e.sendPurgeRequest(n.ifc, to, n.nbma, n.announcement.requestID, packet.PurgeNoReply, held...)
	}
	e.sendPurgeRequest(n.ifc, to, n.nbma, n.requestID, packet.PurgeNoReply, hostPrefix(n.ifc.overlay()))
}

func (e *Engine) sendPurgeRequest(ifc *iface, dest, nbma netip.Addr, id uint32, flags packet.Flags, prefixes ...netip.Prefix) {
	var cies []packet.CIE
	for _, p := range prefixes {
		cies = append(cies, packet.CIE{PrefixLength: uint8(p.Bits()), Protocol: p.Addr()})
	}
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

// purgeRequest forgets what its sender told us, and nothing else.
func (e *Engine) purgeRequest(m *message) {
	if !e.understood(m) {
		return
	}
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.clientOf(&m.CIEs[i]))
		if !ok {
			continue
		}
		e.purgeBindings(m, prefix)
		e.purgeAnnounced(m, prefix)
		e.purgeShortcuts(m, prefix)
	}
	if m.Flags&packet.PurgeNoReply != 0 {
		return
	}
	m.Type = packet.PurgeReply
	m.HopCount = hopCount
	e.fillResponder(m)
	e.send(m.ifc, m.from, m.Packet)
}

// purgeBindings ends the sender's own registrations inside prefix.
func (e *Engine) purgeBindings(m *message, prefix netip.Prefix) {
	owns := func(b *binding) bool { return b.nbma == m.from && b.mayBe(m.proven()) }
	if b := m.ifc.bindings[prefix.Addr()]; b != nil && prefix.IsSingleIP() && !b.static && !owns(b) {
		e.drop(dropNotOwner)
	}
	for _, c := range m.ifc.claimsAt(m.from) {
		if b, ok := c.owner.(*binding); ok && !b.static && prefix.Contains(b.protocol) && owns(b) {
			e.unbind(b, "the client took its registration back")
		}
	}
}

// claimsAt copies the claims on the peer at an NBMA address.
func (ifc *iface) claimsAt(nbma netip.Addr) []*claim {
	if p := ifc.peers[nbma]; p != nil {
		return slices.Clone(p.claims)
	}
	return nil
}

// purgeAnnounced ends the sender's own prefixes inside prefix.
func (e *Engine) purgeAnnounced(m *message, prefix netip.Prefix) {
	owns := func(b *binding) bool { return b.nbma == m.from && b.mayBe(m.proven()) }
	if a := m.ifc.announced[prefix]; a != nil && !owns(a.owner) {
		e.drop(dropNotOwner)
	}
	for _, c := range m.ifc.claimsAt(m.from) {
		b, ok := c.owner.(*binding)
		if !ok || !owns(b) {
			continue
		}
		for _, a := range slices.Clone(b.prefixes) {
			if prefix.Bits() <= a.prefix.Bits() && prefix.Contains(a.prefix.Addr()) {
				e.endAnnounced(a, "the client took it back")
			}
		}
	}
}

// purgeShortcuts ends the shortcuts that the sender's answers led to. It says so itself, or through one of our NHSs.
func (e *Engine) purgeShortcuts(m *message, prefix netip.Prefix) {
	var ends []*shortcut
	take := func(s *shortcut) {
		if s.state != ShortcutResolving && prefix.Overlaps(s.prefix) && s.saidBy(m.SourceProtocol) {
			ends = append(ends, s)
		}
	}
	if m.ifc.isNHS(m.from) {
		for _, s := range m.ifc.shortcuts {
			take(s)
		}
	} else {
		for _, c := range m.ifc.claimsAt(m.from) {
			if s, ok := c.owner.(*shortcut); ok {
				take(s)
			}
		}
	}
	if s := m.ifc.shortcuts[prefix]; len(ends) == 0 && s != nil && s.state != ShortcutResolving {
		e.drop(dropNotOwner)
	}
	slices.SortFunc(ends, func(a, b *shortcut) int { return a.prefix.Compare(b.prefix) })
	for _, s := range ends {
		e.endShortcut(s, "the router that answered for it took its answer back")
	}
}

// purgeReply ends the repetition.
func (e *Engine) purgeReply(m *message) {
	p := m.ifc.purges[m.RequestID]
	if p == nil || p.requester != m.DestProtocol {
		e.drop(dropUnsolicited)
		return
	}
	e.endPurge(p)
}
