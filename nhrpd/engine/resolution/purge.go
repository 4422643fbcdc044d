package resolution

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
)

// TakeBackShortcuts ends the shortcuts that overlap one of the prefixes that a router purges, and
// rest on that router's answers. The purge has to come from the router itself or through one of
// this router's NHSs. TakeBackShortcuts returns the prefixes that it refuses to purge: those of
// another router's shortcuts, and those that the sender may not speak for.
func (rq *Requester) TakeBackShortcuts(
	m *overlay.Message, prefixes []netip.Prefix,
) (refused []netip.Prefix) {
	nhs, from := rq.Peers.IsNHS(m.From), rq.Peers.Proven(m.From)
	var said []*Shortcut
	may := make(map[*Shortcut]bool)
	for _, s := range rq.Shortcuts {
		if s.State != report.ShortcutResolving && s.AnsweredBy(m.SourceProtocol) {
			said = append(said, s)
			// A router that moved sends the purge from its new address, under its old identity.
			may[s] = nhs || s.Peer == m.From || s.Identity != "" && from.IsOneOf(s.Identity)
		}
	}
	ends := make(map[*Shortcut]bool)
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
		if s := rq.Shortcuts[prefix]; denied ||
			!ended && s != nil && s.State != report.ShortcutResolving {
			rq.Drop(overlay.DropNotOwner)
			refused = append(refused, prefix)
		}
	}
	said = slices.DeleteFunc(said, func(s *Shortcut) bool { return !ends[s] })
	slices.SortFunc(said, func(a, b *Shortcut) int { return a.Prefix.Compare(b.Prefix) })
	for _, s := range said {
		rq.EndShortcut(s, "the router that answered for it took its answer back")
	}
	return refused
}

// ShutOut handles a purge that one of this router's NHSs sends in its own name for other routers:
// the NHS has shut those routers out. Shortcuts to such a router end, and so do the answers given
// to it, since all of them rest on the NHS's word. Each entry names the router's overlay address
// and its NBMA address, since a router may have asked under another overlay address. The NBMA
// address is zero if the NHS names none.
func (r *Resolution) ShutOut(m *overlay.Message) {
	rq, rs := &r.Requester, &r.Responder
	// gone is by overlay address, goneAt by NBMA address.
	gone, goneAt := make(map[netip.Addr]bool), make(map[netip.Addr]bool)
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.ClientOf(&m.CIEs[i]))
		if ok && rq.Neighbors.IsRouter(prefix) {
			gone[prefix.Addr()] = true
			goneAt[m.CIEs[i].NBMA] = m.CIEs[i].NBMA.IsValid()
		}
	}
	isIt := func(protocol netip.Addr, at peerid.ID) bool {
		return gone[protocol] || goneAt[rq.Peers.Outer(at)] && !rq.Peers.IsNHS(at)
	}
	var left []*peers.Peer
	for _, s := range ordered.ValuesIf(rq.Shortcuts, ordered.ByPrefix,
		func(s *Shortcut) bool { return isIt(s.NextHop, s.Peer) }) {
		if s.State != report.ShortcutResolving {
			left = append(left, s.Ref.Peer)
			rq.EndShortcut(s, "the NHS shut out the router that it leads to")
		}
	}
	for _, a := range ordered.ValuesIf(rs.Answers, AnswerKey.Compare,
		func(a *Answer) bool { return isIt(a.Requester, a.Peer) }) {
		left = append(left, a.Ref.Peer)
		rs.DropAnswer(a)
	}
	for _, p := range left {
		if p != nil && p.Secured && len(p.Refs) == 0 {
			rq.Peers.ClosePeer(p, "the NHS shut it out")
		}
	}
}
