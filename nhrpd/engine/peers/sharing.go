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
	"cygnet/nhrpd/engine/peerid"
)

// Several routers behind one NAT address each have their own SA with this router. Two cases differ.
//
// With marks, every router but one is a marked peer: the engine knows it by the mark of its SA.
// Packets and the status show the NAT address, which is the outer address of all those routers.
//
// Without marks, the kernel has one policy for the address, so everything sent there goes into the
// newest of the SAs, whichever router it is for. Received packets do not show which of the routers
// sent them either. Three rules follow. All the routers count as present while one of them is. A
// binding holds for any of them. No shortcut leads to the address: traffic stays on the hub, which
// may have another way to the router.

// SharedAddress is the objection to an answer that names an address shared without marks.
var SharedAddress = objection.New(
	objection.AddressAmbiguous,
	"several routers share its NBMA address behind NAT, "+
		"and the answer does not tell which of them it is",
)

// MaxAmbiguous is the age up to which a binding or a shortcut may be another router's, once it
// turns out that several routers are at its address.
const MaxAmbiguous = 10 * time.Second

// SeparationTime is how long packets may still arrive that came through the SA of a router which
// was sent away from a shared address.
const SeparationTime = 3 * time.Second

// Outer returns the outer address of a peer: its NBMA address as this router sees it. It is zero if
// this router does not know it. This is the only way from an ID to an address.
func (d Directory) Outer(id peerid.ID) netip.Addr {
	if !id.Shares() {
		return id.Address()
	}
	if p := d.ByID[id]; p != nil {
		return p.Outer
	}
	return netip.Addr{}
}

// SetOuter records the outer address of a peer, and has the kernel send the packets for a marked
// peer there. The zero address means that there is none any more.
func (ps *Table) SetOuter(p *Peer, outer netip.Addr) {
	if p.Outer != outer && (len(p.Refs) > 0 || ps.parts.Answered(p.ID)) {
		ps.StateChanged()
	}
	ps.Addresses.record(p, outer)
	ps.routeTo(p, outer)
}

// OuterAddresses has the outer addresses of the peers.
type OuterAddresses struct {
	Directory

	byOuter  outerIndex
	underlay underlayIndex
}

// record records the outer address of a peer, and leaves alone where the kernel sends the peer's
// packets.
func (oa *OuterAddresses) record(p *Peer, outer netip.Addr) {
	if p.Outer == outer {
		return
	}
	oa.underlay.remove(p)
	oa.byOuter.remove(p)
	p.Outer = outer
	oa.byOuter.add(p)
	oa.underlay.add(p)
}

// outerIndex has the marked and the parked peers, in order, by their outer address. It exists
// because thousands of such peers may be behind one address.
type outerIndex map[netip.Addr][]*Peer

// add adds a peer, if it shares its outer address.
func (index outerIndex) add(p *Peer) {
	if p.ID.Shares() && p.Outer.IsValid() {
		list := index[p.Outer]
		at, _ := slices.BinarySearchFunc(list, p.ID, compareID)
		index[p.Outer] = slices.Insert(list, at, p)
	}
}

// remove takes a peer out, if it is there.
func (index outerIndex) remove(p *Peer) {
	list := index[p.Outer]
	at, there := slices.BinarySearchFunc(list, p.ID, compareID)
	switch {
	case there && len(list) > 1:
		index[p.Outer] = slices.Delete(list, at, at+1)
	case there:
		delete(index, p.Outer)
	}
}

// compareID compares a peer's ID with another, for a search in a list of the index.
func compareID(p *Peer, id peerid.ID) int { return p.ID.Compare(id) }

// routeTo has the kernel send the packets for a marked peer to an outer address; the zero address
// stops that. The caller has to stop it when the SA goes: packets without an SA of their own would
// go into the SA of another router at that address.
func (ps *Table) routeTo(p *Peer, outer netip.Addr) {
	mark, marked := p.ID.Mark()
	if !marked || p.routedTo == outer {
		return
	}
	p.routedTo = outer
	ps.Out.Marked = append(ps.Out.Marked, output.MarkedChange{
		Interface: ps.Config.Name,
		Mark:      mark,
		Outer:     outer,
		Delete:    !outer.IsValid(),
	})
}

// Shared reports whether several routers are at the peer's outer address without marks, and are
// going to stay there. p may be nil.
func (d Directory) Shared(p *Peer) bool {
	return p != nil && p.Secured && len(p.IKE.SharedWith) > 0 && !p.IKE.Separating
}

// Separations are the peers from whose addresses other routers are being sent away, or were within
// the last SeparationTime.
type Separations struct {
	*overlay.Interface
	Directory

	// since has when routers were separated from a peer's address last.
	since map[peerid.ID]time.Time
}

// Separating reports whether a packet from a peer may come from another router that is being sent
// away from the peer's address, or was within the last SeparationTime.
func (sp *Separations) Separating(id peerid.ID) bool {
	since, was := sp.since[id]
	if was && !sp.Now.Before(since.Add(SeparationTime)) {
		delete(sp.since, id)
		was = false
	}
	p := sp.ByID[id]
	return was || p != nil && p.Secured && p.IKE.Separating
}

// begin records that all packets received from a peer up to now may come from any of several
// routers at its address.
func (sp *Separations) begin(id peerid.ID) {
	maps.DeleteFunc(sp.since, func(_ peerid.ID, since time.Time) bool {
		return !sp.Now.Before(since.Add(SeparationTime))
	})
	sp.since[id] = sp.Now
}

// MayBeElse reports whether the SA with a peer behind NAT may belong to another router than the one
// with that overlay address. It may if a reference to the peer is about another router. It also may
// if nothing tells which router the peer is and the peer initiated the SA. An answer about a router
// comes through that router's own SA if it has one; so one that came another way is about a router
// without an SA here. p may be nil.
func (p *Peer) MayBeElse(protocol netip.Addr) bool {
	if p == nil || !p.Secured || !p.IKE.RemoteNAT {
		return false
	}
	// An address of the other family tells nothing: the router may have both.
	known := p.endedRouter.IsValid() && p.endedRouter.Is4() == protocol.Is4()
	if known && p.endedRouter != protocol {
		return true
	}
	for _, r := range p.Refs {
		switch router := r.Owner.Router(); {
		case !router.IsValid() || router.Is4() != protocol.Is4():
		case router != protocol:
			return true
		default:
			known = true
		}
	}
	return !known && !p.IKE.Initiator
}

// Behind returns the marked and the parked peers whose outer address is outer, in the order of
// their IDs.
func (oa *OuterAddresses) Behind(outer netip.Addr) []*Peer {
	return slices.Clone(oa.byOuter[outer])
}

// peerChanged handles the event that IKE proves something new about a peer that has had its SA all
// the time. before is what IKE proved until now.
func (ps *Table) peerChanged(p *Peer, before event.Peer) {
	if before.Separating || p.IKE.Separating {
		ps.Separations.begin(p.ID)
		ps.Held.Discard(p.ID, overlay.DropSeparating)
	}
	if p.IKE.Separating && !before.Separating && ps.endAmbiguous(p) {
		return
	}
	if before.Identity != p.IKE.Identity || !slices.Equal(before.SharedWith, p.IKE.SharedWith) {
		if ps.barred(p) {
			// All that refers to the peer is of routers that have left the address.
			ps.endDependents(p)
			return
		}
		ps.sharingChanged(p)
	}
	if before.Outer != p.IKE.Outer {
		ps.moveRefs(p, p, before.Outer)
		ps.parts.NATMoved(before.Outer, p.Outer)
	}
}

// endAmbiguous ends what a peer registered or answered just before another router turned out to be
// at its address. That other router may have sent the packet: a packet can arrive before the event
// about the SA that it came through. If a registration ends, endAmbiguous closes the SA, so that
// the router registers again through a new one. It reports whether it did.
func (ps *Table) endAmbiguous(p *Peer) bool {
	found := false
	for owner := range p.owners() {
		if owner.PeerAmbiguous() {
			found = true
		}
	}
	p.endedRouter = netip.Addr{}
	if found {
		ps.HaveRegisterAgain(p, "to have it register again, from an SA that tells who it is")
	}
	return found
}

// sharingChanged tells the references to a peer that the set of routers at its address has changed.
// The peer had its SA all the time.
func (ps *Table) sharingChanged(p *Peer) {
	for owner := range p.owners() {
		owner.PeerJoined()
	}
}
