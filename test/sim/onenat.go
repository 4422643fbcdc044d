package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"
)

// Routers behind one NAT address, as vici/sharing.go and nhrpd/marked.go have it: once a second one is seen at an address, a connection is
// loaded whose SAs get a mark each, all but the first router are sent away, and come back with a mark: a name in the place of the address.
// Where a node can do without marks only, what it sends to such an address reaches the newest SA there.

const (
	ruleApart = "routers behind one NAT never talk to each other directly"
	ruleLed   = "a name leads to the address behind it before it is used"
	ruleBound = "who is registered is reached by its binding"
	ruleFlap  = "an SA with a hub stays where nothing happens"
)

// unloaded is how long nobody was at a shared address before its connection goes.
const unloaded = 5 * time.Minute

// isName says whether it stands for one of several routers behind one address.
func isName(a netip.Addr) bool { return a.As4()[0] == 0 }

// retired are the names under which the engine has those wait whose marks ended with a killed charon. They lead nowhere.
var retired = netip.MustParsePrefix("0.255.0.0/16")

// judgeRetired looks whether something waits there for longer than for others that a restarted charon does not list.
func (n *node) judgeRetired(protocol, name netip.Addr) {
	boots, since := n.boots, n.w.now
	n.w.after(int64(max(resyncGrace, restoreGrace)+time.Second), func() {
		if n.boots == boots && n.wanted.neighbors[protocol] == name && !n.leaptAround(since) {
			n.w.violate(ruleSecured, n, "neighbour %s at %s is wanted for too long", protocol, name)
		}
	})
}

// sharing is an address that several routers are at, or were lately.
type sharing struct {
	loaded bool  // its connection gives marks
	seen   int64 // when somebody was there last
}

// enter takes a new SA that the other end initiated.
func (n *node) enter(e *saEnd) {
	e.charon, e.kernel = true, true
	e.remote = e.address
	if s := n.shared[e.address]; s != nil && s.loaded {
		n.marks++
		e.remote = v4(n.marks)
	}
	n.file(e)
	n.evaluate(e.remote, "")
	n.watchSharing(e.address)
}

// file adds an end to those of its peer, by age.
func (n *node) file(e *saEnd) {
	list := n.ends[e.remote]
	i := slices.IndexFunc(list, func(o *saEnd) bool { return o.id > e.id })
	if i < 0 {
		i = len(list)
	}
	n.ends[e.remote] = slices.Insert(list, i, e)
}

// unfile takes it away there.
func (n *node) unfile(e *saEnd) {
	rest := slices.DeleteFunc(n.ends[e.remote], func(o *saEnd) bool { return o == e })
	if n.ends[e.remote] = rest; len(rest) == 0 {
		delete(n.ends, e.remote)
	}
}

// dropMarked ends what a killed charon left in the kernel with marks, before the next one gives the same to others.
func (n *node) dropMarked() {
	for _, e := range n.all() {
		if isName(e.remote) && !e.charon {
			e.kernel = false
			n.unfile(e)
		}
	}
}

// protecting are the ends with a peer that charon knows of, oldest first.
func (n *node) protecting(remote netip.Addr) []*saEnd {
	var list []*saEnd
	for _, e := range n.ends[remote] {
		if e.charon {
			list = append(list, e)
		}
	}
	return list
}

// behindOneNAT says whether ends are with different routers that a NAT hides.
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

// securing is the end that the daemon is told of: the oldest of the router that has the address, or that was told before.
func (n *node) securing(remote netip.Addr) *saEnd {
	list := n.protecting(remote)
	if len(list) == 0 {
		return nil
	}
	of := func(identity string) *saEnd {
		if i := slices.IndexFunc(list, func(e *saEnd) bool { return e.far.node.identity == identity }); i >= 0 {
			return list[i]
		}
		return list[0]
	}
	if behindOneNAT(list) {
		return of(n.told[remote].Identity)
	}
	return of(list[len(list)-1].far.node.identity)
}

// others are the further identities at the address of an end's peer.
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

// watchSharing sees to it that routers behind one address get marks.
func (n *node) watchSharing(address netip.Addr) {
	w := n.w
	s := n.shared[address]
	switch {
	case !n.canMark || !n.daemonUp || s == nil && !behindOneNAT(n.protecting(address)):
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

// sendAway closes the SAs without a mark at a shared address but for those of one router.
func (n *node) sendAway(address netip.Addr) {
	list := n.protecting(address)
	if !behindOneNAT(list) {
		return
	}
	stays := n.securing(address).far.node
	for _, e := range list {
		if e.far.node != stays {
			e.end("to come back with a mark")
		}
	}
}

// unloadShared forgets addresses that nobody is at any more.
func (n *node) unloadShared() {
	for a, s := range n.shared {
		if slices.ContainsFunc(n.all(), func(e *saEnd) bool { return e.charon && e.address == a }) {
			s.seen = n.w.now
		} else if n.w.now-s.seen > int64(unloaded) {
			delete(n.shared, a)
		}
	}
}

// lead takes where names lead.
func (n *node) lead(changes []engine.MarkedChange) {
	for _, c := range changes {
		if c.Delete {
			delete(n.led, c.NBMA)
		} else {
			n.led[c.NBMA] = c.Real
		}
	}
}

// mappingMoves has the other ends of a router behind a NAT see it at another address, with its next packet; or find it dead.
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

// follow has an end send to where its peer is now.
func (e *saEnd) follow(to netip.Addr) {
	n, from := e.node, e.remote
	if !e.charon || !n.charonUp || e.address == to {
		return
	}
	e.address = to
	if isName(from) {
		n.evaluate(from, "")
		return
	}
	n.unfile(e)
	e.remote = to
	n.file(e)
	if !n.tellMoved(from, to) {
		n.evaluate(from, "the peer moved")
		n.evaluate(to, "")
	}
	n.watchSharing(to)
}

// tellMoved tells the daemon that a peer which has no SA left at one address is at another, if nobody was there.
func (n *node) tellMoved(from, to netip.Addr) bool {
	was, before := n.told[from]
	_, taken := n.told[to]
	e := n.securing(to)
	if !n.daemonUp || !before || taken || len(n.protecting(from)) > 0 || e.far.node.identity != was.Identity {
		return false
	}
	delete(n.told, from)
	n.told[to] = e.peer()
	n.post(engine.PeerMoved{From: from, Peer: e.peer()})
	n.settle(from)
	n.settle(to)
	return true
}

// shares says whether a router is, or was a moment ago, not the only one at its address.
func (n *node) shares() bool { return len(n.w.byAddr[n.public]) > 1 || n.w.now < n.mixedUntil }

// muddled says whether a node on a path cannot tell the ends of a flow from their neighbours.
func (w *world) muddled(path []*node, from, to *node) bool {
	return (from.shares() || to.shares()) && slices.ContainsFunc(path, func(n *node) bool { return !n.canMark })
}

// moveNAT gives a NAT, with all who are behind it, another address.
func (w *world) moveNAT(n *node) {
	list, to := slices.Clone(w.byAddr[n.public]), w.newAddress()
	if n.nat == noNAT || len(list) < 2 {
		return
	}
	for _, m := range list {
		w.moveTo(m, to)
	}
}

// joinNAT moves a router behind the NAT of another one.
func (w *world) joinNAT(n, m *node) {
	if w.OneNAT && n != m && n.hidden() && m.hidden() && len(w.byAddr[m.public]) < mostTogether {
		w.moveTo(n, m.public)
	}
}

// hidden says whether a router's NAT may have others behind it: it is never dialled.
func (n *node) hidden() bool { return n.nat == restricted || n.nat == symmetric }

// mostTogether is how many routers are behind one NAT address.
const mostTogether = 4

// crowd puts a spoke behind a NAT with others, or before others.
func (w *world) crowd(n *node) {
	n.hide(anyOf(w, []natKind{restricted, symmetric}))
	for _, m := range w.spokes() {
		if m != n && m.hidden() && len(w.byAddr[m.public]) < mostTogether && w.chance(0.7) {
			n.takeAddress(m.public)
			return
		}
	}
}

// auditBound looks whether hubs send what is for a router to that router.
func (w *world) auditBound() {
	for _, n := range w.spokes() {
		for _, h := range n.nhs {
			pair := []*node{n, h}
			if !n.well() || !h.well() || w.deaf(pair) || w.disturbed(pair) || w.cut(n, h) || w.now < w.pairQuiet[pairOf(n, h)] || w.muddled(pair, n, n) {
				continue
			}
			nbma := h.neighbors[n.home]
			var at *node
			if e := h.outbound(nbma); e != nil {
				at = e.far.node
			} else if w.Unprotected {
				at = w.at(nbma)
			}
			if at != n {
				w.violateAt(ruleBound, pair, h.name+" has "+n.name+" at "+nbma.String())
				return
			}
		}
	}
}

// judgeFlapping looks whether an SA with a hub is made again and again.
func (w *world) judgeFlapping(n, m *node) {
	if !m.hub || n.hub || w.disturbed([]*node{n, m}) || w.now < w.pairQuiet[pairOf(n, m)] {
		return
	}
	const remade, within = 2, 10 * minute
	recent := slices.DeleteFunc(n.remade, func(at int64) bool { return w.now-at > within })
	if n.remade = append(recent, w.now); len(n.remade) > remade*len(n.nhs) {
		w.violateAt(ruleFlap, []*node{n, m}, n.name+" has made SAs with its hubs too often")
	}
}
