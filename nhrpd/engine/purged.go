package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/packet"
)

// purgeRequest handles a purge request: this router forgets what the sender itself told it, and
// nothing else. Only an NHS may take back other routers too: see purgeRouters.
//
// If one of the prefixes is not the sender's to take back, the purge gets no reply, since a reply
// would say that all of it was done. Such a sender may well be the router that it claims to be, at
// an address that this router does not know yet. It then repeats the purge, perhaps along an NHS by
// that time.
func (ifc *iface) purgeRequest(m *overlay.Message) {
	if !ifc.Understood(m) {
		return
	}
	refused, nhs := false, ifc.isOfNHS(m)
	var prefixes []netip.Prefix
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.ClientOf(&m.CIEs[i]))
		if !ok {
			continue
		}
		bindings, announced := ifc.purgeBindings(m, prefix), ifc.purgeAnnounced(m, prefix)
		if (bindings || announced) && !(nhs && ifc.neighbors.IsRouter(prefix)) {
			refused = true
		}
		prefixes = append(prefixes, prefix)
	}
	for _, prefix := range ifc.purgeShortcuts(m, prefixes) {
		if !(nhs && ifc.neighbors.IsRouter(prefix)) {
			refused = true
		}
	}
	if nhs {
		ifc.purgeRouters(m)
	}
	if refused || m.Flags&packet.PurgeNoReply != 0 {
		return
	}
	m.Type = packet.PurgeReply
	m.HopCount = overlay.HopCount
	ifc.FillResponder(m)
	ifc.Send(m.From, m.Packet)
}

// purgeBindings ends the sender's own registrations inside prefix. It reports whether it refuses
// the purge because the prefix is another router's registration.
func (ifc *iface) purgeBindings(m *overlay.Message, prefix netip.Prefix) (refused bool) {
	owns := func(b *server.Binding) bool {
		return b.NBMA == m.From && b.MayBe(ifc.peers.Proven(m.From))
	}
	if b := ifc.server.Bindings[prefix.Addr()]; b != nil && prefix.IsSingleIP() &&
		!b.Static && !owns(b) {
		ifc.Drop(overlay.DropNotOwner)
		refused = true
	}
	for _, b := range slices.Collect(server.BindingsOf(ifc.peers.ByNBMA[m.From])) {
		if !b.Static && prefix.Contains(b.Protocol) && owns(b) {
			ifc.server.Unbind(b, "the client took its registration back")
		}
	}
	return refused
}

// purgeAnnounced ends the sender's own announced prefixes inside prefix. It reports whether it
// refuses the purge because another router announces the prefix.
func (ifc *iface) purgeAnnounced(m *overlay.Message, prefix netip.Prefix) (refused bool) {
	owns := func(b *server.Binding) bool {
		return b.NBMA == m.From && b.MayBe(ifc.peers.Proven(m.From))
	}
	if a := ifc.server.Announced[prefix]; a != nil && !owns(a.Owner) {
		ifc.Drop(overlay.DropNotOwner)
		refused = true
	}
	for _, b := range slices.Collect(server.BindingsOf(ifc.peers.ByNBMA[m.From])) {
		if !owns(b) {
			continue
		}
		for _, a := range slices.Clone(b.Prefixes) {
			if prefix.Bits() <= a.Prefix.Bits() && prefix.Contains(a.Prefix.Addr()) {
				ifc.server.EndAnnounced(a, "the client took it back")
			}
		}
	}
	return refused
}

// purgeShortcuts ends the shortcuts that overlap one of prefixes and rest on the sender's answers.
// The purge has to come from the sender itself or through one of this router's NHSs. purgeShortcuts
// returns the prefixes that it refuses to purge: those of another router's shortcuts, and those
// that the sender may not speak for.
func (ifc *iface) purgeShortcuts(
	m *overlay.Message,
	prefixes []netip.Prefix,
) (refused []netip.Prefix) {
	nhs, from := ifc.peers.IsNHS(m.From), ifc.peers.Proven(m.From)
	var said []*resolution.Shortcut
	may := make(map[*resolution.Shortcut]bool)
	for _, s := range ifc.Requester.Shortcuts {
		if s.State != report.ShortcutResolving && s.AnsweredBy(m.SourceProtocol) {
			said = append(said, s)
			// A router that moved sends the purge from its new address, under its old identity.
			may[s] = nhs || s.NBMA == m.From || s.Identity != "" && from.IsOneOf(s.Identity)
		}
	}
	ends := make(map[*resolution.Shortcut]bool)
	for _, prefix := range prefixes {
		ended, denied := false, false
		for _, s := range said {
			switch {
			case !prefix.Overlaps(s.Prefix):
			case may[s]:
				ends[s], ended = true, true
			default:
				denied = true
			}
		}
		if s := ifc.Requester.Shortcuts[prefix]; denied ||
			!ended && s != nil && s.State != report.ShortcutResolving {
			ifc.Drop(overlay.DropNotOwner)
			refused = append(refused, prefix)
		}
	}
	said = slices.DeleteFunc(said, func(s *resolution.Shortcut) bool { return !ends[s] })
	slices.SortFunc(said, func(a, b *resolution.Shortcut) int { return a.Prefix.Compare(b.Prefix) })
	for _, s := range said {
		ifc.Requester.EndShortcut(
			s,
			"the router that answered for it took its answer back",
		)
	}
	return refused
}

// purgeRouters handles a purge that one of this router's NHSs sends in its own name for other
// routers: the NHS has shut those routers out. Shortcuts to such a router end, and so do the
// answers given to it, since all of them rest on the NHS's word. Each entry names the router's
// overlay address and its NBMA address, since a router may have asked under another overlay
// address. The NBMA address is zero if the NHS names none.
func (ifc *iface) purgeRouters(m *overlay.Message) {
	// gone is by overlay address, goneAt by NBMA address.
	gone, goneAt := make(map[netip.Addr]bool), make(map[netip.Addr]bool)
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.ClientOf(&m.CIEs[i]))
		if ok && ifc.neighbors.IsRouter(prefix) {
			gone[prefix.Addr()] = true
			goneAt[m.CIEs[i].NBMA] = m.CIEs[i].NBMA.IsValid()
		}
	}
	isIt := func(protocol, at netip.Addr) bool {
		return gone[protocol] || goneAt[ifc.peers.Outer(at)] && !ifc.peers.IsNHS(at)
	}
	var left []*peers.Peer
	for _, s := range ordered.ValuesIf(ifc.Requester.Shortcuts, ordered.ByPrefix,
		func(s *resolution.Shortcut) bool {
			return isIt(s.NextHop, s.NBMA)
		}) {
		if s.State != report.ShortcutResolving {
			left = append(left, s.Ref.Peer)
			ifc.Requester.EndShortcut(s, "the NHS shut out the router that it leads to")
		}
	}
	for _, a := range ordered.ValuesIf(ifc.Responder.Answers, resolution.AnswerKey.Compare,
		func(a *resolution.Answer) bool {
			return isIt(a.Requester, a.NBMA)
		}) {
		left = append(left, a.Ref.Peer)
		ifc.Responder.DropAnswer(a)
	}
	for _, p := range left {
		if p != nil && p.Secured && len(p.Refs) == 0 {
			ifc.peers.ClosePeer(p, "the NHS shut it out")
		}
	}
}

// isOfNHS reports whether one of this router's NHSs sent the message in its own name.
func (ifc *iface) isOfNHS(m *overlay.Message) bool {
	return slices.ContainsFunc(ifc.client.NHS, func(n *client.NHS) bool {
		return n.NBMA == m.From && n.Protocol == m.SourceProtocol
	})
}
