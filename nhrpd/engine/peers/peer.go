package peers

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// Peer is another router with the state of its SA. A peer exists while something refers to it or
// while it has an SA. Other packages only read its fields.
type Peer struct {
	// ID is the key of the peer.
	ID peerid.ID

	// Outer is the peer's outer address: its NBMA address as this router sees it. It is zero while
	// a marked peer has had no SA.
	Outer netip.Addr

	// Secured reports whether the peer has an SA.
	Secured bool

	// Unlisted reports whether a restarted strongSwan does not list the peer's SA. The kernel and
	// the peer may still have that SA.
	Unlisted bool

	// IKE is what IKE proved. It stays when the SA goes, and then tells who was there last.
	IKE event.Peer

	// Want is what strongSwan was last asked for.
	Want output.Security

	// Since is when the present state began: when the SA came up or went, or when the peer was
	// first wanted.
	Since time.Time

	// Refs are the references to the peer.
	Refs []*Ref

	// In is when data last came from the peer, and Out when data last went to it.
	In, Out time.Time

	// Received and Sent count the NHRP packets from and to the peer since the SA came up.
	Received, Sent uint64

	// Err is why the peer could not be secured; it is empty if nothing failed.
	Err string

	// noDirect is why the authorizer allows no direct path to or from the peer; empty: it does.
	noDirect string

	table          *Table
	routedTo       netip.Addr                    // where the kernel sends a marked peer's packets
	authorizations []authorization.Authorization // of the identities in IKE
	counts         refCounts                     // of Refs
	first          [1]*Ref                       // the memory of Refs while there is only one

	// endedRouter is the overlay address that a reference was about which ended since the SA came
	// up. It is that of the first such reference; zero: none ended.
	endedRouter netip.Addr

	// grace runs since the SA went. When it ends, so does what depends on the peer.
	grace timers.Timer
}

// The grace times: how long bindings and registrations outlive the SA of their peer, without being
// used. The grace is longer after a restart of strongSwan itself. The kernel's SAs then go on, and
// the other routers notice the restart only by dead peer detection, which takes longer.
const (
	LostGrace   = 5 * time.Second
	ResyncGrace = 30 * time.Second
)

// At returns the peer with an ID; it makes the peer if there is none. The caller has to refer to
// the peer or to give it an SA.
func (ps *Table) At(id peerid.ID) *Peer {
	if p := ps.ByID[id]; p != nil {
		return p
	}
	p := ps.pool.Take()
	p.table, p.ID, p.Since, p.Refs = ps, id, ps.Now, p.first[:0]
	p.Outer = id.Address()
	ps.ByID[id] = p
	ps.Addresses.underlay.add(p)
	return p
}

// forgetIdlePeer forgets a peer that nothing refers to, that has no SA and that strongSwan is not
// asked to secure.
func (ps *Table) forgetIdlePeer(p *Peer) {
	if len(p.Refs) > 0 || p.Secured || p.Want != output.SANone {
		return
	}
	ps.Timers.Stop(&p.grace)
	if ps.ByID[p.ID] == p {
		if p.ID.Shares() {
			ps.SetOuter(p, netip.Addr{})
		} else {
			ps.Addresses.underlay.remove(p)
		}
		delete(ps.ByID, p.ID)
		ps.Limiters.Release(p.ID, p.IKE.Identity)
	}
}

// State returns the state of the peer's SA. Without IPsec, a peer is always secured.
func (p *Peer) State() report.SecurityState {
	switch {
	case p.Secured || !p.table.Config.Protected:
		return report.StateSecured
	case p.Want != output.SANone:
		return report.StateSecuring
	}
	return report.StateAbsent
}

// PeerSecured handles the event that an SA with a peer is up. What waited for the SA goes on, and
// the engine handles the packet that arrived before the event. The event may come again for a peer
// that has an SA already: then IKE proves something new about that peer.
func (ps *Table) PeerSecured(ike event.Peer) {
	if !ps.Config.Protected || !ike.ID.IsValid() {
		return
	}
	p := ps.At(ike.ID)
	if p.Secured && !p.IKE.IsOneOf(ike.Identity) {
		ps.unsecure(p, "somebody else is there now: "+ike.Identity, LostGrace)
		p = ps.At(ike.ID)
	}
	if p.Unlisted && p.IKE.Identity != "" && !p.IKE.IsOneOf(ike.Identity) {
		ps.endDependents(p)
		p = ps.At(ike.ID)
	}
	if own := ike.ID.Address(); own.IsValid() {
		ike.Outer = own
	}
	fresh, before, waited := !p.Secured, p.IKE, p.Unlisted
	p.Secured, p.Unlisted, p.IKE = true, false, ike
	ps.SetOuter(p, ike.Outer)
	if fresh {
		ps.newlySecured(p, waited)
	} else {
		ps.peerChanged(p, before)
	}
}

// newlySecured lets everything that waited for the SA with a peer go on. waited reports whether
// something outlasted a restart of strongSwan to wait for the router that was at this address.
func (ps *Table) newlySecured(p *Peer, waited bool) {
	p.Since, p.In, p.Out, p.Err = ps.Now, time.Time{}, time.Time{}, ""
	p.endedRouter = netip.Addr{}
	p.Received, p.Sent = 0, 0
	if ps.barred(p) {
		if waited { // that router may never come back
			ps.endDependents(p)
		}
		return
	}
	ps.Timers.Stop(&p.grace)
	another := ps.parts.ReviewAskers(p)
	ps.Notice(output.Notice{
		Kind: output.NoticePeerSecured, Peer: p.ID, Identity: p.IKE.Identity})
	for owner := range p.owners() {
		owner.PeerSecured()
	}
	if another {
		ps.parts.EndAdmission(p.ID)
	}
	ps.rebind(p)
	if data, is := ps.Held.take(p.ID); is {
		ps.parts.ReceivedFrom(p.ID, data)
	}
	ps.reviseSecurity(p)
	ps.parts.PeerReady(p)
}

// PeerRenewed handles the event that a secured peer got a new SA because it may have lost the old
// one. If the peer is an NHS, it may have lost this router's registration with the old SA, so this
// router registers again.
func (ps *Table) PeerRenewed(id peerid.ID) {
	p := ps.ByID[id]
	if p == nil || !p.Secured {
		return
	}
	for owner := range p.owners() {
		owner.PeerRenewed()
	}
}

// PeerLost handles the event that the last SA with a peer went. If the peer closed the SA and no
// registration depends on it, the log shows an end rather than a loss: that is how an idle shortcut
// ends, or how a router leaves.
func (ps *Table) PeerLost(id peerid.ID, reason string, closed bool) {
	p := ps.ByID[id]
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
func (p *Peer) needed() bool { return p.Has(ForNHS) || p.Has(ForBinding) }

// NotListed handles that strongSwan does not list the SA of a secured peer. strongSwan may have
// been restarted, so what depends on the peer has the longer grace time.
func (ps *Table) NotListed(p *Peer) {
	// Packets for a marked peer need a listed SA: the mark is all that leads them to the router.
	p.Unlisted = !p.ID.Shares()
	ps.unsecure(p, "strongSwan has no SA with it any more", ResyncGrace)
}

// Unlist marks a restored peer whose SA strongSwan does not list. Both this daemon and strongSwan
// were restarted then, and the kernel and the peer may still have the SA.
func (ps *Table) Unlist(p *Peer) {
	p.Unlisted = true
	ps.reviseSecurity(p)
}

// CutOff handles that the kernel does not have the SA of an unlisted peer either. This router goes
// on to dial the peer, which may not know that the SA went.
func (ps *Table) CutOff(p *Peer) {
	for owner := range p.owners() {
		owner.PeerCutOff()
	}
	ps.reviseSecurity(p)
}

// HaveRegisterAgain closes the SA with a peer, because a router registers at once through a new SA.
// What depends on the peer stays for the grace time.
func (ps *Table) HaveRegisterAgain(p *Peer, reason string) {
	ps.unsecure(p, reason, LostGrace)
	ps.Out.Closed = append(ps.Out.Closed, ps.keyOf(p))
}

// unsecure takes note that the peer has no SA any more, and logs that as a loss.
func (ps *Table) unsecure(p *Peer, reason string, grace time.Duration) {
	ps.endSecurity(p, output.NoticePeerLost, reason, grace)
}

// endSecurity takes note that the peer has no SA any more, and logs a notice of that kind. What
// depends on the peer stays for the grace time.
func (ps *Table) endSecurity(p *Peer, kind output.NoticeKind, reason string, grace time.Duration) {
	ps.Notice(output.Notice{Kind: kind, Peer: p.ID, Identity: p.IKE.Identity, Reason: reason})
	p.Secured, p.Since = false, ps.Now
	ps.routeTo(p, netip.Addr{})
	ps.awaitReturn(p, grace)
	for owner := range p.owners() {
		owner.PeerLost(reason)
	}
	ps.reviseSecurity(p)
}

// awaitReturn ends what depends on the peer when the grace time is over. If the SA comes back
// before, newlySecured stops the timer.
func (ps *Table) awaitReturn(p *Peer, grace time.Duration) {
	p.grace.Run = func() { ps.endDependents(p) } // made here, since most peers never need it
	ps.Timers.Set(&p.grace, ps.Now.Add(grace))
}

// endDependents ends what depends on a peer that did not come back within the grace time.
func (ps *Table) endDependents(p *Peer) {
	p.Unlisted = false
	for owner := range p.owners() {
		owner.PeerLostForGood()
	}
	ps.reviseSecurity(p)
}

// PeerFailed handles the event that strongSwan could not make an SA with a peer. strongSwan's side
// keeps trying for as long as the engine wants the peer.
func (ps *Table) PeerFailed(id peerid.ID, reason string) {
	p := ps.ByID[id]
	if p == nil || p.Secured {
		return
	}
	if p.Err != reason {
		p.Err = reason
		ps.Notice(output.Notice{Kind: output.NoticePeerFailed, Peer: id, Reason: reason})
	}
	for owner := range p.owners() {
		owner.PeerFailed()
	}
}

// Used takes note of when data last passed to a peer (out) and from it (in). Zero times, and times
// before those that are known, change nothing.
func (p *Peer) Used(in, out time.Time) {
	p.In, p.Out = overlay.Later(p.In, in), overlay.Later(p.Out, out)
}

// keyOf returns what the output names a peer by.
func (ps *Table) keyOf(p *Peer) output.PeerKey {
	return output.PeerKey{Interface: ps.Config.Name, ID: p.ID}
}
