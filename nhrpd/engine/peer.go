package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/timers"
)

// peer is a router by its NBMA address, as the world sees it. There is one while somebody refers
// to it or it has an SA.
type peer struct {
	ifc            *iface
	nbma           netip.Addr
	real           netip.Addr // the address that the world sees, where nbma is only a name; else zero
	led            netip.Addr // real while the kernel sends there what is for the name; else zero
	secured        bool
	unlisted       bool                          // strongSwan was restarted and does not list its SA, which the kernel and the peer may still have
	ike            Peer                          // what IKE proved, while secured
	router         netip.Addr                    // overlay address of the router that a reference was to, since the SA came; zero: none is over
	authorizations []authorization.Authorization // of the identities in it
	since          time.Time                     // of the state
	want           Security
	refs           []*peerRef
	counts         refCounts   // of refs
	first          [1]*peerRef // memory of refs, as long as there is one
	in, out        time.Time   // last use
	received       uint64      // NHRP packets since the SA came
	sent           uint64
	err            string // why it could not be secured

	lost timers.Timer // set since the SA went: what depends on the peer ends with it
}

// How long bindings and NHSs outlive the SA of their peer, unused. When strongSwan itself was
// restarted, SAs in the kernel go on, and the other ends find out by dead peer detection: that
// takes longer.
const (
	lostGrace   = 5 * time.Second
	resyncGrace = 30 * time.Second
)

// peerAt finds the peer at an address, or makes it. The caller refers to it.
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

// forgetIdlePeer lets a peer go that nobody wants and that has no SA.
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

func (p *peer) state() SecurityState {
	switch {
	case p.secured || !p.ifc.cfg.Protected:
		return StateSecured
	case p.want != SANone:
		return StateSecuring
	}
	return StateAbsent
}

// peerSecured takes note of an SA: those who wait for it go on, and a packet that came before it is
// handled now.
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
			e.lostForGood(p) // what outlasted strongSwan's restart has waited for somebody who may not come back
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

// peerRenewed registers again with an NHS that may have lost its SA with this end, and with the SA
// the registration.
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

// peerLost takes note that the last SA went. A peer that closes an SA which nothing here depends
// on, as at the end of an idle shortcut or when it leaves, is no loss.
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

// needed reports whether a registration, ours or the peer's, depends on the SA.
func (p *peer) needed() bool {
	return slices.ContainsFunc(p.refs, func(c *peerRef) bool { return c.kind == reasonNHS || c.kind == reasonBinding })
}

func (e *Engine) unsecure(p *peer, reason string, grace time.Duration) {
	e.endSecurity(p, NoticePeerLost, reason, grace)
}

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

// awaitReturn ends what depends on the peer unless it is back in time.
func (e *Engine) awaitReturn(p *peer, grace time.Duration) {
	p.lost.Run = func() { e.lostForGood(p) } // made here, since most peers never need it
	e.timers.Set(&p.lost, e.now.Add(grace))
}

// lostForGood ends what waited in vain for the peer to come back.
func (e *Engine) lostForGood(p *peer) {
	p.unlisted = false
	for _, c := range slices.Clone(p.refs) {
		c.owner.peerLostForGood(e)
	}
	e.reviseSecurity(p)
}

// peerFailed takes note of an attempt in vain. strongSwan's side goes on trying while the peer is
// wanted.
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

// peersSecured compares what we know with what strongSwan has.
func (e *Engine) peersSecured(ifc *iface, there []Peer) {
	has := make(map[netip.Addr]bool, len(there))
	for _, ike := range there {
		has[ike.NBMA] = true
	}
	for _, p := range inOrder(ifc.peers, byAddr) {
		if p.secured && !has[p.nbma] {
			p.unlisted = !p.real.IsValid() // what is for a name has no SA to go through
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

// unlist takes note that strongSwan does not have the SA of a restored peer: we were restarted, and
// it was too.
func (e *Engine) unlist(p *peer) {
	p.unlisted = true
	e.reviseSecurity(p)
}
