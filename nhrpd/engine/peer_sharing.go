package engine

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// Routers behind one NAT address each have an SA with us. Where the SAs have marks, every router
// but one has a name in 0.0.0.0/8 in place of that address, which is its NBMA address for all that
// we do; the address itself, real, is what goes into packets and is shown.
//
// Where marks cannot be had, what we send to the address goes into the newest of the SAs, whomever
// it is for: the kernel has one policy for the address. Which of them a packet came from cannot be
// told either. So none of them is taken for gone while one is there, bindings hold for any of them,
// and no shortcut leads to such an address: what a hub cannot deliver, a spoke had better leave to
// the hub, which may have another way.

var sharedAddress = objection.New(objection.AddressAmbiguous, "several routers share its NBMA address behind NAT, and the answer does not tell which of them it is")

// maxDoubt is how young a binding or a shortcut may be for it not to be certain whose it is, once
// it is known that its address is shared.
const maxDoubt = 10 * time.Second

// separationTime is how long packets may be on their way to us that came through the SA of a router
// which was sent away.
const separationTime = 3 * time.Second

// inThisNetwork reports whether an address is one of 0.0.0.0/8 that no router has (RFC 1122 §3.2.1.3).
func inThisNetwork(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 0 && !a.IsUnspecified() }

// impossibleNBMA reports whether a packet gives an NBMA address that can only be a name of ours for a
// router.
func (m *message) impossibleNBMA() bool {
	return inThisNetwork(m.SourceNBMA) || slices.ContainsFunc(m.CIEs, func(c packet.CIE) bool { return inThisNetwork(c.NBMA) })
}

// real is the address that the world sees a peer at.
func (ifc *iface) real(nbma netip.Addr) netip.Addr {
	if p := ifc.peers[nbma]; p != nil && p.real.IsValid() {
		return p.real
	}
	return nbma
}

// realOf is the address behind a name, zero where nbma is no name.
func (ifc *iface) realOf(nbma netip.Addr) netip.Addr {
	if p := ifc.peers[nbma]; p != nil {
		return p.real
	}
	return netip.Addr{}
}

// setReal takes note of the address behind a peer's name, and has what is for the name sent there;
// zero: none any more.
func (e *Engine) setReal(p *peer, real netip.Addr) {
	if real == p.nbma {
		real = netip.Addr{}
	}
	p.seenAt(real)
	e.lead(p, real)
}

// seenAt is setReal without sending anything there.
func (p *peer) seenAt(real netip.Addr) {
	if p.real == real {
		return
	}
	p.ifc.removeUnderlay(p)
	p.ifc.unname(p)
	p.real = real
	p.ifc.name(p)
	p.ifc.addUnderlay(p)
}

// name and unname keep the index of peers with names: thousands may be behind one address.
func (ifc *iface) name(p *peer) {
	if p.real.IsValid() {
		list := ifc.named[p.real]
		at, _ := slices.BinarySearchFunc(list, p.nbma, byName)
		ifc.named[p.real] = slices.Insert(list, at, p)
	}
}

func (ifc *iface) unname(p *peer) {
	list := ifc.named[p.real]
	at, there := slices.BinarySearchFunc(list, p.nbma, byName)
	switch {
	case there && len(list) > 1:
		ifc.named[p.real] = slices.Delete(list, at, at+1)
	case there:
		delete(ifc.named, p.real)
	}
}

func byName(p *peer, nbma netip.Addr) int { return p.nbma.Compare(nbma) }

// lead has what is for a peer's name sent to an address; zero: nowhere. What has no SA of its own
// would go into that of another router at the address.
func (e *Engine) lead(p *peer, real netip.Addr) {
	if p.led == real {
		return
	}
	p.led = real
	e.out.Marked = append(e.out.Marked, MarkedChange{Interface: p.ifc.cfg.Name, NBMA: p.nbma, Real: real, Delete: !real.IsValid()})
}

// shared reports whether several routers are at an NBMA address, and stay there.
func (ifc *iface) shared(p *peer) bool {
	return p != nil && p.secured && len(p.ike.SharedWith) > 0 && !p.ike.Separating
}

// separating reports whether packets from an NBMA address may be those of a router that is sent away
// from it, or was just now.
func (e *Engine) separating(ifc *iface, nbma netip.Addr) bool {
	since, was := ifc.separated[nbma]
	if was && !e.now.Before(since.Add(separationTime)) {
		delete(ifc.separated, nbma)
		was = false
	}
	p := ifc.peers[nbma]
	return was || p != nil && p.secured && p.ike.Separating
}

// separate takes note that packets which came from an NBMA address up to now may be anybody's
// there.
func (e *Engine) separate(ifc *iface, nbma netip.Addr) {
	maps.DeleteFunc(ifc.separated, func(_ netip.Addr, since time.Time) bool { return !e.now.Before(since.Add(separationTime)) })
	ifc.separated[nbma] = e.now
	e.dropHeld(ifc, nbma, dropSeparating)
}

// ambiguous reports whether a router that is said to have an NBMA address may be any of several.
func (ifc *iface) ambiguous(protocol, nbma netip.Addr) bool {
	if n := ifc.neighbors[protocol]; n != nil && n.nbma == nbma {
		return ifc.shared(ifc.peers[nbma])
	}
	return ifc.shared(ifc.peers[nbma]) || len(ifc.named[nbma]) > 0 || ifc.peers[nbma].mayBeElse(protocol)
}

// mayBeElse reports whether the SA with a peer may be that of another router behind the same NAT
// address than the one with an overlay address: what is known of the peer is about another one, or
// nothing is and whoever it is came by itself. An answer that does not come through the SA itself,
// though it could, is from a router that has none.
func (p *peer) mayBeElse(protocol netip.Addr) bool {
	if p == nil || !p.secured || !p.ike.RemoteNAT {
		return false
	}
	known := p.router.IsValid()
	if known && p.router != protocol {
		return true
	}
	for _, c := range p.refs {
		switch router := c.owner.router(); {
		case !router.IsValid():
		case router != protocol:
			return true
		default:
			known = true
		}
	}
	return !known && !p.ike.Initiator
}

// namedAt lists the peers that have names in the place of an NBMA address, in order.
func (ifc *iface) namedAt(nbma netip.Addr) []*peer {
	return slices.Clone(ifc.named[nbma])
}

// nameOf is the NBMA address by which we know a router that a packet gives the addresses of.
func (ifc *iface) nameOf(protocol, nbma netip.Addr) netip.Addr {
	if n := ifc.neighbors[protocol]; n != nil && ifc.real(n.nbma) == nbma {
		return n.nbma
	}
	return nbma
}

// peerChanged follows when IKE proves something else of a peer that was there all the time.
func (e *Engine) peerChanged(p *peer, before Peer) {
	if before.Separating || p.ike.Separating {
		e.separate(p.ifc, p.nbma)
	}
	if p.ike.Separating && !before.Separating && e.doubt(p) {
		return
	}
	if before.Identity != p.ike.Identity || !slices.Equal(before.SharedWith, p.ike.SharedWith) {
		if e.barred(p) {
			e.lostForGood(p) // what rests on the peer is that of routers which are not there any more
			return
		}
		e.sharingChanged(p)
	}
	if before.Real != p.ike.Real {
		e.moveClaims(p, p, before.Real)
		for _, a := range inOrderIf(p.ifc.answers, answerKey.compare, func(a *answer) bool { return a.nbma == before.Real }) {
			e.moveAnswer(a, p.real) // the NAT moved, and with it whoever asked from behind it
		}
	}
}

// doubt ends what somebody registered or answered from an address just before it was known that
// another router is there as well: its packet may have been faster than the word of its SA. Who
// registered must do so again from another SA; it says whether somebody has.
func (e *Engine) doubt(p *peer) bool {
	found := false
	for _, c := range slices.Clone(p.refs) {
		if c.owner.peerDoubtful(e) {
			found = true
		}
	}
	p.router = netip.Addr{}
	if found {
		e.unsecure(p, "to have it register again, from an SA that tells who it is", lostGrace)
		e.out.Closed = append(e.out.Closed, PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma})
	}
	return found
}

// sharingChanged follows when other routers than before are at a peer's address, without the peer
// having been gone.
func (e *Engine) sharingChanged(p *peer) {
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerJoined(e)
		}
	}
}

// mayBe reports whether a binding is that of one of the routers which are at a peer's address: by the
// identities that IKE proved.
func (b *binding) mayBe(ike Peer) bool {
	return ike.isOneOf(b.identity) || slices.ContainsFunc(b.sharers, ike.isOneOf)
}

// reunite gives a router that comes back to its NAT address, by another name, the bindings that
// wait for it there; and what it may have come for.
func (e *Engine) reunite(p *peer) {
	if !p.real.IsValid() {
		return
	}
	ifc := p.ifc
	var before []*peer
	for _, old := range ifc.named[p.real] {
		if !old.secured {
			before = append(before, old)
		}
	}
	if at := ifc.peers[p.real]; at != nil && !at.secured {
		before = append(before, at)
	}
	for _, old := range before {
		for _, c := range slices.Clone(old.refs) {
			c.owner.peerBack(e, old, p)
		}
	}
	for _, a := range ifc.answers {
		if a.nbma == p.real && e.now.Before(a.expires) {
			e.admitVisitor(p)
			return
		}
	}
}
