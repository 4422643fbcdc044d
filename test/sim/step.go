package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// wanted is what a node's engine wants, and what the engine knows of its peers. The simulation
// checks every step of the engine against it.
type wanted struct {
	neighbors map[netip.Addr]peerid.ID
	pointing  map[peerid.ID]int     // number of neighbours at each peer
	owners    map[netip.Addr]string // identities to which overlay addresses belong
	routes    map[netip.Prefix]netip.Addr
	peers     map[peerid.ID]engine.Security
	known     map[peerid.ID]string   // identities of the peers that the engine knows as secured
	sharing   map[peerid.ID][]string // further identities at the same address
	lostAt    map[peerid.ID]int64    // when the SA of a peer was lost
}

// clear forgets everything.
func (x *wanted) clear() {
	*x = wanted{
		neighbors: make(map[netip.Addr]peerid.ID),
		pointing:  make(map[peerid.ID]int),
		owners:    make(map[netip.Addr]string),
		routes:    make(map[netip.Prefix]netip.Addr),
		peers:     make(map[peerid.ID]engine.Security),
		known:     make(map[peerid.ID]string),
		sharing:   make(map[peerid.ID][]string),
		lostAt:    make(map[peerid.ID]int64),
	}
}

// knows records a peer that the engine hears of as secured.
func (x *wanted) knows(p engine.Peer) {
	x.known[p.ID], x.sharing[p.ID] = p.Identity, p.SharedWith
	delete(x.lostAt, p.ID)
}

// identity returns the identity that a peer proved. It returns an empty text if no peer or several
// peers are there.
func (x *wanted) identity(id peerid.ID) string {
	if len(x.sharing[id]) > 0 {
		return ""
	}
	return x.known[id]
}

// The grace times of the engine: what depends on a peer outlives the peer's SA by such a time, and
// is not used meanwhile.
const (
	lostGrace    = 5 * time.Second  // after the SA was lost
	resyncGrace  = 30 * time.Second // after a restart of charon
	restoreGrace = 30 * time.Second // after the daemon restarted, for peers charon does not list
)

// Rules that are checked in more than one place.
const (
	ruleArrives = "data between routers with a working path arrives"
	ruleSecured = "nothing is wanted of, and nothing sent to, a peer without an SA"
	ruleWanted  = "wanted state is handed on as changes of what was wanted before"
	ruleOwner   = "an overlay address belongs to the identity that registered it until its binding ends"
	ruleExpired = "no state outlives its holding time"
	ruleLimits  = "tables are bounded"
)

// restoring reports whether the engine still waits to hear that the peers of its saved state are
// secured.
func (n *node) restoring() bool { return n.w.now <= n.bootedAt+int64(restoreGrace) }

// hear hands an event of charon's to the engine, and records what the event says about peers.
func (n *node) hear(ev engine.Event) {
	var lost []peerid.ID
	grace := lostGrace
	switch ev := ev.(type) {
	case engine.PeerSecured:
		n.wanted.knows(ev.Peer)
	case engine.PeerMoved:
		n.wanted.knows(ev.Peer)
		if ev.From != ev.ID {
			lost = append(lost, ev.From)
		}
	case engine.PeerLost:
		lost = append(lost, ev.ID)
	case engine.PeersSecured:
		for _, a := range sortedIDs(n.wanted.known) {
			if !slices.ContainsFunc(ev.Peers, func(p engine.Peer) bool { return p.ID == a }) {
				lost = append(lost, a)
			}
		}
		for _, p := range ev.Peers {
			n.wanted.knows(p)
		}
		grace = resyncGrace
	}
	for _, a := range lost {
		delete(n.wanted.known, a)
		delete(n.wanted.sharing, a)
	}
	n.handle(ev)
	for _, a := range lost {
		n.lost(a, grace)
	}
}

// lost checks what the engine still wants of a peer whose SA was lost: no route from now on, and no
// neighbour after the grace time.
func (n *node) lost(id peerid.ID, grace time.Duration) {
	if n.wanted.pointing[id] == 0 || n.restoring() {
		return
	}
	for prefix, via := range n.wanted.routes {
		if grace == resyncGrace {
			break // routes stay, since the SAs stay in the kernel
		}
		if n.wanted.neighbors[via] == id && n.wanted.known[id] == "" {
			n.w.violate(ruleSecured, n, "route %s via %s is wanted after the SA with %s went",
				prefix, via, id)
		}
	}
	boots, since := n.boots, n.w.now
	n.wanted.lostAt[id] = since
	n.w.after(int64(grace)+second, func() {
		if n.boots != boots || n.wanted.lostAt[id] != since {
			return
		}
		delete(n.wanted.lostAt, id)
		if n.wanted.known[id] == "" && n.wanted.pointing[id] > 0 && !n.leaptAround(since) {
			n.w.violate(ruleSecured, n, "neighbours at %s are wanted %s after its SA went",
				id, grace)
		}
	})
}

// leaptAround reports whether the node's clock jumped after a time or shortly before it. The engine
// may have stood still after such a jump.
func (n *node) leaptAround(at int64) bool { return n.leaptAt > 0 && n.leaptAt+int64(mostBack) > at }

// stepped checks what one step of the engine wants and does.
func (n *node) stepped(out *engine.Output) {
	for i := range out.Neighbors {
		n.steppedNeighbor(&out.Neighbors[i])
	}
	for i := range out.Neighbors {
		n.neighborRests(&out.Neighbors[i])
	}
	for i := range out.Routes {
		n.steppedRoute(&out.Routes[i])
	}
	for i := range out.Routes {
		n.routeRests(&out.Routes[i])
	}
	for i := range out.Packets {
		if p := &out.Packets[i]; !n.mayReach(p.To) {
			n.w.violate(ruleSecured, n, "%s sent to %s", typeOf(p.Data), p.To)
		}
	}
	for _, k := range out.Closed {
		delete(n.wanted.known, k.ID)
	}
}

// steppedNeighbor records a change of a wanted neighbour. It checks that the change fits what was
// wanted before, and that an overlay address stays with its owner.
func (n *node) steppedNeighbor(c *engine.NeighborChange) {
	x := &n.wanted
	have, there := x.neighbors[c.Protocol]
	if there {
		x.pointing[have]--
		if x.pointing[have] == 0 {
			delete(x.pointing, have)
		}
	}
	if c.Delete {
		if !there || have != c.Peer {
			n.w.violate(ruleWanted, n, "neighbour %s at %s is withdrawn, but %s is wanted",
				c.Protocol, c.Peer, have)
		}
		delete(x.neighbors, c.Protocol)
		delete(x.owners, c.Protocol)
		return
	}
	x.neighbors[c.Protocol] = c.Peer
	x.pointing[c.Peer]++
	identity := x.identity(c.Peer)
	if n.w.Unprotected {
		n.steppedUnique(c, have, there)
		return
	}
	switch owner := x.owners[c.Protocol]; {
	case there && have == c.Peer:
		n.w.violate(ruleWanted, n, "neighbour %s at %s is wanted twice", c.Protocol, c.Peer)
	case n.hub && n.canMark && owner != "" && identity != "" && owner != identity:
		n.w.violate(ruleOwner, n, "%s moved from %s to %s", c.Protocol, owner, identity)
	}
	x.owners[c.Protocol] = identity
}

// steppedUnique checks in a network without IPsec, where no router proves an identity, that no
// router takes an address that another router has registered as unique.
func (n *node) steppedUnique(c *engine.NeighborChange, have peerid.ID, there bool) {
	if owner := n.w.byOverlay[c.Protocol]; there && n.hub &&
		owner != nil &&
		peerid.At(owner.public) == have &&
		slices.Contains(owner.nhs, n) &&
		owner.cfg.Unique {
		n.w.violate(ruleOwner, n, "%s moved from %s to %s", c.Protocol, have, c.Peer)
	}
}

// mayReach reports whether packets may go to a peer: it is secured, or the network has no IPsec.
func (n *node) mayReach(id peerid.ID) bool {
	return n.w.Unprotected || n.wanted.known[id] != ""
}

// neighborRests checks that a neighbour that is wanted after the step has a peer with an SA.
func (n *node) neighborRests(c *engine.NeighborChange) {
	if n.wanted.neighbors[c.Protocol] != c.Peer {
		return
	}
	if c.Peer == peerid.At(n.public) && n.w.now > n.movedAt+second {
		n.w.violate(ruleApart, n, "neighbour %s at our own address is wanted", c.Protocol)
	}
	if c.Peer.IsParked() {
		n.checkParked(c.Protocol, c.Peer)
		return
	}
	if c.Peer.Shares() && !n.outer[c.Peer].IsValid() && !n.restoring() {
		n.w.violate(ruleLed, n, "neighbour %s at %s", c.Protocol, c.Peer)
	}
	if n.wanted.neighbors[c.Protocol] == c.Peer && !n.mayReach(c.Peer) && !n.restoring() {
		n.w.violate(ruleSecured, n, "neighbour %s at %s is wanted", c.Protocol, c.Peer)
	}
}

// steppedRoute records a change of a wanted route, and checks that the change fits what was wanted
// before.
func (n *node) steppedRoute(c *engine.RouteChange) {
	x := &n.wanted
	have, there := x.routes[c.Prefix]
	if c.Delete {
		if !there || have != c.NextHop {
			n.w.violate(ruleWanted, n, "route %s via %s is withdrawn, but via %s is wanted",
				c.Prefix, c.NextHop, have)
		}
		delete(x.routes, c.Prefix)
		return
	}
	if there {
		n.w.violate(ruleWanted, n, "route %s is wanted twice", c.Prefix)
	}
	x.routes[c.Prefix] = c.NextHop
}

// routeRests checks that a route that is wanted after the step has a neighbour as its next hop, and
// that the neighbour's peer has an SA.
func (n *node) routeRests(c *engine.RouteChange) {
	x := &n.wanted
	if c.Delete || x.routes[c.Prefix] != c.NextHop {
		return
	}
	switch id := x.neighbors[c.NextHop]; {
	case !id.IsValid():
		n.w.violate(ruleSecured, n, "route %s via %s is wanted without a neighbour",
			c.Prefix, c.NextHop)
	case !n.mayReach(id) && !n.restoring():
		n.w.violate(ruleSecured, n, "route %s via %s at %s is wanted", c.Prefix, c.NextHop, id)
	}
}
