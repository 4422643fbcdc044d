package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
)

// peersSecured handles the event that lists every peer with which strongSwan has an SA. Peers that
// the list leaves out have moved or are lost; peers that are new in it are secured. The first list
// also decides how long what was restored may wait for its peers.
func (ifc *iface) peersSecured(ev *event.PeersSecured) {
	there := ev.Peers
	has := make(map[peerid.ID]bool, len(there))
	for _, ike := range there {
		has[ike.ID] = true
	}
	ifc.peers.FollowUnseen(there)
	for _, p := range ordered.Values(ifc.peers.ByID, peerid.ID.Compare) {
		if p.Secured && !has[p.ID] {
			ifc.peers.NotListed(p)
		}
	}
	ifc.parkUnlisted(has)
	for _, ike := range there {
		ifc.peers.PeerSecured(ike)
	}
	if ifc.peers.Confirm() {
		grace := restoreGrace
		if ifc.server.UnlistRestored() {
			grace = peers.ResyncGrace
		}
		ifc.Requester.UnlistRestored()
		ifc.Timers.Set(&ifc.grace, ifc.Now.Add(grace))
	}
	if ev.InKernel != nil {
		ifc.cutOff(ev.InKernel)
	}
}

// cutOff cuts off the unlisted peers with which the kernel has no SA either. A strongSwan that was
// killed leaves its SAs to the kernel; one that was stopped, or a reboot, removes them.
func (ifc *iface) cutOff(inKernel map[netip.Addr]bool) {
	gone := func(p *peers.Peer) bool { return p.Unlisted && !inKernel[p.Outer] }
	for _, p := range ordered.ValuesIf(ifc.peers.ByID, peerid.ID.Compare, gone) {
		ifc.peers.CutOff(p)
	}
}

// parkUnlisted parks every binding and answer of a marked peer whose SA strongSwan does not list.
// It ends every shortcut, admission and held packet of such a peer.
func (ifc *iface) parkUnlisted(listed map[peerid.ID]bool) {
	gone := func(id peerid.ID) bool {
		_, marked := id.Mark()
		return marked && !listed[id]
	}
	lost := make(map[peerid.ID]*peers.Peer)       // by their IDs
	successors := make(map[peerid.ID]*peers.Peer) // by the IDs of the lost peers
	for _, p := range ordered.Values(ifc.peers.ByID, peerid.ID.Compare) {
		if gone(p.ID) {
			lost[p.ID] = p
			ifc.peers.Park(p, successors)
		}
	}
	for _, a := range ordered.Values(ifc.Responder.Answers, resolution.AnswerKey.Compare) {
		if gone(a.Peer) {
			ifc.Responder.Park(a, lost[a.Peer], successors)
		}
	}
	for _, id := range ifc.admissions.IDs() {
		if gone(id) {
			ifc.admissions.EndAdmission(id)
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
func (ifc *iface) used(ev event.Used) {
	if ifc.Left {
		return
	}
	for _, u := range ev.Peers {
		if p := ifc.peers.ByID[u.ID]; p != nil {
			p.Used(u.In, u.Out)
		}
	}
	ifc.proofs.Review(ev.Exact)
	ifc.client.ReviewUse(ev.Exact)
	due := func(s *resolution.Shortcut) bool {
		if s.State != report.ShortcutUp {
			return false
		}
		s.NoteUse()
		return s.Idle() || s.RefreshDue()
	}
	for _, s := range ordered.ValuesIf(ifc.Requester.Shortcuts, ordered.ByPrefix, due) {
		ifc.Requester.ReviewShortcut(s)
	}
	for _, p := range ordered.ValuesIf(ifc.peers.ByID, peerid.ID.Compare, (*peers.Peer).Closable) {
		if p.Closable() {
			ifc.peers.CloseSilent(p)
		}
	}
}
