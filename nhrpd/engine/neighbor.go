package engine

import (
	"net/netip"
	"slices"
)

// neighborRank orders those who want a neighbour for one overlay address: the first decides.
type neighborRank uint8

const (
	rankMap neighborRank = iota
	rankNHS
	rankBinding
	rankShortcut
	rankRelay
)

// neighborClaim is its owner's wish for a neighbour. It lives in its owner and must not be copied.
type neighborClaim struct {
	ifc      *iface
	rank     neighborRank
	protocol netip.Addr // zero: no wish
	nbma     netip.Addr
}

// neighbor is one overlay address's entry.
type neighbor struct {
	nbma   netip.Addr        // what is wanted of the kernel
	routed bool              // a host route to it is wanted of the kernel
	known  bool              // look-ups see that route
	claims []*neighborClaim  // by rank, equal ones by age: the first decides
	first  [1]*neighborClaim // memory of claims, as long as there is one
}

// wantNeighbor makes protocol be reached at nbma, unless somebody of higher rank knows better.
func (e *Engine) wantNeighbor(c *neighborClaim, ifc *iface, rank neighborRank, protocol, nbma netip.Addr) {
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

// dropNeighbor ends the wish.
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
		e.out.Neighbors = append(e.out.Neighbors, NeighborChange{Interface: ifc.cfg.Name, Protocol: protocol, NBMA: n.nbma})
	}
	e.reviseHostRoute(ifc, protocol, n)
}

// best is the wish that decides.
func (n *neighbor) best() *neighborClaim { return n.claims[0] }
