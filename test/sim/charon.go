package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// charon is a node's strongSwan, and what the daemon knows of it.
type charon struct {
	ends     map[peerid.ID][]*saEnd // the oldest first
	dials    map[peerid.ID]*dial
	told     map[peerid.ID]engine.Peer // the peers that the daemon believes secured
	shared   map[netip.Addr]*sharing
	marks    uint32 // number of marks given out
	postedAt int64  // when the last event under way will reach the daemon
}

// saEnd is one end's half of an SA, with what this end believes about the SA.
type saEnd struct {
	id        uint64
	node      *node
	far       *saEnd
	remote    peerid.ID  // the peer at this end
	address   netip.Addr // the peer's NBMA address at this end
	initiator bool
	charon    bool // charon has the SA
	kernel    bool // the kernel has the SA and passes traffic through it
	suspected bool // dead peer detection is under way
}

// clear sets the state of a charon without SAs.
func (c *charon) clear() {
	c.ends = make(map[peerid.ID][]*saEnd)
	c.dials = make(map[peerid.ID]*dial)
	c.told = make(map[peerid.ID]engine.Peer)
	c.shared, c.marks = make(map[netip.Addr]*sharing), 0
}

// Dead peer detection asks every 10 s and gives up after 11 s without an answer: see
// profile.DefaultDPDDelay.
const (
	deadPeerLeast = 11 * time.Second
	deadPeerMost  = 22 * time.Second

	// The daemon removes the SAs that a killed charon left in the kernel so long after the new
	// charon started: those of a peer with a new SA, and all others (see package espstate).
	replacedLeast = 10 * time.Second
	replacedMost  = 20 * time.Second
	orphansLeast  = 40 * time.Second
	orphansMost   = 50 * time.Second
)

// works reports whether packets through this end reach the other.
func (e *saEnd) works() bool {
	return e.fits() && e.node.w.reaches(e.node, e.far.node)
}

// fits reports whether each end is at the address at which the other believes it to be.
func (e *saEnd) fits() bool {
	return e.address == e.far.node.public && e.far.address == e.node.public
}

// outbound returns the end through which packets to a peer leave: the newest. It returns nil if
// there is none.
func (n *node) outbound(to peerid.ID) *saEnd {
	for _, e := range slices.Backward(n.ends[to]) {
		if e.kernel && (!to.Shares() || n.outer[to] == e.address) {
			return e
		}
	}
	return nil
}

// secures reports whether charon has an SA with a peer.
func (n *node) secures(remote peerid.ID) bool { return n.securing(remote) != nil }

// peer returns the peer of an end as the engine hears of it.
func (e *saEnd) peer() engine.Peer {
	m := e.far.node
	p := engine.Peer{
		Interface: device,
		ID:        e.remote,
		Outer:     e.address,
		Identity:  m.identity,
		Initiator: e.initiator,
		LocalNAT:  e.node.nat != noNAT,
		RemoteNAT: m.nat != noNAT,
	}
	if p.SharedWith = e.node.others(e); len(p.SharedWith) > 0 {
		p.Separating = e.node.canMark
	}
	return p
}

// establish makes an SA between two nodes, of which n is the initiator. The responder has the SA at
// once, the initiator when the last message of the exchange has arrived.
func (w *world) establish(n, m *node) {
	w.SAs++
	if n.public == m.public {
		w.violateAt(ruleApart, []*node{n, m},
			n.name+" and "+m.name+" are behind one NAT, and have an SA")
	}
	a := &saEnd{id: w.SAs, node: n, remote: peerid.At(m.public), address: m.public, initiator: true}
	b := &saEnd{id: w.SAs, node: m, address: n.public, far: a, charon: true, kernel: true}
	a.far = b
	m.enter(b)
	w.checkFlapping(n, m)
	d, boots := n.dials[a.remote], n.boots
	w.after(w.oneWay(n, m), func() {
		if !n.charonUp || n.boots != boots || n.dials[a.remote] != d || !a.works() || !b.charon {
			b.suspect()
			n.failLater(a.remote, d)
			return
		}
		a.charon, a.kernel = true, true
		n.file(a)
		d.over()
		n.evaluate(a.remote, "")
	})
}

// evaluate tells the daemon if a peer is secured, has changed or was lost, and begins an attempt to
// secure the peer if the engine wants that.
func (n *node) evaluate(remote peerid.ID, reason string) {
	if !n.daemonUp || !n.charonUp {
		return
	}
	was, before := n.told[remote]
	if e := n.securing(remote); e != nil {
		if is := e.peer(); !is.Equal(was) {
			n.told[remote] = is
			n.post(engine.PeerSecured{Peer: is})
		}
	} else if before {
		delete(n.told, remote)
		n.post(engine.PeerLost{Interface: device, ID: remote, Reason: reason})
	}
	n.settle(remote)
}

// post hands an event to the daemon a little later. Events arrive in the order of the calls.
func (n *node) post(ev engine.Event) {
	boots := n.boots
	n.postedAt = max(n.postedAt, n.w.now+n.w.between(200*time.Microsecond, 2*time.Millisecond))
	n.w.queue.push(n.postedAt, func() {
		if n.boots == boots && n.daemonUp {
			n.hear(ev)
		}
	})
}

// snapshot tells the daemon all peers with which charon has SAs, and to which the kernel has some.
// It begins attempts to secure the other peers that the engine wants.
func (n *node) snapshot() {
	ev := engine.PeersSecured{Interface: device, InKernel: make(map[netip.Addr]bool)}
	for _, e := range n.all() {
		if e.kernel && !e.remote.Shares() {
			ev.InKernel[e.address] = true
		}
	}
	clear(n.told)
	for _, a := range sortedIDs(n.ends) {
		if e := n.securing(a); e != nil {
			n.told[a] = e.peer()
			ev.Peers = append(ev.Peers, e.peer())
		}
	}
	n.hear(ev)
	for _, a := range sortedIDs(n.ends) {
		if !a.Shares() {
			n.watchSharing(a.Address())
		}
	}
	for _, a := range sortedIDs(n.wanted.peers) {
		n.settle(a)
	}
}

// remove removes this end of an SA without telling the other end.
func (e *saEnd) remove(reason string) {
	n := e.node
	e.charon, e.kernel = false, false
	n.unfile(e)
	n.evaluate(e.remote, reason)
}

// suspect makes dead peer detection find out whether the other end still has the SA.
func (e *saEnd) suspect() {
	w := e.node.w
	if !e.charon || e.suspected {
		return
	}
	e.suspected = true
	w.after(w.between(deadPeerLeast, deadPeerMost), func() {
		e.suspected = false
		if !e.charon || e.far.charon && e.works() {
			return
		}
		e.node.log.add(w.now, "dead peer", e.remote, "")
		e.remove("the peer is dead")
		e.far.suspect()
	})
}

// end closes an SA and tells the other end, if the message can reach it.
func (e *saEnd) end(reason string) {
	far, works := e.far, e.works()
	e.remove(reason)
	if !works {
		far.suspect()
		return
	}
	w := e.node.w
	w.after(w.oneWay(e.node, far.node), func() {
		if far.charon && far.node.charonUp {
			far.remove("closed by the peer")
		}
	})
}

// closeSoon ends the SAs with a peer once the kernel has taken the changes before, so that no
// neighbour or route leads to the peer any more.
func (n *node) closeSoon(remote peerid.ID) {
	n.inKernel(func() {
		for _, e := range slices.Clone(n.ends[remote]) {
			if e.charon {
				e.end("closed by this end")
			}
		}
	})
}

// all returns the node's ends, ordered by peer and age.
func (n *node) all() []*saEnd {
	var list []*saEnd
	for _, a := range sortedIDs(n.ends) {
		list = append(list, n.ends[a]...)
	}
	return list
}

// stopCharon ends charon. A charon that is stopped deletes its SAs and tells the peers; a charon
// that is killed leaves its SAs in the kernel.
func (n *node) stopCharon(killed bool) {
	n.charonUp = false
	n.stopDialling()
	for _, e := range n.all() {
		switch {
		case !killed && e.charon:
			e.end("")
		default:
			e.charon = false
			e.far.suspect()
		}
	}
}

// startCharon starts charon again. The new charon knows no SAs.
func (n *node) startCharon() {
	n.charonUp, n.marks = true, 0
	n.dropMarked()
	orphans := n.all()
	if n.daemonUp {
		n.snapshot()
	}
	remove := func(least, most time.Duration, which func(*saEnd) bool) {
		n.w.after(n.w.between(least, most), func() {
			for _, e := range orphans {
				if e.kernel && !e.charon && which(e) {
					e.remove("")
				}
			}
		})
	}
	remove(replacedLeast, replacedMost, func(e *saEnd) bool { return n.secures(e.remote) })
	remove(orphansLeast, orphansMost, func(*saEnd) bool { return true })
}
