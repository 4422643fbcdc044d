package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// This file simulates routers behind one NAT address, as vici/sharing.go and nhrpd/marks.go treat
// them. When a second router appears at an address, the daemon loads a connection whose SAs get a
// mark each. The daemon then closes the SAs of all but the first router. The other routers come
// back with a mark, and the engine knows them by it. A node that cannot use marks sends all packets
// to such an address through the newest SA there.

// The rules that this file checks.
const (
	ruleApart = "routers behind one NAT never talk to each other directly"
	ruleLed   = "a marked peer's outer address is known before it is used"
	ruleBound = "who is registered is reached by its binding"
	ruleFlap  = "an SA with a hub stays where nothing happens"
)

// unloaded is how long no router must be at a shared address before the daemon unloads the
// connection for that address.
const unloaded = 5 * time.Minute

// checkParked checks that a neighbour does not wait at a parked peer for longer than the grace time
// that the engine gives to any peer that a restarted charon does not list.
func (n *node) checkParked(protocol netip.Addr, id peerid.ID) {
	boots, since := n.boots, n.w.now
	n.w.after(int64(max(resyncGrace, restoreGrace)+time.Second), func() {
		if n.boots == boots && n.wanted.neighbors[protocol] == id && !n.leaptAround(since) {
			n.w.violate(ruleSecured, n, "neighbour %s at %s is wanted for too long", protocol, id)
		}
	})
}

// sharing is the state of an address at which several routers are, or were lately.
type sharing struct {
	loaded bool  // charon has the connection that gives marks
	seen   int64 // when a router was last at the address
}

// enter adds a new SA that the other end initiated.
func (n *node) enter(e *saEnd) {
	e.charon, e.kernel = true, true
	e.remote = peerid.At(e.address)
	if s := n.shared[e.address]; s != nil && s.loaded {
		n.marks++
		e.remote = peerid.Marked(n.marks)
	}
	n.file(e)
	n.evaluate(e.remote, "")
	n.watchSharing(e.address)
}

// file adds an end to the list of its peer, which is ordered by age.
func (n *node) file(e *saEnd) {
	list := n.ends[e.remote]
	i := slices.IndexFunc(list, func(o *saEnd) bool { return o.id > e.id })
	if i < 0 {
		i = len(list)
	}
	n.ends[e.remote] = slices.Insert(list, i, e)
}

// unfile removes an end from the list of its peer.
func (n *node) unfile(e *saEnd) {
	rest := slices.DeleteFunc(n.ends[e.remote], func(o *saEnd) bool { return o == e })
	if n.ends[e.remote] = rest; len(rest) == 0 {
		delete(n.ends, e.remote)
	}
}

// dropMarked removes the SAs with marks that a killed charon left in the kernel, before the new
// charon gives the same marks to other routers.
func (n *node) dropMarked() {
	for _, e := range n.all() {
		if e.remote.Shares() && !e.charon {
			e.kernel = false
			n.unfile(e)
		}
	}
}

// protecting returns the ends with a peer that charon knows, the oldest first.
func (n *node) protecting(remote peerid.ID) []*saEnd {
	var list []*saEnd
	for _, e := range n.ends[remote] {
		if e.charon {
			list = append(list, e)
		}
	}
	return list
}

// behindOneNAT reports whether ends belong to different routers behind a NAT.
func behindOneNAT(list []*saEnd) bool {
	for _, a := range list {
		for _, b := range list {
			if a.far.node != b.far.node && a.far.node.nat != noNAT {
				return true
			}
		}
	}
	return false
}

// securing returns the end that charon's client reports to the engine, or nil. If several routers
// behind a NAT are at the address, it is the oldest end of the router that was reported before;
// otherwise it is the oldest end of the router whose SA is the newest.
func (n *node) securing(remote peerid.ID) *saEnd {
	list := n.protecting(remote)
	if len(list) == 0 {
		return nil
	}
	of := func(identity string) *saEnd {
		if i := slices.IndexFunc(
			list,
			func(e *saEnd) bool { return e.far.node.identity == identity },
		); i >= 0 {
			return list[i]
		}
		return list[0]
	}
	if behindOneNAT(list) {
		return of(n.told[remote].Identity)
	}
	return of(list[len(list)-1].far.node.identity)
}

// others returns the identities of the other routers at the address of an end's peer.
func (n *node) others(e *saEnd) []string {
	list := n.protecting(e.remote)
	if !behindOneNAT(list) {
		return nil
	}
	var names []string
	for _, o := range list {
		if o.far.node != e.far.node {
			names = append(names, o.far.node.identity)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// watchSharing makes routers behind one address get marks, if the node can use marks.
func (n *node) watchSharing(address netip.Addr) {
	w := n.w
	s := n.shared[address]
	switch {
	case !n.canMark || !n.daemonUp || s == nil && !behindOneNAT(n.protecting(peerid.At(address))):
		return
	case s != nil && s.loaded:
		n.sendAway(address)
		return
	case s != nil:
		return
	}
	s = &sharing{seen: w.now}
	n.shared[address] = s
	w.after(w.between(2*time.Millisecond, 50*time.Millisecond), func() {
		s.loaded = true
		if n.shared[address] == s && n.charonUp {
			n.sendAway(address)
		}
	})
}

// sendAway closes the SAs without a mark at a shared address, except those of one router.
func (n *node) sendAway(address netip.Addr) {
	list := n.protecting(peerid.At(address))
	if !behindOneNAT(list) {
		return
	}
	stays := n.securing(peerid.At(address)).far.node
	for _, e := range list {
		if e.far.node != stays {
			e.end("to come back with a mark")
		}
	}
}

// unloadShared forgets shared addresses at which no router has been for a while.
func (n *node) unloadShared() {
	for a, s := range n.shared {
		if slices.ContainsFunc(n.all(), func(e *saEnd) bool { return e.charon && e.address == a }) {
			s.seen = n.w.now
		} else if n.w.now-s.seen > int64(unloaded) {
			delete(n.shared, a)
		}
	}
}

// lead takes over from the engine the outer address of each marked peer.
func (n *node) lead(changes []engine.MarkedChange) {
	for _, c := range changes {
		if c.Delete {
			delete(n.outer, peerid.Marked(c.Mark))
		} else {
			n.outer[peerid.Marked(c.Mark)] = c.Outer
		}
	}
}

// mappingMoves handles a new address of the NAT in front of a router. Most of the router's peers
// notice the new address with the router's next packet. The others find the router dead.
func (w *world) mappingMoves(n *node) {
	to := n.public
	for _, e := range n.all() {
		if w.chance(0.8) {
			w.after(w.between(50*time.Millisecond, 10*time.Second), func() {
				if e.charon && n.charonUp && n.public == to && w.carries(n, e.far.node) {
					e.far.follow(to)
				}
			})
		}
	}
}

// follow makes an end send to the address at which its peer is now.
func (e *saEnd) follow(to netip.Addr) {
	n, from := e.node, e.remote
	if !e.charon || !n.charonUp || e.address == to {
		return
	}
	e.address = to
	if from.Shares() {
		n.evaluate(from, "")
		return
	}
	n.unfile(e)
	e.remote = peerid.At(to)
	n.file(e)
	if !n.tellMoved(from, e.remote) {
		n.evaluate(from, "the peer moved")
		n.evaluate(e.remote, "")
	}
	n.watchSharing(to)
}

// tellMoved tells the daemon that a peer has moved, and reports whether it did. It tells the daemon
// only if the peer has no SA left at the old address and no other router was at the new one.
func (n *node) tellMoved(from, to peerid.ID) bool {
	was, before := n.told[from]
	there, taken := n.told[to]
	e := n.securing(to)
	if !n.daemonUp || !before || taken && there.Identity != was.Identity ||
		len(n.protecting(from)) > 0 || e.far.node.identity != was.Identity {
		return false
	}
	delete(n.told, from)
	n.told[to] = e.peer()
	n.post(engine.PeerMoved{From: from, Peer: e.peer()})
	n.settle(from)
	n.settle(to)
	return true
}

// shares reports whether a router shares its address with others, or did so a moment ago.
func (n *node) shares() bool { return len(n.w.byAddr[n.public]) > 1 || n.w.now < n.ambiguousUntil }

// muddled reports whether a node on a path cannot tell the routers at the ends of a flow from the
// others behind the same NAT address.
func (w *world) muddled(path []*node, from, to *node) bool {
	return (from.shares() || to.shares()) &&
		slices.ContainsFunc(path, func(n *node) bool { return !n.canMark })
}

// moveNAT gives a NAT another address, if the node and at least one other are behind that NAT.
func (w *world) moveNAT(n *node) {
	list, to := slices.Clone(w.byAddr[n.public]), w.newAddress()
	if n.nat == noNAT || len(list) < 2 {
		return
	}
	for _, m := range list {
		w.moveTo(m, to)
	}
}

// joinNAT moves a router behind the NAT of another router.
func (w *world) joinNAT(n, m *node) {
	if w.OneNAT && n != m && n.hidden() && m.hidden() && len(w.byAddr[m.public]) < mostTogether {
		w.moveTo(n, m.public)
	}
}

// hidden reports whether a router is behind a NAT that may have other routers behind it too. Other
// routers cannot begin an exchange with such a router.
func (n *node) hidden() bool { return n.nat == restricted || n.nat == symmetric }

// mostTogether is how many routers are behind one NAT address at most.
const mostTogether = 4

// crowd puts a spoke behind a NAT: behind that of other spokes, or behind one of its own that
// others can join.
func (w *world) crowd(n *node) {
	n.hide(anyOf(w, []natKind{restricted, symmetric}))
	for _, m := range w.spokes() {
		if m != n && m.hidden() && len(w.byAddr[m.public]) < mostTogether && w.chance(0.7) {
			n.takeAddress(m.public)
			return
		}
	}
}

// auditBound checks that each hub sends packets for a registered spoke to that spoke.
func (w *world) auditBound() {
	for _, n := range w.spokes() {
		for _, h := range n.nhs {
			pair := []*node{n, h}
			if !n.well() || !h.well() ||
				w.deaf(pair) ||
				w.disturbed(pair) ||
				w.cut(n, h) ||
				w.now < w.pairQuiet[pairOf(n, h)] ||
				w.muddled(pair, n, n) {
				continue
			}
			id := h.neighbors[n.home]
			var at *node
			if e := h.outbound(id); e != nil {
				at = e.far.node
			} else if w.Unprotected {
				at = w.at(id.Address())
			}
			if at != n {
				w.violateAt(ruleBound, pair, h.name+" has "+n.name+" at "+id.String())
				return
			}
		}
	}
}

// checkFlapping checks that a spoke does not make SAs with its hubs again and again without a
// fault.
func (w *world) checkFlapping(n, m *node) {
	if !m.hub || n.hub || w.disturbed([]*node{n, m}) || w.now < w.pairQuiet[pairOf(n, m)] {
		return
	}
	const remade, within = 2, 10 * minute
	recent := slices.DeleteFunc(n.remade, func(at int64) bool { return w.now-at > within })
	if n.remade = append(recent, w.now); len(n.remade) > remade*len(n.nhs) {
		w.violateAt(ruleFlap, []*node{n, m}, n.name+" has made SAs with its hubs too often")
	}
}
