package neighbors

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/pool"
)

// Rank orders the claims on a neighbour by what they come from. Where claims name different NBMA
// addresses for one overlay address, the first in this order decides. Claims of the same rank are
// in the order of their age, the oldest first.
type Rank uint8

// The ranks, the first first.
const (
	RankMap      Rank = iota // a static map
	RankNHS                  // an NHS of ours
	RankBinding              // a registered client
	RankShortcut             // the next hop of a shortcut
	RankRelay                // a router that an NHS relays to
)

// Claim is one reason to want a neighbour: somebody wants Protocol reached at NBMA. It is a field
// of whatever has the reason (such as an NHS, a binding or a shortcut) and must not be copied. The
// zero value wants nothing. Only [Table.Want] and [Table.Withdraw] change it.
type Claim struct {
	Protocol netip.Addr // zero: no neighbour is wanted
	NBMA     netip.Addr
	rank     Rank
}

// neighbor is the wanted neighbour for one overlay address, with all claims on it.
type neighbor struct {
	nbma   netip.Addr // the kernel should have the neighbour at this address
	routed bool       // the kernel should have a host route to the overlay address
	known  bool       // look-ups of the engine see that route
	claims []*Claim   // by rank, then by age: the first decides
	first  [1]*Claim  // backs claims while there is only one
}

// Parts is what the neighbours ask of the other parts of their interface, and tell them.
type Parts interface {
	// UsableNHS returns the addresses of the first NHS that has registered this router. ok is false
	// if there is none.
	UsableNHS() (protocol, nbma netip.Addr, ok bool)

	// MissedRouter reports whether the kernel missed the neighbour for the router with a host
	// prefix, and the engine therefore has a shortcut to that router or asks for one.
	MissedRouter(host netip.Prefix) bool

	// RouterKnown is called when the engine begins to know the router with a host prefix, by more
	// than a shortcut or a relay. Announced prefixes around that router have to be reviewed.
	RouterKnown(host netip.Prefix)

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

// Want makes c a claim that protocol is reached at nbma. If a claim of an earlier rank says that
// protocol is reached elsewhere, that claim decides. If c was a claim on another overlay address,
// it no longer is.
func (ns *Table) Want(c *Claim, rank Rank, protocol, nbma netip.Addr) {
	if c.Protocol == protocol && c.NBMA == nbma {
		return
	}
	if c.Protocol != protocol {
		ns.Withdraw(c)
	}
	isNew := c.Protocol != protocol
	*c = Claim{rank: rank, Protocol: protocol, NBMA: nbma}
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
	c.Protocol, c.NBMA = netip.Addr{}, netip.Addr{}
	n := ns.byProtocol[protocol]
	n.claims = ordered.Without(n.claims, c)
	ns.reviseNeighbor(protocol, n)
}

// reviseNeighbor tells the kernel which neighbour and host route follow from the claims on it.
func (ns *Table) reviseNeighbor(protocol netip.Addr, n *neighbor) {
	change := output.NeighborChange{Interface: ns.Config.Name, Protocol: protocol, NBMA: n.nbma}
	if len(n.claims) == 0 {
		ns.reviseHostRoute(protocol, n)
		delete(ns.byProtocol, protocol)
		change.Delete = true
		ns.Out.Neighbors = append(ns.Out.Neighbors, change)
		return
	}
	if best := n.best(); n.nbma != best.NBMA {
		n.nbma, change.NBMA = best.NBMA, best.NBMA
		ns.Out.Neighbors = append(ns.Out.Neighbors, change)
	}
	ns.reviseHostRoute(protocol, n)
}

// best returns the claim that decides.
func (n *neighbor) best() *Claim { return n.claims[0] }

// Len returns how many neighbours the kernel is to have.
func (ns *Table) Len() int { return len(ns.byProtocol) }

// Wants reports whether the kernel is to have a neighbour for an overlay address.
func (ns *Table) Wants(protocol netip.Addr) bool { return ns.byProtocol[protocol] != nil }

// Lookup returns the NBMA address at which the kernel is to have the neighbour for an overlay
// address, and the rank of the claim that decided so. It returns false if there is to be none.
func (ns *Table) Lookup(protocol netip.Addr) (nbma netip.Addr, rank Rank, ok bool) {
	n := ns.byProtocol[protocol]
	if n == nil {
		return netip.Addr{}, 0, false
	}
	return n.nbma, n.best().rank, true
}

// Ambiguous reports whether several routers could be the one that is said to have an overlay
// address at an NBMA address.
func (ns *Table) Ambiguous(protocol, nbma netip.Addr) bool {
	if n := ns.byProtocol[protocol]; n != nil && n.nbma == nbma {
		return ns.peers.Shared(ns.peers.ByNBMA[nbma])
	}
	return ns.peers.Shared(ns.peers.ByNBMA[nbma]) || len(ns.peers.Behind(nbma)) > 0 ||
		ns.peers.ByNBMA[nbma].MayBeElse(protocol)
}

// PeerIDOf returns the peer ID by which this router knows a router, given the addresses that a
// packet names for it. If this router knows none, it returns nbma.
func (ns *Table) PeerIDOf(protocol, nbma netip.Addr) netip.Addr {
	if n := ns.byProtocol[protocol]; n != nil && ns.peers.Outer(n.nbma) == nbma {
		return n.nbma
	}
	return nbma
}

// IsRouter reports whether a prefix is the overlay address of another router.
func (ns *Table) IsRouter(prefix netip.Prefix) bool {
	return prefix.IsSingleIP() && ns.ClientAddress(prefix.Addr())
}
