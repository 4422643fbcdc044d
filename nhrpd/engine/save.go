package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/engine/server"
)

// restoreGrace is how long restored bindings and shortcuts wait for strongSwan to report that their
// peers are secured.
const restoreGrace = 10 * time.Second

// Save returns a copy of the state that outlives a restart: the addresses of the NHSs, the bindings
// of clients, the shortcuts that are up, the answers that others rely on, and which identities own
// addresses or are away.
func (e *Engine) Save() report.Saved {
	s := report.Saved{At: e.router.Now}
	for _, ifc := range e.interfaces() {
		saved := report.SavedInterface{
			Name:      ifc.Config.Name,
			NBMA:      ifc.Known,
			Protected: ifc.Config.Protected,
		}
		for _, n := range ifc.client.NHS {
			if n.Registered {
				saved.NHS = append(saved.NHS, n.Saved())
			}
		}
		saved.Bindings = make([]report.SavedBinding, 0, len(ifc.server.Bindings))
		for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
			if !b.Static {
				saved.Bindings = append(saved.Bindings, b.Saved())
			}
		}
		for _, sc := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
			if sc.State == report.ShortcutUp {
				saved.Shortcuts = append(saved.Shortcuts, sc.Saved())
			}
		}
		for _, a := range ordered.Values(ifc.Responder.Answers, resolution.AnswerKey.Compare) {
			if e.router.Now.Before(a.Expires) {
				saved.Answers = append(saved.Answers, a.Saved())
			}
		}
		saved.Owners = ifc.server.SaveOwners()
		saved.Away = ifc.server.SaveAway()
		s.Interfaces = append(s.Interfaces, saved)
	}
	return s
}

// Restore takes over the state that Save returned before a restart. The caller runs it after the
// first Configure. The engine asks for the neighbours and routes at once, so that traffic goes on.
// What was not confirmed ends 10 seconds after the first PeersSecured. If that lacks the peer of a
// restored binding, strongSwan was restarted as well, and the time is 30 seconds.
func (e *Engine) Restore(now time.Time, s report.Saved, out *output.Output) {
	e.router.Enter(now, out)
	changed := out.StateChanged
	for _, saved := range s.Interfaces {
		ifc := e.ifaces[saved.Name]
		if ifc == nil || ifc.Left {
			continue
		}
		ifc.Known = saved.NBMA
		for i := range saved.NHS {
			ifc.client.RestoreNHS(&saved.NHS[i])
		}
		for i := range saved.Bindings {
			ifc.restoreBinding(&saved.Bindings[i])
		}
		for i := range saved.Shortcuts {
			ifc.restoreShortcut(&saved.Shortcuts[i])
		}
		for i := range saved.Answers {
			ifc.restoreAnswer(&saved.Answers[i])
		}
		ifc.server.RestoreOwners(saved.Owners)
		ifc.server.RestoreAway(saved.Away)
		if !ifc.Config.Protected {
			e.router.Timers.Set(&ifc.grace, e.router.Now.Add(restoreGrace))
		}
	}
	out.StateChanged = changed // the caller has what was restored
	e.finish()
}

// restoreBinding restores a client's binding with its prefixes, if the configuration, the rules and
// the limits still allow it.
func (ifc *iface) restoreBinding(st *report.SavedBinding) {
	left := ifc.Remaining(st.Expires)
	if left <= 0 || !ifc.ClientAddress(st.Protocol) || !overlay.UsableNBMA(st.NBMA) ||
		ifc.server.Bindings[st.Protocol] != nil ||
		len(ifc.server.Bindings) >= ifc.Config.Limits.Bindings {
		return
	}
	who := ifc.peers.Rules.Of(st.Identity, ifc.Blocks)
	if ifc.Config.Protected && who.ToAddress(st.Protocol).Raised() {
		return
	}
	if !ifc.restoreOuter(st.NBMA, st.Real) {
		return
	}
	b := ifc.server.NewBinding(st.Protocol)
	b.ClientNBMA, b.Identity, b.Unique, b.MTU = st.ClientNBMA, st.Identity, st.Unique, st.MTU
	b.SetHolder(overlay.HolderOf(st.Identity, st.NBMA))
	b.Restored = ifc.Config.Protected
	b.Expires = ifc.Now.Add(left)
	ifc.Timers.Set(&b.Expiry, b.Expires)
	ifc.server.Bind(b, st.NBMA)
	for _, p := range st.Prefixes {
		ifc.restorePrefix(b, p)
	}
}

// restoreOuter restores the outer address behind nbma if that is a peer ID. It reports whether nbma
// can be used.
func (ifc *iface) restoreOuter(nbma, outer netip.Addr) bool {
	switch {
	case !overlay.InThisNetwork(nbma):
		return !outer.IsValid()
	case !overlay.UsableNBMA(outer) || overlay.InThisNetwork(outer):
		return false
	}
	p := ifc.peers.At(nbma)
	if peers.Parked(nbma) {
		ifc.peers.RecordOuter(p, outer)
		return true
	}
	ifc.peers.SetOuter(p, outer)
	return true
}

// restorePrefix restores a client's announced prefix. The prefix expires with its binding unless
// the client refreshes it.
func (ifc *iface) restorePrefix(b *server.Binding, prefix netip.Prefix) {
	if !prefix.IsValid() || prefix != prefix.Masked() || ifc.server.Announced[prefix] != nil {
		return
	}
	if ifc.server.ObjectToAnnouncing(b, prefix).Raised() {
		return
	}
	a := ifc.server.NewAnnounced(b, prefix)
	a.Expires = b.Expires
	ifc.Timers.Set(&a.Expiry, a.Expires)
}

// restoreShortcut restores a shortcut that was up, if the configuration, the rules and the limits
// still allow it.
func (ifc *iface) restoreShortcut(st *report.SavedShortcut) {
	left := ifc.Remaining(st.Expires)
	switch {
	case left <= 0, !ifc.Config.Shortcut,
		len(ifc.Requester.Shortcuts) >= ifc.Config.Limits.Shortcuts,
		!st.Prefix.IsValid(), st.Prefix != st.Prefix.Masked(), !st.Prefix.Contains(st.Dest),
		!ifc.SameFamily(st.Dest), !ifc.ClientAddress(st.NextHop), !overlay.UsableNBMA(st.NBMA),
		ifc.Requester.Shortcuts[st.Prefix] != nil,
		ifc.neighbors.HasHostRoute(st.Prefix, st.NextHop),
		ifc.prefixes.ObjectToPrefix(st.Prefix, st.NBMA).Raised():
		return
	}
	who := ifc.peers.Rules.Of(st.Identity, ifc.Blocks)
	if st.Identity != "" && (who.ToAddress(st.NextHop).Raised() || who.ToShortcut().Raised()) {
		return
	}
	if !ifc.restoreOuter(st.NBMA, st.Real) {
		return
	}
	s := ifc.Requester.NewShortcut(st.Dest, st.Prefix)
	s.NextHop, s.NBMA, s.Identity, s.State = st.NextHop, st.NBMA, st.Identity, report.ShortcutUp
	s.Answered, s.Expires, s.Refresh = ifc.Now, ifc.Now.Add(left), ifc.Now.Add(left*2/3)
	s.Restored = ifc.Config.Protected
	ifc.peers.Refer(&s.Ref, ifc.peers.At(s.NBMA), peers.ForShortcut, false)
	ifc.admissions.Admit(&s.Admission, s.NBMA, admission.As{})
	ifc.neighbors.Want(&s.Neighbor, neighbors.RankShortcut, s.NextHop, s.NBMA)
	ifc.Requester.WantRoute(s)
	ifc.Requester.ScheduleShortcut(s)
	ifc.peers.StartPoll()
}

// restoreAnswer restores an answer that was given. It is taken back if it turns out to be wrong
// once the routes are known.
func (ifc *iface) restoreAnswer(st *report.SavedAnswer) {
	left := ifc.Remaining(st.Expires)
	key := resolution.AnswerKey{Requester: st.Requester, Prefix: st.Prefix, NBMA: st.NBMA}
	if left <= 0 || !ifc.ClientAddress(st.Requester) || !overlay.UsableNBMA(st.NBMA) ||
		!st.Prefix.IsValid() || st.Prefix != st.Prefix.Masked() ||
		!st.Prefix.Contains(st.Dest) || ifc.Responder.Answers[key] != nil ||
		len(ifc.Responder.Answers) >= ifc.Config.Limits.Answers {
		return
	}
	a := ifc.Responder.NewAnswer(key)
	a.Dest, a.Mapped, a.Restored = st.Dest, st.Mapped, true
	a.Expires = ifc.Now.Add(left)
	ifc.Timers.Set(&a.Expiry, a.Expires)
	if st.Vouched {
		ifc.admissions.AdmitIdentity(
			&a.Admission, a.NBMA, admission.As{Shared: true}, st.Identity)
	}
}

// endUnconfirmed ends the restored bindings, shortcuts and neighbours of NHSs whose peers are not
// secured, and the restored shortcuts that no route leads to.
func (ifc *iface) endUnconfirmed() {
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		if s.Restored || !s.CoveringRoute.Prefix.IsValid() {
			ifc.Requester.EndShortcut(s, "not confirmed after the restart")
		}
	}
	ifc.client.WithdrawUnsecured()
	for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
		if b.Restored {
			ifc.server.ReserveForOwner(b)
			ifc.server.Unbind(b, "no SA with the client after the restart")
		}
	}
}
