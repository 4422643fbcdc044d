package neighbors

import (
	"iter"
	"maps"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/pool"
	"cygnet/nhrpd/linklocal"
)

// Rank orders the claims on a neighbour by what they come from. Where claims name different peers
// for one overlay address, the first in this order decides. Claims of the same rank are in the
// order of their age, the oldest first.
type Rank uint8

// The ranks, the first first.
const (
	RankMap      Rank = iota // a static map
	RankNHS                  // an NHS of ours
	RankBinding              // a registered client
	RankShortcut             // the next hop of a shortcut
	RankRelay                // a router that an NHS relays to
)

// Claim is one reason to want a neighbour: somebody wants Protocol reached at Peer. It is a field
// of whatever has the reason (such as an NHS, a binding or a shortcut) and must not be copied. The
// zero value wants nothing. Only [Table.Want] and [Table.Withdraw] change it.
type Claim struct {
	Protocol netip.Addr // zero: no neighbour is wanted
	Peer     peerid.ID
	rank     Rank
}

// neighbor is the wanted neighbour for one overlay address, with all claims on it.
type neighbor struct {
	peer   peerid.ID // the kernel should have the neighbour at this address
	routed bool      // the kernel should have a host route to the overlay address
	known  bool      // look-ups of the engine see that route
	beside bool      // the route is in the table for host routes: see besideAnother
	claims []*Claim  // by rank, then by age: the first decides
	first  [1]*Claim // backs claims while there is only one
}

// Parts is what the neighbours ask of the other parts of their interface, and tell them.
type Parts interface {
	// UsableNHS returns the overlay address and the ID of the first NHS that has registered this
	// router with the IP version of dest. ok is false if there is none.
	UsableNHS(dest netip.Addr) (protocol netip.Addr, peer peerid.ID, ok bool)

	// MissedRouter reports whether the kernel missed the neighbour for the router with a host
	// prefix, and the engine therefore has a shortcut to that router or asks for one.
	MissedRouter(host netip.Prefix) bool

	// RouterKnown is called when the engine begins to know the router with a host prefix, by more
	// than a shortcut or a relay. Announced prefixes around that router have to be reviewed.
	RouterKnown(host netip.Prefix)

	// NeighborChanged is called when the claims on the neighbour for an overlay address have
	// changed.
	NeighborChanged(protocol netip.Addr)

	// RouterRouted is called when the router with a host prefix is about to get a host route of its
	// own. A shortcut that leads to that address by another router ends. RouterRouted reports
	// whether one did.
	RouterRouted(host netip.Prefix) bool
}

// Table has the neighbours and host routes that the kernel is to have on an interface.
type Table struct {
	*overlay.Interface

	peers *peers.Table

	byProtocol map[netip.Addr]*neighbor // by overlay address
	pool       pool.Pool[neighbor]

	parts Parts
}

// New returns a table without neighbours, with memory for those of that many clients.
func New(ifc *overlay.Interface, peers *peers.Table, parts Parts, clients int) Table {
	return Table{
		Interface:  ifc,
		peers:      peers,
		parts:      parts,
		byProtocol: make(map[netip.Addr]*neighbor, clients),
		pool:       pool.New[neighbor](clients),
	}
}

// Want makes c a claim that protocol is reached at a peer. If a claim of an earlier rank says that
// protocol is reached elsewhere, that claim decides. If c was a claim on another overlay address,
// it no longer is.
func (ns *Table) Want(c *Claim, rank Rank, protocol netip.Addr, peer peerid.ID) {
	if c.Protocol == protocol && c.Peer == peer {
		return
	}
	if c.Protocol != protocol {
		ns.Withdraw(c)
	}
	isNew := c.Protocol != protocol
	*c = Claim{rank: rank, Protocol: protocol, Peer: peer}
	n := ns.byProtocol[protocol]
	if n == nil {
		n = ns.pool.Take()
		n.claims = n.first[:0]
		ns.byProtocol[protocol] = n
	}
	if isNew {
		at := len(n.claims)
		for at > 0 && n.claims[at-1].rank > rank {
			at--
		}
		n.claims = slices.Insert(n.claims, at, c)
	}
	ns.reviseNeighbor(protocol, n)
}

// Withdraw ends a claim on a neighbour. With the last claim, the kernel is to have no such
// neighbour any more. Withdraw does nothing if c wants nothing.
func (ns *Table) Withdraw(c *Claim) {
	if !c.Protocol.IsValid() {
		return
	}
	protocol := c.Protocol
	c.Protocol, c.Peer = netip.Addr{}, peerid.ID{}
	n := ns.byProtocol[protocol]
	n.claims = ordered.Without(n.claims, c)
	ns.reviseNeighbor(protocol, n)
}

// reviseNeighbor tells the kernel which neighbour and host route follow from the claims on it,
// which have changed.
func (ns *Table) reviseNeighbor(protocol netip.Addr, n *neighbor) {
	ns.reviseEntries(protocol, n)
	ns.parts.NeighborChanged(protocol)
}

// reviseEntries tells the kernel which neighbour and host route follow from the claims on it.
func (ns *Table) reviseEntries(protocol netip.Addr, n *neighbor) {
	if len(n.claims) == 0 {
		ns.reviseHostRoute(protocol, n)
		delete(ns.byProtocol, protocol)
		ns.tellKernel(protocol, n.peer, true)
		return
	}
	if best := n.best(); n.peer != best.Peer {
		n.peer = best.Peer
		ns.tellKernel(protocol, n.peer, false)
	}
	ns.reviseHostRoute(protocol, n)
}

// tellKernel wants the neighbour for an overlay address, and for the link-local address that
// belongs to that one, at a peer, or wants them to be gone.
func (ns *Table) tellKernel(protocol netip.Addr, peer peerid.ID, gone bool) {
	change := output.NeighborChange{
		Interface: ns.Config.Name, Protocol: protocol, Peer: peer, Delete: gone}
	ns.Out.Neighbors = append(ns.Out.Neighbors, change)
	if change.Protocol = ns.LinkLocals().Of(protocol); change.Protocol.IsValid() {
		ns.Out.Neighbors = append(ns.Out.Neighbors, change)
	}
}

// ReviseLinkLocals tells the kernel which link-local addresses belong to the neighbours, after the
// overlay's range has changed. before is the range that it was.
func (ns *Table) ReviseLinkLocals(before linklocal.Overlay) {
	if before == ns.LinkLocals() {
		return
	}
	for _, protocol := range slices.SortedFunc(ns.All(), ordered.ByAddr) {
		was, is := before.Of(protocol), ns.LinkLocals().Of(protocol)
		if was == is {
			continue
		}
		change := output.NeighborChange{
			Interface: ns.Config.Name, Protocol: was, Peer: ns.byProtocol[protocol].peer}
		if was.IsValid() {
			change.Delete = true
			ns.Out.Neighbors = append(ns.Out.Neighbors, change)
		}
		if is.IsValid() {
			change.Protocol, change.Delete = is, false
			ns.Out.Neighbors = append(ns.Out.Neighbors, change)
		}
	}
}

// best returns the claim that decides.
func (n *neighbor) best() *Claim { return n.claims[0] }

// All returns the overlay addresses of all neighbours that the kernel is to have, in any order.
func (ns *Table) All() iter.Seq[netip.Addr] { return maps.Keys(ns.byProtocol) }

// Claimed reports whether something of a rank wants the neighbour for an overlay address, whether
// it decides or not.
func (ns *Table) Claimed(protocol netip.Addr, rank Rank) bool {
	n := ns.byProtocol[protocol]
	return n != nil && slices.ContainsFunc(n.claims, func(c *Claim) bool { return c.rank == rank })
}

// Len returns how many neighbours the kernel is to have.
func (ns *Table) Len() int { return len(ns.byProtocol) }

// Wants reports whether the kernel is to have a neighbour for an overlay address.
func (ns *Table) Wants(protocol netip.Addr) bool { return ns.byProtocol[protocol] != nil }

// Lookup returns the peer at which the kernel is to have the neighbour for an overlay address, and
// the rank of the claim that decided so. It returns false if there is to be none.
func (ns *Table) Lookup(protocol netip.Addr) (peer peerid.ID, rank Rank, ok bool) {
	n := ns.byProtocol[protocol]
	if n == nil {
		return peerid.ID{}, 0, false
	}
	return n.peer, n.best().rank, true
}

// Ambiguous reports whether several routers could be the one that is said to have an overlay
// address as a peer.
func (ns *Table) Ambiguous(protocol netip.Addr, peer peerid.ID) bool {
	if n := ns.byProtocol[protocol]; n != nil && n.peer == peer {
		return ns.peers.Shared(ns.peers.ByID[peer])
	}
	return ns.peers.Shared(ns.peers.ByID[peer]) ||
		len(ns.peers.Addresses.Behind(peer.Address())) > 0 ||
		ns.peers.ByID[peer].MayBeElse(protocol)
}

// PeerIDOf returns the ID by which this router knows a router, given the addresses that a packet
// names for it.
func (ns *Table) PeerIDOf(protocol, nbma netip.Addr) peerid.ID {
	if n := ns.byProtocol[protocol]; n != nil && ns.peers.Outer(n.peer) == nbma {
		return n.peer
	}
	return peerid.At(nbma)
}

// IsRouter reports whether a prefix is the overlay address of another router.
func (ns *Table) IsRouter(prefix netip.Prefix) bool {
	return prefix.IsSingleIP() && ns.ClientAddress(prefix.Addr())
}
