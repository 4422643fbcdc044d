package engine

import (
	"net/netip"
	"slices"
)

// purgeRouters handles a purge that one of this router's NHSs sends in its own name for other
// routers: the NHS has shut those routers out. Shortcuts to such a router end, and so do the
// answers given to it, since all of them rest on the NHS's word. Each entry names the router's
// overlay address and its NBMA address, since a router may have asked under another overlay
// address. The NBMA address is zero if the NHS names none.
func (e *Engine) purgeRouters(m *message) {
	ifc := m.ifc
	// gone is by overlay address, goneAt by NBMA address.
	gone, goneAt := make(map[netip.Addr]bool), make(map[netip.Addr]bool)
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.clientOf(&m.CIEs[i]))
		if ok && ifc.isRouter(prefix) {
			gone[prefix.Addr()] = true
			goneAt[m.CIEs[i].NBMA] = m.CIEs[i].NBMA.IsValid()
		}
	}
	isIt := func(protocol, at netip.Addr) bool {
		return gone[protocol] || goneAt[ifc.real(at)] && !ifc.isNHS(at)
	}
	var left []*peer
	for _, s := range inOrderIf(ifc.shortcuts, byPrefix, func(s *shortcut) bool {
		return isIt(s.nextHop, s.nbma)
	}) {
		if s.state != ShortcutResolving {
			left = append(left, s.ref.peer)
			e.endShortcut(s, "the NHS shut out the router that it leads to")
		}
	}
	for _, a := range inOrderIf(ifc.answers, answerKey.compare, func(a *answer) bool {
		return isIt(a.requester, a.nbma)
	}) {
		left = append(left, a.ref.peer)
		e.dropAnswer(a)
	}
	for _, p := range left {
		if p != nil && p.secured && len(p.refs) == 0 {
			e.closePeer(p, "the NHS shut it out")
		}
	}
}

// isRouter reports whether a prefix is the overlay address of another router.
func (ifc *iface) isRouter(prefix netip.Prefix) bool {
	return prefix.IsSingleIP() && ifc.clientAddress(prefix.Addr())
}

// isOfNHS reports whether one of this router's NHSs sent the message in its own name.
func (m *message) isOfNHS() bool {
	return slices.ContainsFunc(m.ifc.nhs, func(n *nhs) bool {
		return n.nbma == m.from && n.protocol == m.SourceProtocol
	})
}
