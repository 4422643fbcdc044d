package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"
)

// charon is a node's strongSwan, and the daemon's view of it.
type charon struct {
	ends     map[netip.Addr][]*saEnd // by the peer's NBMA address or name, oldest first
	dials    map[netip.Addr]*dial
	told     map[netip.Addr]engine.Peer // who the daemon was told is secured
	shared   map[netip.Addr]*sharing
	marks    uint32 // given out
	postedAt int64  // when the last event under way will be there
}

// saEnd is one end's half of an SA: what this end believes.
type saEnd struct {
	id        uint64
	node      *node
	far       *saEnd
	remote    netip.Addr // the peer, as it is known here: its address, or a name
	address   netip.Addr // of the peer, as seen from here
	initiator bool
	charon    bool // charon knows of it
	kernel    bool // the kernel passes traffic by it
	suspected bool // dead peer detection is under way
}

func (c *charon) clear() {
	c.ends = make(map[netip.Addr][]*saEnd)
	c.dials = make(map[netip.Addr]*dial)
	c.told = make(map[netip.Addr]engine.Peer)
	c.shared, c.marks = make(map[netip.Addr]*sharing), 0
}

// Dead peer detection every 10 s, which gives up after 11 s without an answer: see profile.DefaultDPDDelay.
const (
	deadPeerLeast = 11 * time.Second
	deadPeerMost  = 22 * time.Second
	// orphanAge is how long SAs that a killed charon left pass traffic after the next one came.
	orphanAge = 40 * time.Second
)

// works says whether packets through this end reach the other.
func (e *saEnd) works() bool {
	return e.fits() && e.node.w.reaches(e.node, e.far.node)
}

// fits says whether both ends are where the other believes.
func (e *saEnd) fits() bool {
	return e.address == e.far.node.public && e.far.address == e.node.public
}

// outbound is the end that packets to an NBMA address go through: the newest.
func (n *node) outbound(to netip.Addr) *saEnd {
	for _, e := range slices.Backward(n.ends[to]) {
		if e.kernel && (!isName(to) || n.led[to] == e.address) {
			return e
		}
	}
	return nil
}

func (n *node) secures(remote netip.Addr) bool { return n.securing(remote) != nil }

func (e *saEnd) peer() engine.Peer {
	m := e.far.node
	p := engine.Peer{Interface: device, NBMA: e.remote, Identity: m.identity, Initiator: e.initiator,
		LocalNAT: e.node.nat != noNAT, RemoteNAT: m.nat != noNAT}
	if isName(e.remote) {
		p.Real = e.address
	}
	if p.SharedWith = e.node.others(e); len(p.SharedWith) > 0 {
		p.Separating = e.node.canMark
	}
	return p
}

// establish makes an SA. The responder has it first, the initiator when the last message of the exchange is there.
func (w *world) establish(n, m *node) {
	w.SAs++
	if n.public == m.public {
		w.violateAt(ruleApart, []*node{n, m}, n.name+" and "+m.name+" are behind one NAT, and have an SA")
	}
	a := &saEnd{id: w.SAs, node: n, remote: m.public, address: m.public, initiator: true}
	b := &saEnd{id: w.SAs, node: m, address: n.public, far: a, charon: true, kernel: true}
	a.far = b
	m.enter(b)
	w.judgeFlapping(n, m)
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

// evaluate tells the daemon what became of a peer, and does what follows.
func (n *node) evaluate(remote netip.Addr, reason string) {
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
		n.post(engine.PeerLost{Interface: device, NBMA: remote, Reason: reason})
	}
	n.settle(remote)
}

// post hands an event to the daemon, in order.
func (n *node) post(ev engine.Event) {
	boots := n.boots
	n.postedAt = max(n.postedAt, n.w.now+n.w.between(200*time.Microsecond, 2*time.Millisecond))
	n.w.queue.push(n.postedAt, func() {
		if n.boots == boots && n.daemonUp {
			n.hear(ev)
		}
	})
}

// snapshot tells the daemon all that charon has, and dials who is wanted.
func (n *node) snapshot() {
	ev := engine.PeersSecured{Interface: device}
	clear(n.told)
	for _, a := range sortedAddrs(n.ends) {
		if e := n.securing(a); e != nil {
			n.told[a] = e.peer()
			ev.Peers = append(ev.Peers, e.peer())
		}
	}
	n.hear(ev)
	for _, a := range sortedAddrs(n.ends) {
		n.watchSharing(a)
	}
	for _, a := range sortedAddrs(n.wanted.peers) {
		n.settle(a)
	}
}

// remove ends this end of an SA.
func (e *saEnd) remove(reason string) {
	n := e.node
	e.charon, e.kernel = false, false
	n.unfile(e)
	n.evaluate(e.remote, reason)
}

// suspect has dead peer detection find out whether the other end is still there.
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

// end closes an SA and tells the other end, if it can be told.
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

// closeSoon ends the SAs with a peer once the kernel has no entries that lead to it.
func (n *node) closeSoon(remote netip.Addr) {
	n.inKernel(func() {
		for _, e := range slices.Clone(n.ends[remote]) {
			if e.charon {
				e.end("closed by this end")
			}
		}
	})
}

// all are the node's ends, in order.
func (n *node) all() []*saEnd {
	var list []*saEnd
	for _, a := range sortedAddrs(n.ends) {
		list = append(list, n.ends[a]...)
	}
	return list
}

// stopCharon ends charon: told to, which says goodbye to the peers, or killed, which leaves the SAs in the kernel.
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

// startCharon starts it again; it knows nothing.
func (n *node) startCharon() {
	n.charonUp, n.marks = true, 0
	n.dropMarked()
	orphans := n.all()
	if n.daemonUp {
		n.snapshot()
	}
	n.w.after(int64(orphanAge), func() {
		for _, e := range orphans {
			if e.kernel && !e.charon {
				e.remove("")
			}
		}
	})
}
