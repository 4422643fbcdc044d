package resolution

import (
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
)

// prove installs a shortcut whose next hop has an SA, once the path to it may be used.
func (s *Shortcut) prove() {
	rq := s.requester
	if o := rq.Peers.ObjectToPath(s.Peer, s.NextHop); o.Raised() {
		rq.install(s) // which denies it
		return
	}
	switch rq.Proofs.Refer(&s.path, s.Peer, s.NextHop, s.provable) {
	case proof.Pending:
		if s.State != report.ShortcutProving {
			s.State, s.since = report.ShortcutProving, rq.Now
		}
		rq.Timers.Stop(&s.step)
	case proof.Unusable:
		reason, until := rq.Proofs.Retry(s.Peer)
		rq.unresolveUntil(s, report.OutcomePathFailed, reason, until)
	default:
		s.mtu = rq.Proofs.MTU(s.Peer)
		rq.install(s)
	}
}

// PathProven installs the shortcuts that waited for the proof of the path to a peer. Those that are
// up get the routes with the path's MTU; 0 stands for the tunnel's.
func (rq *Requester) PathProven(peer peerid.ID, mtu uint16) {
	for _, s := range shortcutsBy(rq, peer) {
		switch s.State {
		case report.ShortcutProving:
			s.mtu = mtu
			rq.install(s)
		case report.ShortcutUp:
			s.setMTU(mtu)
		}
	}
}

// PathFailed ends the shortcuts by a peer, whose path failed. The engine does not ask for their
// destinations again until the path may be tried again.
func (rq *Requester) PathFailed(peer peerid.ID, reason string, until time.Time) {
	for _, s := range shortcutsBy(rq, peer) {
		if s.State >= report.ShortcutProving {
			rq.unresolveUntil(s, report.OutcomePathFailed, reason, until)
		}
	}
}

// Paths returns how many shortcuts refer to a path. It is for tests.
func (rq *Requester) Paths() int {
	n := 0
	for _, s := range rq.Shortcuts {
		if s.path.Held() {
			n++
		}
	}
	return n
}

// shortcutsBy returns the shortcuts whose next hop is a peer, in the order of their prefixes.
func shortcutsBy(rq *Requester, peer peerid.ID) []*Shortcut {
	return ordered.ValuesIf(rq.Shortcuts, ordered.ByPrefix,
		func(s *Shortcut) bool { return s.Peer == peer })
}

// setMTU changes the MTU of the routes of a shortcut that is up.
func (s *Shortcut) setMTU(mtu uint16) {
	if s.mtu == mtu {
		return
	}
	s.mtu = mtu
	for _, x := range slots(s.Prefix, s.Placement) {
		s.requester.Placements.reviseSlot(x)
	}
}

// pathState returns what is known of the path that the shortcut uses.
func (s *Shortcut) pathState() report.PathState {
	st, _ := s.requester.Proofs.Status(s.Peer)
	return st.State
}
