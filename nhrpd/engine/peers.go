package engine

import (
	"net/netip"

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
			ifc.peers.NotListed(p)
		}
	}
	ifc.parkUnlisted(has)
	for _, ike := range there {
		ifc.peers.PeerSecured(ike)
	}
	if !ifc.peers.Confirmed {
		ifc.peers.Confirmed = true
		grace := restoreGrace
		for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
			if b.Restored && !b.Ref.Peer.Secured {
				grace = peers.ResyncGrace
				ifc.peers.Unlist(b.Ref.Peer)
			}
		}
		for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
			if s.Restored && !s.Ref.Peer.Secured {
				ifc.peers.Unlist(s.Ref.Peer)
			}
		}
		ifc.Timers.Set(&ifc.grace, ifc.Now.Add(grace))
	}
}

// parkUnlisted parks every binding and answer that uses a peer ID whose SA strongSwan does not
// list. It ends every shortcut, admission and held packet that uses such an ID.
func (ifc *iface) parkUnlisted(listed map[netip.Addr]bool) {
	gone := func(a netip.Addr) bool {
		return overlay.InThisNetwork(a) && !peers.Parked(a) && !listed[a]
	}
	lost := make(map[netip.Addr]*peers.Peer)       // by their IDs
	successors := make(map[netip.Addr]*peers.Peer) // by the IDs of the lost peers
	for _, p := range ordered.Values(ifc.peers.ByNBMA, ordered.ByAddr) {
		if gone(p.NBMA) {
			lost[p.NBMA] = p
			ifc.peers.Park(p, successors)
		}
	}
	for _, a := range ordered.Values(ifc.Responder.Answers, resolution.AnswerKey.Compare) {
		if gone(a.NBMA) {
			ifc.Responder.Park(a, lost[a.NBMA], successors)
		}
	}
	for _, nbma := range ifc.admissions.Addresses() {
		if gone(nbma) {
			ifc.admissions.EndAdmission(nbma)
		}
	}
	for _, from := range ifc.peers.Held.Senders() {
		if gone(from) {
			ifc.peers.Held.Discard(from, overlay.DropUnsecured)
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
			p.Used(u.In, u.Out)
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
