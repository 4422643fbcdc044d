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

// neighborRank orders the reasons for a neighbour by what they come from. Where reasons name
// different NBMA addresses for one overlay address, the first in this order decides.
type neighborRank uint8

const (
	RankMap neighborRank = iota
	RankNHS
	RankBinding
	RankShortcut
	RankRelay
)

// Claim is one reason to want a neighbour: that protocol is reached at nbma. It is a field
// of whatever has the reason (such as an NHS, a binding or a shortcut) and must not be copied.
type Claim struct {
	ns       *Table
	Rank     neighborRank
	Protocol netip.Addr // zero: no neighbour is wanted
	NBMA     netip.Addr
}

// Neighbor is the wanted neighbour for one overlay address, with all reasons for it.
type Neighbor struct {
	NBMA   netip.Addr // the kernel should have the neighbour at this address
	Routed bool       // the kernel should have a host route to the overlay address
	known  bool       // look-ups of the engine see that route
	Claims []*Claim   // by rank, then by age: the first decides
	first  [1]*Claim  // backs claims while there is only one
}

// Parts is what the neighbours ask of the other parts of their interface, and tell them.
type Parts interface {
	// UsableNHS returns the first NHS that has registered this router.
	UsableNHS() (protocol, nbma netip.Addr, ok bool)
	// MissedRouter reports whether the kernel missed the neighbour for the router that a host
	// prefix names, and the engine asks for that router.
	MissedRouter(host netip.Prefix) bool
	// RouterKnown says that a router which a host prefix names is known from now on.
	RouterKnown(host netip.Prefix)
	// RouterRouted says that a router which a host prefix names gets a host route of its own. It
	// reports whether a shortcut by another router has ended for that.
	RouterRouted(host netip.Prefix) bool
}

// Table are the neighbours and host routes that the kernel is to have on an interface.
type Table struct {
	*overlay.Interface

	peers *peers.Table

	ByProtocol map[netip.Addr]*Neighbor // by overlay address
	pool       pool.Pool[Neighbor]

	parts Parts
}

// New returns no neighbours, with memory for those of that many clients.
func New(
	st *overlay.Interface, peers *peers.Table, parts Parts, clients int,
) Table {
	return Table{
		Interface:  st,
		peers:      peers,
		parts:      parts,
		ByProtocol: make(map[netip.Addr]*Neighbor, clients),
		pool:       pool.New[Neighbor](clients),
	}
}

// Want makes c a reason to reach protocol at nbma. If a reason of higher rank says that
// protocol is reached elsewhere, that reason decides.
func (ns *Table) Want(
	c *Claim, rank neighborRank, protocol, nbma netip.Addr,
) {
	if c.Protocol == protocol && c.NBMA == nbma {
		return
	}
	if c.Protocol != protocol {
		ns.Withdraw(c)
	}
	isNew := c.Protocol != protocol
	*c = Claim{ns: ns, Rank: rank, Protocol: protocol, NBMA: nbma}
	n := ns.ByProtocol[protocol]
	if n == nil {
		n = ns.pool.Take()
		n.Claims = n.first[:0]
		ns.ByProtocol[protocol] = n
	}
	if isNew {
		at := len(n.Claims)
		for at > 0 && n.Claims[at-1].Rank > rank {
			at--
		}
		n.Claims = slices.Insert(n.Claims, at, c)
	}
	ns.reviseNeighbor(protocol, n)
}

// Withdraw ends a reason for a neighbour. Without a reason the neighbour is withdrawn.
func (ns *Table) Withdraw(c *Claim) {
	if !c.Protocol.IsValid() {
		return
	}
	protocol := c.Protocol
	c.Protocol, c.NBMA = netip.Addr{}, netip.Addr{}
	n := ns.ByProtocol[protocol]
	n.Claims = ordered.Without(n.Claims, c)
	ns.reviseNeighbor(protocol, n)
}

// reviseNeighbor tells the kernel which neighbour and host route follow from the reasons for it.
func (ns *Table) reviseNeighbor(protocol netip.Addr, n *Neighbor) {
	if len(n.Claims) == 0 {
		ns.ReviseHostRoute(protocol, n)
		delete(ns.ByProtocol, protocol)
		ns.Out.Neighbors = append(
			ns.Out.Neighbors,
			output.NeighborChange{
				Interface: ns.Config.Name,
				Protocol:  protocol,
				NBMA:      n.NBMA,
				Delete:    true,
			},
		)
		return
	}
	if best := n.Best(); n.NBMA != best.NBMA {
		n.NBMA = best.NBMA
		ns.Out.Neighbors = append(ns.Out.Neighbors,
			output.NeighborChange{Interface: ns.Config.Name, Protocol: protocol, NBMA: n.NBMA})
	}
	ns.ReviseHostRoute(protocol, n)
}

// Best returns the reason that decides.
func (n *Neighbor) Best() *Claim { return n.Claims[0] }

// Ambiguous reports whether several routers could be the one that is said to have an overlay
// address at an NBMA address.
func (ns *Table) Ambiguous(protocol, nbma netip.Addr) bool {
	if n := ns.ByProtocol[protocol]; n != nil && n.NBMA == nbma {
		return ns.peers.Shared(ns.peers.ByNBMA[nbma])
	}
	return ns.peers.Shared(ns.peers.ByNBMA[nbma]) || len(ns.peers.Behind(nbma)) > 0 ||
		ns.peers.ByNBMA[nbma].MayBeElse(protocol)
}

// PeerIDOf returns the NBMA address by which this router knows a router, given the addresses that a
// packet names for it.
func (ns *Table) PeerIDOf(protocol, nbma netip.Addr) netip.Addr {
	if n := ns.ByProtocol[protocol]; n != nil && ns.peers.Outer(n.NBMA) == nbma {
		return n.NBMA
	}
	return nbma
}

// IsRouter reports whether a prefix is the overlay address of another router.
func (ns *Table) IsRouter(prefix netip.Prefix) bool {
	return prefix.IsSingleIP() && ns.ClientAddress(prefix.Addr())
}
