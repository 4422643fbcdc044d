package resolution

import (
	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
)

// SaveShortcuts returns copies of the shortcuts that are up, in the order of their prefixes.
func (rq *Requester) SaveShortcuts() []report.SavedShortcut {
	var list []report.SavedShortcut
	for _, s := range ordered.Values(rq.Shortcuts, ordered.ByPrefix) {
		if s.State == report.ShortcutUp {
			list = append(list, s.Saved())
		}
	}
	return list
}

// RestoreShortcut restores a shortcut that was up, if the configuration, the rules and the limits
// still allow it.
func (rq *Requester) RestoreShortcut(st *report.SavedShortcut) {
	left := rq.Remaining(st.Expires)
	switch {
	case left <= 0, !rq.Config.Shortcut,
		len(rq.Shortcuts) >= rq.Config.Limits.Shortcuts,
		!st.Prefix.IsValid(), st.Prefix != st.Prefix.Masked(), !st.Prefix.Contains(st.Dest),
		!rq.HasFamily(st.Dest), !rq.ClientAddress(st.NextHop),
		rq.Shortcuts[st.Prefix] != nil,
		rq.Neighbors.HasHostRoute(st.Prefix, st.NextHop),
		rq.Prefixes.ObjectToPrefix(st.Prefix, st.Peer).Raised():
		return
	}
	who := rq.Peers.Rules.Of(st.Identity, rq.Blocks)
	if st.Identity != "" && (who.ToAddress(st.NextHop).Raised() || who.ToShortcut().Raised()) {
		return
	}
	if !rq.Peers.RestoreOuter(st.Peer, st.Outer) {
		return
	}
	s := rq.NewShortcut(st.Dest, st.Prefix)
	s.NextHop, s.Peer, s.Identity, s.State = st.NextHop, st.Peer, st.Identity, report.ShortcutUp
	s.Answered, s.Expires, s.Refresh = rq.Now, rq.Now.Add(left), rq.Now.Add(left*2/3)
	s.Restored = rq.Config.Protected
	rq.Peers.Refer(&s.Ref, rq.Peers.At(s.Peer), peers.ForShortcut, false)
	rq.Admissions.Admit(&s.Admission, s.Peer, admission.As{})
	rq.Neighbors.Want(&s.Neighbor, neighbors.RankShortcut, s.NextHop, s.Peer)
	rq.Proofs.Refer(&s.path, s.Peer, s.NextHop, false)
	rq.WantRoute(s, st.Placement)
	rq.ScheduleShortcut(s)
	rq.Peers.Poll.Start()
}

// UnlistRestored marks the next hops of the restored shortcuts whose SAs strongSwan does not list.
func (rq *Requester) UnlistRestored() {
	for _, s := range ordered.Values(rq.Shortcuts, ordered.ByPrefix) {
		if s.Restored && !s.Ref.Peer.Secured {
			rq.Peers.Unlist(s.Ref.Peer)
		}
	}
}

// EndUnconfirmed ends the restored shortcuts whose next hops have had no SA since the restart, and
// those that no route leads to.
func (rq *Requester) EndUnconfirmed() {
	for _, s := range ordered.Values(rq.Shortcuts, ordered.ByPrefix) {
		if s.Restored || !s.CoveringRoute.Prefix.IsValid() {
			rq.EndShortcut(s, "not confirmed after the restart")
		}
	}
}

// SaveAnswers returns copies of the answers that were given and have not expired, in order.
func (rs *Responder) SaveAnswers() []report.SavedAnswer {
	var list []report.SavedAnswer
	for _, a := range ordered.Values(rs.Answers, AnswerKey.Compare) {
		if rs.unexpired(a) {
			list = append(list, a.Saved())
		}
	}
	return list
}

// RestoreAnswer restores an answer that was given. It is taken back if it turns out to be wrong
// once the routes are known.
func (rs *Responder) RestoreAnswer(st *report.SavedAnswer) {
	left := rs.Remaining(st.Expires)
	key := AnswerKey{Requester: st.Requester, Prefix: st.Prefix, Peer: peerid.At(st.NBMA)}
	if left <= 0 || !rs.ClientAddress(st.Requester) || !overlay.UsableNBMA(st.NBMA) ||
		!st.Prefix.IsValid() || st.Prefix != st.Prefix.Masked() ||
		!st.Prefix.Contains(st.Dest) || rs.Answers[key] != nil ||
		len(rs.Answers) >= rs.Config.Limits.Answers {
		return
	}
	a := rs.NewAnswer(key)
	a.Dest, a.Mapped, a.Restored = st.Dest, st.Mapped, true
	a.Expires = rs.Now.Add(left)
	rs.Timers.Set(&a.Expiry, a.Expires)
	if st.Vouched {
		rs.Admissions.AdmitIdentity(
			&a.Admission, a.Peer, admission.As{Shared: true}, st.Identity)
	}
}
