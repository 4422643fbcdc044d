package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/timers"
)

// peer is another router, by its NBMA address as this router sees it, with the state of its
// security. A peer exists while something refers to it or while it has an SA.
type peer struct {
	ifc     *iface
	nbma    netip.Addr
	real    netip.Addr // the outer address, where nbma is only a name; else zero
	led     netip.Addr // real while the kernel sends the name's packets there; else zero
	secured bool
	// unlisted is set after strongSwan was restarted: strongSwan does not list the SA, which the
	// kernel and the peer may still have.
	unlisted bool
	ike      Peer // what IKE proved, while secured
	// router is the overlay address that a reference was to which ended since the SA came up. It is
	// that of the first such reference; zero: none ended.
	router         netip.Addr
	authorizations []authorization.Authorization // of the identities in ike
	since          time.Time                     // when the present state began
	want           Security                      // what strongSwan was last asked for
	refs           []*peerRef
	counts         refCounts   // of refs
	first          [1]*peerRef // the memory of refs, as long as there is only one
	in, out        time.Time   // when data last came from the peer, and went to it
	received       uint64      // NHRP packets since the SA came up
	sent           uint64      // likewise
	err            string      // why the peer could not be secured

	lost timers.Timer // runs since the SA went; when it ends, so does what depends on the peer
}

// The grace times: how long bindings and registrations outlive the SA of their peer, without being
// used. The grace is longer after a restart of strongSwan itself. The kernel's SAs then go on, and
// the other routers notice the restart only by dead peer detection, which takes longer.
const (
	lostGrace   = 5 * time.Second
	resyncGrace = 30 * time.Second
)

// peerAt returns the peer at an NBMA address; it makes the peer if there is none. The caller has to
// refer to the peer or to give it an SA.
func (e *Engine) peerAt(ifc *iface, nbma netip.Addr) *peer {
	if p := ifc.peers[nbma]; p != nil {
		return p
	}
	p := ifc.pools.peers.take()
	p.ifc, p.nbma, p.since, p.refs = ifc, nbma, e.now, p.first[:0]
	ifc.peers[nbma] = p
	ifc.addUnderlay(p)
	return p
}

// forgetIdlePeer forgets a peer that nothing refers to, that has no SA and that strongSwan is not
// asked to secure.
func (e *Engine) forgetIdlePeer(p *peer) {
	if len(p.refs) > 0 || p.secured || p.want != SANone {
		return
	}
	e.timers.Stop(&p.lost)
	if p.ifc.peers[p.nbma] == p {
		e.setReal(p, netip.Addr{})
		delete(p.ifc.peers, p.nbma)
		p.ifc.removeUnderlay(p)
		p.ifc.limits.release(p)
	}
}

// state returns the state of the peer's SA. Without IPsec, a peer is always secured.
func (p *peer) state() SecurityState {
	switch {
	case p.secured || !p.ifc.cfg.Protected:
		return StateSecured
	case p.want != SANone:
		return StateSecuring
	}
	return StateAbsent
}

// peerSecured handles the event that an SA with a peer is up. What waited for the SA goes on, and
// the engine handles the packet that arrived before the event.
func (e *Engine) peerSecured(ifc *iface, ike Peer) {
	if !ifc.cfg.Protected || !ike.NBMA.IsValid() {
		return
	}
	p := e.peerAt(ifc, ike.NBMA)
	if p.secured && !p.ike.isOneOf(ike.Identity) {
		e.unsecure(p, "somebody else is there now: "+ike.Identity, lostGrace)
		p = e.peerAt(ifc, ike.NBMA)
	}
	if p.unlisted && p.ike.Identity != "" && !p.ike.isOneOf(ike.Identity) {
		e.lostForGood(p)
		p = e.peerAt(ifc, ike.NBMA)
	}
	fresh, before, waited := !p.secured, p.ike, p.unlisted
	p.secured, p.unlisted, p.ike = true, false, ike
	e.setReal(p, ike.Real)
	if !fresh {
		e.peerChanged(p, before)
		return
	}
	p.since, p.in, p.out, p.err, p.router = e.now, time.Time{}, time.Time{}, "", netip.Addr{}
	p.received, p.sent = 0, 0
	if e.barred(p) {
		if waited {
			// Something outlasted strongSwan's restart to wait for the router that was here. That
			// router may never come back.
			e.lostForGood(p)
		}
		return
	}
	e.timers.Stop(&p.lost)
	another := e.reviewAskers(p)
	e.notice(ifc, Notice{Kind: NoticePeerSecured, NBMA: p.nbma, Identity: ike.Identity})
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerSecured(e)
		}
	}
	if another {
		e.endAdmission(ifc, p.nbma)
	}
	e.reunite(p)
	e.replay(ifc, p.nbma)
	e.reviseSecurity(p)
	e.confirmWhereItIs(p)
}

// peerRenewed handles the event that a secured peer got a new SA because it may have lost the old
// one. If the peer is an NHS, it may have lost this router's registration with the old SA, so this
// router registers again.
func (e *Engine) peerRenewed(ifc *iface, nbma netip.Addr) {
	p := ifc.peers[nbma]
	if p == nil || !p.secured {
		return
	}
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerRenewed(e)
		}
	}
}

// peerLost handles the event that the last SA with a peer went. If the peer closed the SA and no
// registration depends on it, the log shows an end rather than a loss: that is how an idle shortcut
// ends, or how a router leaves.
func (e *Engine) peerLost(ifc *iface, nbma netip.Addr, reason string, closed bool) {
	p := ifc.peers[nbma]
	if p == nil || !p.secured {
		return
	}
	kind := NoticePeerLost
	if closed && !p.needed() {
		kind = NoticePeerEnded
	}
	e.endSecurity(p, kind, reason, lostGrace)
}

// needed reports whether a registration depends on the SA: this router's with the peer, or the
// peer's with this router.
func (p *peer) needed() bool {
	return slices.ContainsFunc(p.refs, func(c *peerRef) bool {
		return c.kind == reasonNHS || c.kind == reasonBinding
	})
}

// unsecure takes the peer for lost, as endSecurity does.
func (e *Engine) unsecure(p *peer, reason string, grace time.Duration) {
	e.endSecurity(p, NoticePeerLost, reason, grace)
}

// endSecurity takes note that the peer has no SA any more, and logs a notice of that kind. What
// depends on the peer stays for the grace time.
func (e *Engine) endSecurity(p *peer, kind NoticeKind, reason string, grace time.Duration) {
	e.notice(p.ifc, Notice{Kind: kind, NBMA: p.nbma, Identity: p.ike.Identity, Reason: reason})
	p.secured, p.since = false, e.now
	e.lead(p, netip.Addr{})
	e.awaitReturn(p, grace)
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerLost(e, reason)
		}
	}
	e.reviseSecurity(p)
}

// awaitReturn ends what depends on the peer when the grace time is over. If the SA comes back
// before, peerSecured stops the timer.
func (e *Engine) awaitReturn(p *peer, grace time.Duration) {
	p.lost.Run = func() { e.lostForGood(p) } // made here, since most peers never need it
	e.timers.Set(&p.lost, e.now.Add(grace))
}

// lostForGood ends what depends on a peer that did not come back within the grace time.
func (e *Engine) lostForGood(p *peer) {
	p.unlisted = false
	for _, c := range slices.Clone(p.refs) {
		c.owner.peerLostForGood(e)
	}
	e.reviseSecurity(p)
}

// peerFailed handles the event that strongSwan could not make an SA with a peer. strongSwan's side
// keeps trying for as long as the engine wants the peer.
func (e *Engine) peerFailed(ifc *iface, nbma netip.Addr, reason string) {
	p := ifc.peers[nbma]
	if p == nil || p.secured {
		return
	}
	if p.err != reason {
		p.err = reason
		e.notice(ifc, Notice{Kind: NoticePeerFailed, NBMA: nbma, Reason: reason})
	}
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerFailed(e)
		}
	}
}

// peersSecured handles the event that lists every peer with which strongSwan has an SA. Peers that
// the list leaves out are lost; peers that are new in it are secured. The first list also decides
// how long what was restored may wait for its peers.
func (e *Engine) peersSecured(ifc *iface, there []Peer) {
	has := make(map[netip.Addr]bool, len(there))
	for _, ike := range there {
		has[ike.NBMA] = true
	}
	for _, p := range inOrder(ifc.peers, byAddr) {
		if p.secured && !has[p.nbma] {
			// Packets for a name need a listed SA: its mark is all that leads them to the router.
			p.unlisted = !p.real.IsValid()
			e.unsecure(p, "strongSwan has no SA with it any more", resyncGrace)
		}
	}
	e.retireNames(ifc, has)
	for _, ike := range there {
		e.peerSecured(ifc, ike)
	}
	if !ifc.confirmed {
		ifc.confirmed = true
		grace := restoreGrace
		for _, b := range inOrder(ifc.bindings, byAddr) {
			if b.restored && !b.ref.peer.secured {
				grace = resyncGrace
				e.unlist(b.ref.peer)
			}
		}
		for _, s := range inOrder(ifc.shortcuts, byPrefix) {
			if s.restored && !s.ref.peer.secured {
				e.unlist(s.ref.peer)
			}
		}
		e.timers.Set(&ifc.grace, e.now.Add(grace))
	}
}

// unlist marks a restored peer whose SA strongSwan does not list. Both this daemon and strongSwan
// were restarted then, and the kernel and the peer may still have the SA.
func (e *Engine) unlist(p *peer) {
	p.unlisted = true
	e.reviseSecurity(p)
}
