package peers

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
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

// SharedAddress is the objection to an answer that names an address shared without marks.
var SharedAddress = objection.New(
	objection.AddressAmbiguous,
	"several routers share its NBMA address behind NAT, and the answer does not tell which of them it is",
)

// MaxAmbiguous is the age up to which a binding or a shortcut may be another router's, once it
// turns out that several routers are at its address.
const MaxAmbiguous = 10 * time.Second

// SeparationTime is how long packets may still arrive that came through the SA of a router which
// was sent away from a shared address.
const SeparationTime = 3 * time.Second

// Outer returns the outer address of the peer with an NBMA address. That is nbma itself unless nbma
// is a name.
func (ps *Table) Outer(nbma netip.Addr) netip.Addr {
	if p := ps.ByNBMA[nbma]; p != nil && p.Outer.IsValid() {
		return p.Outer
	}
	return nbma
}

// OuterOf returns the outer address behind a name. It is zero if nbma is no name.
func (ps *Table) OuterOf(nbma netip.Addr) netip.Addr {
	if p := ps.ByNBMA[nbma]; p != nil {
		return p.Outer
	}
	return netip.Addr{}
}

// SetOuter records the outer address behind a peer's name, and has the kernel send the name's
// packets there. The zero address means that there is none any more.
func (ps *Table) SetOuter(p *Peer, real netip.Addr) {
	if real == p.NBMA {
		real = netip.Addr{}
	}
	if p.Outer != real && (len(p.Refs) > 0 || ps.parts.Answered(p.NBMA)) {
		ps.StateChanged()
	}
	p.SeenAt(real)
	ps.routeTo(p, real)
}

// SeenAt records the outer address behind a peer's name, and sends nothing there.
func (p *Peer) SeenAt(real netip.Addr) {
	if p.Outer == real {
		return
	}
	p.Peers.removeUnderlay(p)
	p.Peers.unindexOuter(p)
	p.Outer = real
	p.Peers.indexOuter(p)
	p.Peers.addUnderlay(p)
}

// name adds a peer that has a name to the index by outer address. The index exists because
// thousands of such peers may be behind one address.
func (ps *Table) indexOuter(p *Peer) {
	if p.Outer.IsValid() {
		list := ps.ByOuter[p.Outer]
		at, _ := slices.BinarySearchFunc(list, p.NBMA, byID)
		ps.ByOuter[p.Outer] = slices.Insert(list, at, p)
	}
}

// unname takes a peer out of the index by outer address.
func (ps *Table) unindexOuter(p *Peer) {
	list := ps.ByOuter[p.Outer]
	at, there := slices.BinarySearchFunc(list, p.NBMA, byID)
	switch {
	case there && len(list) > 1:
		ps.ByOuter[p.Outer] = slices.Delete(list, at, at+1)
	case there:
		delete(ps.ByOuter, p.Outer)
	}
}

// byName compares a peer with an NBMA address, for a search in a list of the index.
func byID(p *Peer, nbma netip.Addr) int { return p.NBMA.Compare(nbma) }

// lead has the kernel send the packets for a peer's name to an outer address; the zero address
// stops that. It must be stopped when the SA goes: packets without an SA of their own would go into
// the SA of another router at that address.
func (ps *Table) routeTo(p *Peer, real netip.Addr) {
	if p.RoutedTo == real {
		return
	}
	p.RoutedTo = real
	ps.Out.Marked = append(ps.Out.Marked, output.MarkedChange{
		Interface: ps.Config.Name,
		NBMA:      p.NBMA,
		Real:      real,
		Delete:    !real.IsValid(),
	})
}

// Shared reports whether several routers are at the peer's NBMA address without marks, and are
// going to stay there.
func (ps *Table) Shared(p *Peer) bool {
	return p != nil && p.Secured && len(p.IKE.SharedWith) > 0 && !p.IKE.Separating
}

// Separating reports whether a packet from an NBMA address may come from a router that is being
// sent away from the address, or was within the last separationTime.
func (ps *Table) Separating(nbma netip.Addr) bool {
	since, was := ps.Separated[nbma]
	if was && !ps.Now.Before(since.Add(SeparationTime)) {
		delete(ps.Separated, nbma)
		was = false
	}
	p := ps.ByNBMA[nbma]
	return was || p != nil && p.Secured && p.IKE.Separating
}

// separate records that all packets received from an NBMA address up to now may come from any of
// several routers there.
func (ps *Table) separate(nbma netip.Addr) {
	maps.DeleteFunc(ps.Separated, func(_ netip.Addr, since time.Time) bool {
		return !ps.Now.Before(since.Add(SeparationTime))
	})
	ps.Separated[nbma] = ps.Now
	ps.DropHeld(nbma, overlay.DropSeparating)
}

// MayBeElse reports whether the SA with a peer behind NAT may belong to another router than the one
// with that overlay address. It may if a reference to the peer is about another router. It also may
// if nothing tells which router the peer is and the peer initiated the SA. An answer about a router
// comes through that router's own SA if it has one; so one that came another way is about a router
// without an SA here.
func (p *Peer) MayBeElse(protocol netip.Addr) bool {
	if p == nil || !p.Secured || !p.IKE.RemoteNAT {
		return false
	}
	known := p.Router.IsValid()
	if known && p.Router != protocol {
		return true
	}
	for _, c := range p.Refs {
		switch router := c.Owner.Router(); {
		case !router.IsValid():
		case router != protocol:
			return true
		default:
			known = true
		}
	}
	return !known && !p.IKE.Initiator
}

// Behind returns the peers that have a name in place of an NBMA address, in order.
func (ps *Table) Behind(nbma netip.Addr) []*Peer {
	return slices.Clone(ps.ByOuter[nbma])
}

// peerChanged handles the event that IKE proves something new about a peer that has had its SA all
// the time.
func (ps *Table) peerChanged(p *Peer, before event.Peer) {
	if before.Separating || p.IKE.Separating {
		ps.separate(p.NBMA)
	}
	if p.IKE.Separating && !before.Separating && ps.endAmbiguous(p) {
		return
	}
	if before.Identity != p.IKE.Identity || !slices.Equal(before.SharedWith, p.IKE.SharedWith) {
		if ps.barred(p) {
			ps.lostForGood(
				p,
			) // all that refers to the peer is of routers that have left the address
			return
		}
		ps.sharingChanged(p)
	}
	if before.Real != p.IKE.Real {
		ps.moveClaims(p, p, before.Real)
		ps.parts.NatMoved(before.Real, p.Outer)
	}
}

// doubt ends what a peer registered or answered just before another router turned out to be at its
// address. That other router may have sent the packet: a packet can arrive before the event about
// the SA that it came through. If a registration ends, doubt closes the SA, so that the router
// registers again through a new one. It reports whether it did.
func (ps *Table) endAmbiguous(p *Peer) bool {
	found := false
	for _, c := range slices.Clone(p.Refs) {
		if c.Owner.PeerAmbiguous() {
			found = true
		}
	}
	p.Router = netip.Addr{}
	if found {
		ps.Unsecure(p, "to have it register again, from an SA that tells who it is", LostGrace)
		ps.Out.Closed = append(
			ps.Out.Closed,
			output.PeerKey{Interface: ps.Config.Name, NBMA: p.NBMA},
		)
	}
	return found
}

// sharingChanged tells the references to a peer that the set of routers at its address has changed.
// The peer had its SA all the time.
func (ps *Table) sharingChanged(p *Peer) {
	for _, c := range slices.Clone(p.Refs) {
		if c.Peer == p {
			c.Owner.PeerJoined()
		}
	}
}

// reunite gives a router that is back behind its NAT address, under another name, the bindings and
// answers that wait for it there. If an answer went to that address, the router may be the one that
// asked for it, so it is admitted too.
func (ps *Table) rebind(p *Peer) {
	if !p.Outer.IsValid() {
		return
	}
	var before []*Peer
	for _, old := range ps.ByOuter[p.Outer] {
		if !old.Secured {
			before = append(before, old)
		}
	}
	if at := ps.ByNBMA[p.Outer]; at != nil && !at.Secured {
		before = append(before, at)
	}
	for _, old := range before {
		for _, c := range slices.Clone(old.Refs) {
			c.Owner.PeerBack(old, p)
		}
	}
	if ps.parts.Answered(p.Outer) {
		ps.admitVisitor(p)
	}
}
