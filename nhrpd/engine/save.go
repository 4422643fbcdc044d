package engine

import (
	"net/netip"
	"time"
)

// restoreGrace is how long restored bindings and shortcuts wait for strongSwan to report that their
// peers are secured.
const restoreGrace = 10 * time.Second

// maxHolding is the longest holding time that a packet can carry.
const maxHolding = 65535 * time.Second

// Save returns a copy of the state that outlives a restart: the addresses of the NHSs, the bindings
// of clients, the shortcuts that are up, the answers that others rely on, and which identities own
// addresses or are away.
func (e *Engine) Save() Saved {
	s := Saved{At: e.now}
	for _, ifc := range e.interfaces() {
		saved := SavedInterface{Name: ifc.cfg.Name, NBMA: ifc.known, Protected: ifc.cfg.Protected}
		for _, n := range ifc.nhs {
			if n.registered {
				saved.NHS = append(saved.NHS, n.status())
			}
		}
		saved.Bindings = make([]BindingStatus, 0, len(ifc.bindings))
		for _, b := range inOrder(ifc.bindings, byAddr) {
			if !b.static {
				status := b.status()
				status.Expires = e.onClock(status.Expires)
				saved.Bindings = append(saved.Bindings, status)
			}
		}
		for _, sc := range inOrder(ifc.shortcuts, byPrefix) {
			if sc.state == ShortcutUp {
				status := sc.status()
				status.Expires = e.onClock(status.Expires)
				saved.Shortcuts = append(saved.Shortcuts, status)
			}
		}
		for _, a := range inOrder(ifc.answers, answerKey.compare) {
			if e.now.Before(a.expires) {
				saved.Answers = append(saved.Answers, SavedAnswer{
					Requester: a.requester,
					NBMA:      ifc.real(a.nbma),
					Prefix:    a.prefix,
					Dest:      a.dest,
					Mapped:    a.mapped,
					Vouched:   a.admission.nbma.IsValid(),
					Identity:  a.admission.identity,
					Expires:   e.onClock(a.expires),
				})
			}
		}
		saved.Owners = e.saveOwners(ifc)
		saved.Away = e.saveAway(ifc)
		s.Interfaces = append(s.Interfaces, saved)
	}
	return s
}

// onClock returns what the wall clock will show at t, going by the present wall clock. It differs
// from t's own wall clock reading if the clock was set after t was computed.
func (e *Engine) onClock(t time.Time) time.Time {
	return e.now.Round(0).Add(t.Sub(e.now))
}

// Shift adds d to all times at which something ends. The caller uses it when the clock was set
// after Save.
func (s *Saved) Shift(d time.Duration) {
	for i := range s.Interfaces {
		ifc := &s.Interfaces[i]
		for j := range ifc.Bindings {
			ifc.Bindings[j].Expires = ifc.Bindings[j].Expires.Add(d)
		}
		for j := range ifc.Shortcuts {
			ifc.Shortcuts[j].Expires = ifc.Shortcuts[j].Expires.Add(d)
		}
		for j := range ifc.Answers {
			ifc.Answers[j].Expires = ifc.Answers[j].Expires.Add(d)
		}
		for j := range ifc.Owners {
			ifc.Owners[j].Expires = ifc.Owners[j].Expires.Add(d)
		}
		for j := range ifc.Away {
			ifc.Away[j].Expires = ifc.Away[j].Expires.Add(d)
		}
	}
}

// Restore takes over the state that Save returned before a restart. The caller runs it after the
// first Configure. The engine asks for the neighbours and routes at once, so that traffic goes on.
// What was not confirmed ends 10 seconds after the first PeersSecured. If that lacks the peer of a
// restored binding, strongSwan was restarted as well, and the time is 30 seconds.
func (e *Engine) Restore(now time.Time, s Saved, out *Output) {
	e.enter(now, out)
	for _, saved := range s.Interfaces {
		ifc := e.ifaces[saved.Name]
		if ifc == nil || ifc.left {
			continue
		}
		ifc.known = saved.NBMA
		for i := range saved.NHS {
			e.restoreNHS(ifc, &saved.NHS[i])
		}
		for i := range saved.Bindings {
			e.restoreBinding(ifc, &saved.Bindings[i])
		}
		for i := range saved.Shortcuts {
			e.restoreShortcut(ifc, &saved.Shortcuts[i])
		}
		for i := range saved.Answers {
			e.restoreAnswer(ifc, &saved.Answers[i])
		}
		e.restoreOwners(ifc, saved.Owners)
		e.restoreAway(ifc, saved.Away)
		if !ifc.cfg.Protected {
			e.timers.Set(&ifc.grace, e.now.Add(restoreGrace))
		}
	}
	e.finish()
}

// remaining returns the time from now until a saved time. It is at most maxHolding, since the saved
// time may come from a clock that was wrong.
func (e *Engine) remaining(until time.Time) time.Duration {
	return min(until.Sub(e.now), maxHolding)
}

// restoreNHS uses the NHS's saved address, so that a host name which cannot be resolved does not
// keep this router from its NHS.
func (e *Engine) restoreNHS(ifc *iface, st *NHSStatus) {
	for _, n := range ifc.nhs {
		if n.cfg.Name != st.Name || n.nbma.IsValid() || !usableNBMA(st.NBMA) {
			continue
		}
		n.addrs = []netip.Addr{st.NBMA}
		e.useResolved(n)
		if !n.protocol.IsValid() && ifc.clientAddress(st.Protocol) {
			n.protocol = st.Protocol
		}
		if n.protocol.IsValid() {
			e.wantNeighbor(&n.neighbor, ifc, rankNHS, n.protocol, n.nbma)
		}
	}
}

// restoreBinding restores a client's binding with its prefixes, if the configuration, the rules and
// the limits still allow it.
func (e *Engine) restoreBinding(ifc *iface, st *BindingStatus) {
	left := e.remaining(st.Expires)
	if left <= 0 || !ifc.clientAddress(st.Protocol) || !usableNBMA(st.NBMA) ||
		ifc.bindings[st.Protocol] != nil || len(ifc.bindings) >= ifc.cfg.Limits.Bindings {
		return
	}
	who := ifc.rules.Of(st.Identity, e.blocks)
	if ifc.cfg.Protected && who.ToAddress(st.Protocol).Raised() {
		return
	}
	if !e.restoreName(ifc, st.NBMA, st.Real) {
		return
	}
	b := e.newBinding(ifc, st.Protocol)
	b.clientNBMA, b.identity, b.unique, b.mtu = st.ClientNBMA, st.Identity, st.Unique, st.MTU
	b.setHolder(holderOf(st.Identity, st.NBMA))
	b.restored = ifc.cfg.Protected
	b.expires = e.now.Add(left)
	e.timers.Set(&b.expiry, b.expires)
	e.bind(b, st.NBMA)
	for _, p := range st.Prefixes {
		e.restorePrefix(b, p)
	}
}

// restoreName restores the outer address behind a saved name. It reports whether nbma can be used.
func (e *Engine) restoreName(ifc *iface, nbma, real netip.Addr) bool {
	switch {
	case !inThisNetwork(nbma):
		return !real.IsValid()
	case !usableNBMA(real) || inThisNetwork(real):
		return false
	}
	p := e.peerAt(ifc, nbma)
	if retired(nbma) {
		p.seenAt(real)
		return true
	}
	e.setReal(p, real)
	return true
}

// restorePrefix restores a client's announced prefix. The prefix expires with its binding unless
// the client refreshes it.
func (e *Engine) restorePrefix(b *binding, prefix netip.Prefix) {
	if !prefix.IsValid() || prefix != prefix.Masked() || b.ifc.announced[prefix] != nil {
		return
	}
	if e.objectToAnnouncing(b, prefix).Raised() {
		return
	}
	a := e.newAnnounced(b, prefix)
	a.expires = b.expires
	e.timers.Set(&a.expiry, a.expires)
}

// restoreShortcut restores a shortcut that was up, if the configuration, the rules and the limits
// still allow it.
func (e *Engine) restoreShortcut(ifc *iface, st *ShortcutStatus) {
	left := e.remaining(st.Expires)
	switch {
	case left <= 0, !ifc.cfg.Shortcut, st.State != ShortcutUp,
		len(ifc.shortcuts) >= ifc.cfg.Limits.Shortcuts,
		!st.Prefix.IsValid(), st.Prefix != st.Prefix.Masked(), !st.Prefix.Contains(st.Dest),
		!ifc.onOverlay(st.Dest), !ifc.clientAddress(st.NextHop), !usableNBMA(st.NBMA),
		ifc.shortcuts[st.Prefix] != nil, ifc.hasHostRoute(st.Prefix, st.NextHop),
		e.objectToPrefix(ifc, st.Prefix, st.NBMA).Raised():
		return
	}
	who := ifc.rules.Of(st.Identity, e.blocks)
	if st.Identity != "" && (who.ToAddress(st.NextHop).Raised() || who.ToShortcut().Raised()) {
		return
	}
	if !e.restoreName(ifc, st.NBMA, st.Real) {
		return
	}
	s := e.newShortcut(ifc, st.Dest, st.Prefix)
	s.nextHop, s.nbma, s.identity, s.state = st.NextHop, st.NBMA, st.Identity, ShortcutUp
	s.answered, s.expires, s.refresh = e.now, e.now.Add(left), e.now.Add(left*2/3)
	s.restored = ifc.cfg.Protected
	e.refer(&s.ref, e.peerAt(ifc, s.nbma), reasonShortcut, false)
	e.admit(&s.admission, ifc, s.nbma, admittedAs{})
	e.wantNeighbor(&s.neighbor, ifc, rankShortcut, s.nextHop, s.nbma)
	e.wantRoute(s)
	e.scheduleShortcut(s)
	e.startPoll(ifc)
}

// restoreAnswer restores an answer that was given. It is taken back if it turns out to be wrong
// once the routes are known.
func (e *Engine) restoreAnswer(ifc *iface, st *SavedAnswer) {
	left := e.remaining(st.Expires)
	key := answerKey{requester: st.Requester, prefix: st.Prefix, nbma: st.NBMA}
	if left <= 0 || !ifc.clientAddress(st.Requester) || !usableNBMA(st.NBMA) ||
		!st.Prefix.IsValid() || st.Prefix != st.Prefix.Masked() ||
		!st.Prefix.Contains(st.Dest) || ifc.answers[key] != nil ||
		len(ifc.answers) >= ifc.cfg.Limits.Answers {
		return
	}
	a := e.newAnswer(ifc, key)
	a.dest, a.mapped, a.restored = st.Dest, st.Mapped, true
	a.expires = e.now.Add(left)
	e.timers.Set(&a.expiry, a.expires)
	if st.Vouched {
		e.admit(&a.admission, ifc, a.nbma, admittedAs{shared: true})
		a.admission.asker, a.admission.identity = true, st.Identity
	}
}

// usableNBMA reports whether a saved address can be a router's NBMA address.
func usableNBMA(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast()
}

// endUnconfirmed ends the restored bindings, shortcuts and neighbours of NHSs whose peers are not
// secured, and the restored shortcuts that no route leads to.
func (e *Engine) endUnconfirmed(ifc *iface) {
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		if s.restored || !s.led.Prefix.IsValid() {
			e.endShortcut(s, "not confirmed after the restart")
		}
	}
	for _, n := range ifc.nhs {
		if !n.nbma.IsValid() || !ifc.secured(n.nbma) {
			e.dropNeighbor(&n.neighbor)
		}
	}
	for _, b := range inOrder(ifc.bindings, byAddr) {
		if b.restored {
			e.keepOwner(b)
			e.unbind(b, "no SA with the client after the restart")
		}
	}
}
