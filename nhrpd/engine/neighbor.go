package engine

import (
	"net/netip"
	"slices"
)

// neighborRank orders the reasons for a neighbour by what they come from. Where reasons name
// different NBMA addresses for one overlay address, the first in this order decides.
type neighborRank uint8

const (
	rankMap neighborRank = iota
	rankNHS
	rankBinding
	rankShortcut
	rankRelay
)

// neighborClaim is one reason to want a neighbour: that protocol is reached at nbma. It is a field
// of whatever has the reason (such as an NHS, a binding or a shortcut) and must not be copied.
type neighborClaim struct {
	ifc      *iface
	rank     neighborRank
	protocol netip.Addr // zero: no neighbour is wanted
	nbma     netip.Addr
}

// neighbor is the wanted neighbour for one overlay address, with all reasons for it.
type neighbor struct {
	nbma   netip.Addr        // the kernel should have the neighbour at this address
	routed bool              // the kernel should have a host route to the overlay address
	known  bool              // look-ups of the engine see that route
	claims []*neighborClaim  // by rank, then by age: the first decides
	first  [1]*neighborClaim // backs claims while there is only one
}

// wantNeighbor makes c a reason to reach protocol at nbma. If a reason of higher rank says that
// protocol is reached elsewhere, that reason decides.
func (e *Engine) wantNeighbor(
	c *neighborClaim, ifc *iface, rank neighborRank, protocol, nbma netip.Addr,
) {
	if c.protocol == protocol && c.nbma == nbma {
		return
	}
	if c.protocol != protocol {
		e.dropNeighbor(c)
	}
	isNew := c.protocol != protocol
	*c = neighborClaim{ifc: ifc, rank: rank, protocol: protocol, nbma: nbma}
	n := ifc.neighbors[protocol]
	if n == nil {
		n = ifc.pools.neighbors.take()
		n.claims = n.first[:0]
		ifc.neighbors[protocol] = n
	}
	if isNew {
		at := len(n.claims)
		for at > 0 && n.claims[at-1].rank > rank {
			at--
		}
		n.claims = slices.Insert(n.claims, at, c)
	}
	e.reviseNeighbor(ifc, protocol, n)
}

// dropNeighbor ends a reason for a neighbour. Without a reason the neighbour is withdrawn.
func (e *Engine) dropNeighbor(c *neighborClaim) {
	if !c.protocol.IsValid() {
		return
	}
	protocol := c.protocol
	c.protocol, c.nbma = netip.Addr{}, netip.Addr{}
	n := c.ifc.neighbors[protocol]
	n.claims = without(n.claims, c)
	e.reviseNeighbor(c.ifc, protocol, n)
}

// reviseNeighbor tells the kernel which neighbour and host route follow from the reasons for it.
func (e *Engine) reviseNeighbor(ifc *iface, protocol netip.Addr, n *neighbor) {
	if len(n.claims) == 0 {
		e.reviseHostRoute(ifc, protocol, n)
		delete(ifc.neighbors, protocol)
		e.out.Neighbors = append(e.out.Neighbors,
			NeighborChange{Interface: ifc.cfg.Name, Protocol: protocol, NBMA: n.nbma, Delete: true})
		return
	}
	if best := n.best(); n.nbma != best.nbma {
		n.nbma = best.nbma
		e.out.Neighbors = append(e.out.Neighbors,
			NeighborChange{Interface: ifc.cfg.Name, Protocol: protocol, NBMA: n.nbma})
	}
	e.reviseHostRoute(ifc, protocol, n)
}

// best returns the reason that decides.
func (n *neighbor) best() *neighborClaim { return n.claims[0] }
