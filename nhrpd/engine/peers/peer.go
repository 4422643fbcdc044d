package peers

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// Peer is another router, by its NBMA address as this router sees it, with the state of its
// security. A peer exists while something refers to it or while it has an SA.
type Peer struct {
	Peers    *Table
	NBMA     netip.Addr
	Outer    netip.Addr // the outer address, where nbma is only a name; else zero
	RoutedTo netip.Addr // real while the kernel sends the name's packets there; else zero
	Secured  bool
	// Unlisted is set after strongSwan was restarted: strongSwan does not list the SA, which the
	// kernel and the peer may still have.
	Unlisted bool
	IKE      event.Peer // what IKE proved, while secured
	// Router is the overlay address that a reference was to which ended since the SA came up. It is
	// that of the first such reference; zero: none ended.
	Router         netip.Addr
	Authorizations []authorization.Authorization // of the identities in ike
	Since          time.Time                     // when the present state began
	Want           output.Security               // what strongSwan was last asked for
	Refs           []*Ref
	Counts         RefCounts // of refs
	first          [1]*Ref   // the memory of refs, as long as there is only one
	In, Out        time.Time // when data last came from the peer, and went to it
	Received       uint64    // NHRP packets since the SA came up
	Sent           uint64    // likewise
	Err            string    // why the peer could not be secured

	lost timers.Timer // runs since the SA went; when it ends, so does what depends on the peer
}

// The grace times: how long bindings and registrations outlive the SA of their peer, without being
// used. The grace is longer after a restart of strongSwan itself. The kernel's SAs then go on, and
// the other routers notice the restart only by dead peer detection, which takes longer.
const (
	LostGrace   = 5 * time.Second
	ResyncGrace = 30 * time.Second
)

// At returns the peer at an NBMA address; it makes the peer if there is none. The caller has to
// refer to the peer or to give it an SA.
func (ps *Table) At(nbma netip.Addr) *Peer {
	if p := ps.ByNBMA[nbma]; p != nil {
		return p
	}
	p := ps.pool.Take()
	p.Peers, p.NBMA, p.Since, p.Refs = ps, nbma, ps.Now, p.first[:0]
	ps.ByNBMA[nbma] = p
	ps.addUnderlay(p)
	return p
}

// forgetIdlePeer forgets a peer that nothing refers to, that has no SA and that strongSwan is not
// asked to secure.
func (ps *Table) forgetIdlePeer(p *Peer) {
	if len(p.Refs) > 0 || p.Secured || p.Want != output.SANone {
		return
	}
	ps.Timers.Stop(&p.lost)
	if ps.ByNBMA[p.NBMA] == p {
		ps.SetOuter(p, netip.Addr{})
		delete(ps.ByNBMA, p.NBMA)
		ps.removeUnderlay(p)
		ps.Limiters.Release(p.NBMA, p.IKE.Identity)
	}
}

// State returns the state of the peer's SA. Without IPsec, a peer is always secured.
func (p *Peer) State() report.SecurityState {
	switch {
	case p.Secured || !p.Peers.Config.Protected:
		return report.StateSecured
	case p.Want != output.SANone:
		return report.StateSecuring
	}
	return report.StateAbsent
}

// PeerSecured handles the event that an SA with a peer is up. What waited for the SA goes on, and
// the engine handles the packet that arrived before the event.
func (ps *Table) PeerSecured(ike event.Peer) {
	if !ps.Config.Protected || !ike.NBMA.IsValid() {
		return
	}
	p := ps.At(ike.NBMA)
	if p.Secured && !p.IKE.IsOneOf(ike.Identity) {
		ps.Unsecure(p, "somebody else is there now: "+ike.Identity, LostGrace)
		p = ps.At(ike.NBMA)
	}
	if p.Unlisted && p.IKE.Identity != "" && !p.IKE.IsOneOf(ike.Identity) {
		ps.lostForGood(p)
		p = ps.At(ike.NBMA)
	}
	fresh, before, waited := !p.Secured, p.IKE, p.Unlisted
	p.Secured, p.Unlisted, p.IKE = true, false, ike
	ps.SetOuter(p, ike.Real)
	if !fresh {
		ps.peerChanged(p, before)
		return
	}
	p.Since, p.In, p.Out, p.Err, p.Router = ps.Now, time.Time{}, time.Time{}, "", netip.Addr{}
	p.Received, p.Sent = 0, 0
	if ps.barred(p) {
		if waited {
			// Something outlasted strongSwan's restart to wait for the router that was here. That
			// router may never come back.
			ps.lostForGood(p)
		}
		return
	}
	ps.Timers.Stop(&p.lost)
	another := ps.parts.ReviewAskers(p)
	ps.Notice(output.Notice{Kind: output.NoticePeerSecured, NBMA: p.NBMA, Identity: ike.Identity})
	for _, c := range slices.Clone(p.Refs) {
		if c.Peer == p {
			c.Owner.PeerSecured()
		}
	}
	if another {
		ps.parts.EndAdmission(p.NBMA)
	}
	ps.rebind(p)
	ps.replay(p.NBMA)
	ps.reviseSecurity(p)
	ps.parts.ConfirmWhereItIs(p)
}

// PeerRenewed handles the event that a secured peer got a new SA because it may have lost the old
// one. If the peer is an NHS, it may have lost this router's registration with the old SA, so this
// router registers again.
func (ps *Table) PeerRenewed(nbma netip.Addr) {
	p := ps.ByNBMA[nbma]
	if p == nil || !p.Secured {
		return
	}
	for _, c := range slices.Clone(p.Refs) {
		if c.Peer == p {
			c.Owner.PeerRenewed()
		}
	}
}

// PeerLost handles the event that the last SA with a peer went. If the peer closed the SA and no
// registration depends on it, the log shows an end rather than a loss: that is how an idle shortcut
// ends, or how a router leaves.
func (ps *Table) PeerLost(nbma netip.Addr, reason string, closed bool) {
	p := ps.ByNBMA[nbma]
	if p == nil || !p.Secured {
		return
	}
	kind := output.NoticePeerLost
	if closed && !p.needed() {
		kind = output.NoticePeerEnded
	}
	ps.endSecurity(p, kind, reason, LostGrace)
}

// needed reports whether a registration depends on the SA: this router's with the peer, or the
// peer's with this router.
func (p *Peer) needed() bool {
	return slices.ContainsFunc(p.Refs, func(c *Ref) bool {
		return c.Kind == ForNHS || c.Kind == ForBinding
	})
}

// Unsecure takes the peer for lost, as endSecurity does.
func (ps *Table) Unsecure(p *Peer, reason string, grace time.Duration) {
	ps.endSecurity(p, output.NoticePeerLost, reason, grace)
}

// endSecurity takes note that the peer has no SA any more, and logs a notice of that kind. What
// depends on the peer stays for the grace time.
func (ps *Table) endSecurity(p *Peer, kind output.NoticeKind, reason string, grace time.Duration) {
	ps.Notice(output.Notice{Kind: kind, NBMA: p.NBMA, Identity: p.IKE.Identity, Reason: reason})
	p.Secured, p.Since = false, ps.Now
	ps.routeTo(p, netip.Addr{})
	ps.awaitReturn(p, grace)
	for _, c := range slices.Clone(p.Refs) {
		if c.Peer == p {
			c.Owner.PeerLost(reason)
		}
	}
	ps.reviseSecurity(p)
}

// awaitReturn ends what depends on the peer when the grace time is over. If the SA comes back
// before, peerSecured stops the timer.
func (ps *Table) awaitReturn(p *Peer, grace time.Duration) {
	p.lost.Run = func() { ps.lostForGood(p) } // made here, since most peers never need it
	ps.Timers.Set(&p.lost, ps.Now.Add(grace))
}

// lostForGood ends what depends on a peer that did not come back within the grace time.
func (ps *Table) lostForGood(p *Peer) {
	p.Unlisted = false
	for _, c := range slices.Clone(p.Refs) {
		c.Owner.PeerLostForGood()
	}
	ps.reviseSecurity(p)
}

// PeerFailed handles the event that strongSwan could not make an SA with a peer. strongSwan's side
// keeps trying for as long as the engine wants the peer.
func (ps *Table) PeerFailed(nbma netip.Addr, reason string) {
	p := ps.ByNBMA[nbma]
	if p == nil || p.Secured {
		return
	}
	if p.Err != reason {
		p.Err = reason
		ps.Notice(output.Notice{Kind: output.NoticePeerFailed, NBMA: nbma, Reason: reason})
	}
	for _, c := range slices.Clone(p.Refs) {
		if c.Peer == p {
			c.Owner.PeerFailed()
		}
	}
}

// Unlist marks a restored peer whose SA strongSwan does not list. Both this daemon and strongSwan
// were restarted then, and the kernel and the peer may still have the SA.
func (ps *Table) Unlist(p *Peer) {
	p.Unlisted = true
	ps.reviseSecurity(p)
}
