package engine

import (
	"maps"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
)

// peersSecured handles the event that lists every peer with which strongSwan has an SA. Peers that
// the list leaves out are lost; peers that are new in it are secured. The first list also decides
// how long what was restored may wait for its peers.
func (ifc *iface) peersSecured(there []event.Peer) {
	has := make(map[netip.Addr]bool, len(there))
	for _, ike := range there {
		has[ike.NBMA] = true
	}
	for _, p := range ordered.Values(ifc.peers.ByNBMA, ordered.ByAddr) {
		if p.Secured && !has[p.NBMA] {
			// Packets for a name need a listed SA: its mark is all that leads them to the router.
			p.Unlisted = !p.Outer.IsValid()
			ifc.peers.Unsecure(p, "strongSwan has no SA with it any more", peers.ResyncGrace)
		}
	}
	ifc.retireNames(has)
	for _, ike := range there {
		ifc.peers.PeerSecured(ike)
	}
	if !ifc.peers.Confirmed {
		ifc.peers.Confirmed = true
		grace := restoreGrace
		for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
			if b.Restored && !b.Ref.Peer.Secured {
				grace = peers.ResyncGrace
				b.Ref.Peer.Peers.Unlist(b.Ref.Peer)
			}
		}
		for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
			if s.Restored && !s.Ref.Peer.Secured {
				s.Ref.Peer.Peers.Unlist(s.Ref.Peer)
			}
		}
		ifc.Timers.Set(&ifc.grace, ifc.Now.Add(grace))
	}
}

// retireNames releases every binding, shortcut, answer, admission and held packet that uses a name
// whose SA strongSwan does not list.
func (ifc *iface) retireNames(listed map[netip.Addr]bool) {
	gone := func(a netip.Addr) bool {
		return overlay.InThisNetwork(a) && !peers.Parked(a) && !listed[a]
	}
	losers, heirs := make(
		map[netip.Addr]*peers.Peer,
	), make(
		map[netip.Addr]*peers.Peer,
	) // both by the lost name
	for _, p := range ordered.Values(ifc.peers.ByNBMA, ordered.ByAddr) {
		if gone(p.NBMA) {
			losers[p.NBMA] = p
			ifc.peers.Park(p, heirs)
		}
	}
	for _, a := range ordered.Values(ifc.Responder.Answers, resolution.AnswerKey.Compare) {
		if gone(a.NBMA) {
			ifc.Responder.Park(a, losers[a.NBMA], heirs)
		}
	}
	for _, at := range ordered.Values(ifc.admissions.ByNBMA, ordered.ByAddr) {
		if gone(at.NBMA) {
			ifc.admissions.EndAdmission(at.NBMA)
		}
	}
	for _, from := range slices.SortedFunc(maps.Keys(ifc.peers.Held), ordered.ByAddr) {
		if gone(from) {
			ifc.peers.DropHeld(from, overlay.DropUnsecured)
		}
	}
}

// used handles the event that tells when data last passed. What has been idle for too long ends:
// shortcuts first, then the references of answers, then SAs.
func (ifc *iface) used(list []event.PeerUse) {
	if ifc.Left {
		return
	}
	for _, u := range list {
		if p := ifc.peers.ByNBMA[u.NBMA]; p != nil {
			p.In, p.Out = overlay.Later(p.In, u.In), overlay.Later(p.Out, u.Out)
		}
	}
	due := func(s *resolution.Shortcut) bool {
		if s.State != report.ShortcutUp {
			return false
		}
		if p := s.Ref.Peer; p != nil {
			s.Used = overlay.Later(s.Used, p.Out)
		}
		return ifc.Requester.Idle(s) || ifc.Requester.RefreshDue(s)
	}
	for _, s := range ordered.ValuesIf(ifc.Requester.Shortcuts, ordered.ByPrefix, due) {
		ifc.Requester.ReviewShortcut(s)
	}
	for _, p := range ordered.ValuesIf(ifc.peers.ByNBMA, ordered.ByAddr, (*peers.Peer).Closable) {
		if p.Closable() {
			ifc.peers.CloseSilent(p)
		}
	}
}
