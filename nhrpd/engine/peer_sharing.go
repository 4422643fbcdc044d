package engine

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// Several routers behind one NAT address each have their own SA with this router. Two cases differ.
//
// With marks, every router but one gets a name: an address in 0.0.0.0/8 that stands for its mark.
// The engine uses the name as the router's NBMA address. Packets and the status show the address
// itself, called real.
//
// Without marks, the kernel has one policy for the address, so everything sent there goes into the
// newest of the SAs, whichever router it is for. Received packets do not show which of the routers
// sent them either. Three rules follow. All the routers count as present while one of them is. A
// binding holds for any of them. No shortcut leads to the address: traffic stays on the hub, which
// may have another way to the router.

// sharedAddress is the objection to an answer that names an address shared without marks.
var sharedAddress = objection.New(
	objection.AddressAmbiguous,
	"several routers share its NBMA address behind NAT, and the answer does not tell which of them it is",
)

// maxDoubt is the age up to which a binding or a shortcut may be another router's, once it turns
// out that several routers are at its address.
const maxDoubt = 10 * time.Second

// separationTime is how long packets may still arrive that came through the SA of a router which
// was sent away from a shared address.
const separationTime = 3 * time.Second

// inThisNetwork reports whether an address is in 0.0.0.0/8 and not 0.0.0.0. No router has such an
// address (RFC 1122 §3.2.1.3), so the engine uses them as names.
func inThisNetwork(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 0 && !a.IsUnspecified() }

// impossibleNBMA reports whether a packet gives an NBMA address in 0.0.0.0/8. Such an address can
// only be one of this router's own names, which never go into packets.
func (m *message) impossibleNBMA() bool {
	return inThisNetwork(m.SourceNBMA) ||
		slices.ContainsFunc(m.CIEs, func(c packet.CIE) bool { return inThisNetwork(c.NBMA) })
}

// real returns the outer address of the peer with an NBMA address. That is nbma itself unless nbma
// is a name.
func (ifc *iface) real(nbma netip.Addr) netip.Addr {
	if p := ifc.peers[nbma]; p != nil && p.real.IsValid() {
		return p.real
	}
	return nbma
}

// realOf returns the outer address behind a name. It is zero if nbma is no name.
func (ifc *iface) realOf(nbma netip.Addr) netip.Addr {
	if p := ifc.peers[nbma]; p != nil {
		return p.real
	}
	return netip.Addr{}
}

// setReal records the outer address behind a peer's name, and has the kernel send the name's
// packets there. The zero address means that there is none any more.
func (e *Engine) setReal(p *peer, real netip.Addr) {
	if real == p.nbma {
		real = netip.Addr{}
	}
	p.seenAt(real)
	e.lead(p, real)
}

// seenAt records the outer address behind a peer's name, and sends nothing there.
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

// name adds a peer that has a name to the index by outer address. The index exists because
// thousands of such peers may be behind one address.
func (ifc *iface) name(p *peer) {
	if p.real.IsValid() {
		list := ifc.named[p.real]
		at, _ := slices.BinarySearchFunc(list, p.nbma, byName)
		ifc.named[p.real] = slices.Insert(list, at, p)
	}
}

// unname takes a peer out of the index by outer address.
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

// byName compares a peer with an NBMA address, for a search in a list of the index.
func byName(p *peer, nbma netip.Addr) int { return p.nbma.Compare(nbma) }

// lead has the kernel send the packets for a peer's name to an outer address; the zero address
// stops that. It must be stopped when the SA goes: packets without an SA of their own would go into
// the SA of another router at that address.
func (e *Engine) lead(p *peer, real netip.Addr) {
	if p.led == real {
		return
	}
	p.led = real
	e.out.Marked = append(e.out.Marked, MarkedChange{
		Interface: p.ifc.cfg.Name,
		NBMA:      p.nbma,
		Real:      real,
		Delete:    !real.IsValid(),
	})
}

// shared reports whether several routers are at the peer's NBMA address without marks, and are
// going to stay there.
func (ifc *iface) shared(p *peer) bool {
	return p != nil && p.secured && len(p.ike.SharedWith) > 0 && !p.ike.Separating
}

// separating reports whether a packet from an NBMA address may come from a router that is being
// sent away from the address, or was within the last separationTime.
func (e *Engine) separating(ifc *iface, nbma netip.Addr) bool {
	since, was := ifc.separated[nbma]
	if was && !e.now.Before(since.Add(separationTime)) {
		delete(ifc.separated, nbma)
		was = false
	}
	p := ifc.peers[nbma]
	return was || p != nil && p.secured && p.ike.Separating
}

// separate records that all packets received from an NBMA address up to now may come from any of
// several routers there.
func (e *Engine) separate(ifc *iface, nbma netip.Addr) {
	maps.DeleteFunc(ifc.separated, func(_ netip.Addr, since time.Time) bool {
		return !e.now.Before(since.Add(separationTime))
	})
	ifc.separated[nbma] = e.now
	e.dropHeld(ifc, nbma, dropSeparating)
}

// ambiguous reports whether several routers could be the one that is said to have an overlay
// address at an NBMA address.
func (ifc *iface) ambiguous(protocol, nbma netip.Addr) bool {
	if n := ifc.neighbors[protocol]; n != nil && n.nbma == nbma {
		return ifc.shared(ifc.peers[nbma])
	}
	return ifc.shared(ifc.peers[nbma]) || len(ifc.named[nbma]) > 0 ||
		ifc.peers[nbma].mayBeElse(protocol)
}

// mayBeElse reports whether the SA with a peer behind NAT may belong to another router than the one
// with that overlay address. It may if a reference to the peer is about another router. It also may
// if nothing tells which router the peer is and the peer initiated the SA. An answer about a router
// comes through that router's own SA if it has one; so one that came another way is about a router
// without an SA here.
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

// namedAt returns the peers that have a name in place of an NBMA address, in order.
func (ifc *iface) namedAt(nbma netip.Addr) []*peer {
	return slices.Clone(ifc.named[nbma])
}

// nameOf returns the NBMA address by which this router knows a router, given the addresses that a
// packet names for it.
func (ifc *iface) nameOf(protocol, nbma netip.Addr) netip.Addr {
	if n := ifc.neighbors[protocol]; n != nil && ifc.real(n.nbma) == nbma {
		return n.nbma
	}
	return nbma
}

// peerChanged handles the event that IKE proves something new about a peer that has had its SA all
// the time.
func (e *Engine) peerChanged(p *peer, before Peer) {
	if before.Separating || p.ike.Separating {
		e.separate(p.ifc, p.nbma)
	}
	if p.ike.Separating && !before.Separating && e.doubt(p) {
		return
	}
	if before.Identity != p.ike.Identity || !slices.Equal(before.SharedWith, p.ike.SharedWith) {
		if e.barred(p) {
			e.lostForGood(p) // all that refers to the peer is of routers that have left the address
			return
		}
		e.sharingChanged(p)
	}
	if before.Real != p.ike.Real {
		e.moveClaims(p, p, before.Real)
		for _, a := range inOrderIf(p.ifc.answers, answerKey.compare, func(a *answer) bool {
			return a.nbma == before.Real
		}) {
			e.moveAnswer(a, p.real) // the NAT moved, and with it whoever asked from behind it
		}
	}
}

// doubt ends what a peer registered or answered just before another router turned out to be at its
// address. That other router may have sent the packet: a packet can arrive before the event about
// the SA that it came through. If a registration ends, doubt closes the SA, so that the router
// registers again through a new one. It reports whether it did.
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

// sharingChanged tells the references to a peer that the set of routers at its address has changed.
// The peer had its SA all the time.
func (e *Engine) sharingChanged(p *peer) {
	for _, c := range slices.Clone(p.refs) {
		if c.peer == p {
			c.owner.peerJoined(e)
		}
	}
}

// mayBe reports whether a binding belongs to one of the routers at a peer's address, by the
// identities that IKE proved.
func (b *binding) mayBe(ike Peer) bool {
	return ike.isOneOf(b.identity) || slices.ContainsFunc(b.sharers, ike.isOneOf)
}

// reunite gives a router that is back behind its NAT address, under another name, the bindings and
// answers that wait for it there. If an answer went to that address, the router may be the one that
// asked for it, so it is admitted too.
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
