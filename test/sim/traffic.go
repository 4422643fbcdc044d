package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// flow is the traffic between two hosts: one sends requests at intervals, the other replies.
type flow struct {
	from, to *node
	src, dst netip.Addr
	interval int64
	until    int64
	there    way // the requests
	back     way // the replies
}

// way is what became of a flow's packets in one direction.
type way struct {
	arrived   int64 // when a packet last arrived
	lostSince int64 // when the first packet after that was lost, or 0
	hops      int   // number of tunnels through which the last arrived packet passed
}

// dataPacket is a packet on its way from one router's LAN to another's.
type dataPacket struct {
	flow     *flow
	reply    bool
	from, to *node
	src, dst netip.Addr
	ttl      int
	path     []*node
}

const (
	firstTTL = 16

	// brownout is how long packets may be lost without a fault. When a router closes an SA that
	// looked idle, packets may be on their way through that SA.
	brownout = 2 * time.Second
)

// keepTalking starts flows between spokes, one after the other.
func (w *world) keepTalking(mean time.Duration) {
	w.after(w.about(mean), func() {
		if w.stopped {
			return
		}
		if from, to := w.spoke(), w.spoke(); from != to {
			f := w.newFlow(from, to)
			f.interval = w.between(200*time.Millisecond, 10*time.Second)
			f.until = w.now + w.about(anyOf(w, []time.Duration{
				10 * time.Second,
				time.Minute,
				15 * time.Minute,
			}))
			w.keepAsking(f)
		}
		w.keepTalking(mean)
	})
}

// newFlow returns a flow between hosts of two LANs, or now and then to the other router itself.
func (w *world) newFlow(from, to *node) *flow {
	f := &flow{from: from, to: to, src: w.hostOf(from), dst: w.hostOf(to)}
	if w.chance(0.2) {
		f.dst = to.home
	}
	return f
}

// has reports whether an address is the node's own or in its LAN.
func (n *node) has(a netip.Addr) bool { return n.lan.Contains(a) || a == n.home }

// hostOf returns the address of a random host on a node's LAN.
func (w *world) hostOf(n *node) netip.Addr {
	a := n.lan.Addr().As4()
	a[3] += byte(2 + w.rng.IntN(12))
	return netip.AddrFrom4(a)
}

// keepAsking sends a flow's requests until its end, or until one of its addresses has moved.
func (w *world) keepAsking(f *flow) {
	if w.stopped || w.now > f.until || !f.from.has(f.src) || !f.to.has(f.dst) {
		return
	}
	w.ask(f)
	w.after(f.interval, func() { w.keepAsking(f) })
}

// ask sends one request of a flow.
func (w *world) ask(f *flow) {
	if f.from.up {
		w.Data++
		w.forward(&dataPacket{
			flow: f,
			from: f.from,
			to:   f.to,
			src:  f.src,
			dst:  f.dst,
			ttl:  firstTTL,
		}, f.from, peerid.ID{})
	}
}

// forward does what a node's kernel does with a packet. The packet came through the tunnel from the
// peer from or, if from is not valid, from a LAN.
func (w *world) forward(p *dataPacket, n *node, from peerid.ID) {
	p.path = append(p.path, n)
	r, ok := n.route(p.dst)
	switch {
	case !ok:
		w.lose(p, "no route")
		return
	case r.Device != device || r.Local:
		w.deliver(p, n)
		return
	case p.ttl == 0:
		w.lose(p, "it ran in circles")
		return
	}
	p.ttl--
	next := r.NextHop
	if !next.IsValid() {
		next = p.dst
	}
	if from.IsValid() && n.cfg.Redirect {
		w.redirected(p, n, from)
	}
	if id := n.neighbors[next]; id.IsValid() {
		w.pass(p, n, id)
	} else {
		w.miss(p, n, next)
	}
}

// pass sends a packet through the tunnel to a peer.
func (w *world) pass(p *dataPacket, n *node, id peerid.ID) {
	n.use(id).out = n.clock()
	w.ship(n, id, func(m *node, from peerid.ID) {
		if !m.takes(from) {
			p.path = append(p.path, m)
			w.lose(p, m.name+" does not admit data from "+from.String())
			return
		}
		m.use(from).in = m.clock()
		w.forward(p, m, from)
	}, func(why string) { w.lose(p, why) })
}

// redirected tells a daemon that a packet leaves by the tunnel from which it came.
func (w *world) redirected(p *dataPacket, n *node, from peerid.ID) {
	header := make([]byte, 28)
	header[0], header[3], header[8], header[9] = 0x45, 28, 63, 17
	copy(header[12:], p.src.AsSlice())
	copy(header[16:], p.dst.AsSlice())
	boots := n.boots
	w.after(w.between(100*time.Microsecond, 10*time.Millisecond), func() {
		if n.boots == boots {
			n.handle(engine.Redirected{Interface: device, From: from, Packet: header})
		}
	})
}

// way returns the direction of its flow to which a packet belongs.
func (p *dataPacket) way() *way {
	if p.reply {
		return &p.flow.back
	}
	return &p.flow.there
}

// deliver hands a packet to a host on a node's LAN, which replies to a request.
func (w *world) deliver(p *dataPacket, n *node) {
	if !n.has(p.dst) {
		w.lose(p, "it arrived at the wrong LAN")
		return
	}
	w.Arrived++
	*p.way() = way{arrived: w.now, hops: len(p.path) - 1}
	if !p.reply {
		w.Data++
		w.forward(&dataPacket{
			flow:  p.flow,
			reply: true,
			from:  n,
			to:    p.from,
			src:   p.dst,
			dst:   p.src,
			ttl:   firstTTL,
		}, n, peerid.ID{})
	}
}

// lose records the loss of a packet. If no fault explains the loss, and the packets of the flow
// have been lost for too long, a rule is broken.
func (w *world) lose(p *dataPacket, why string) {
	if p.to == nil {
		return
	}
	if why == lostByChance {
		w.Chance++
		return
	}
	x := p.way()
	base := w.basePath(p.from, p.to, p.dst)
	if base == nil ||
		w.muddled(append(base, p.path...), p.from, p.to) ||
		w.disturbed(base) ||
		w.disturbed(p.path) ||
		w.now < w.pairQuiet[pairOf(p.from, p.to)] {
		x.lostSince = 0
		return
	}
	if x.lostSince == 0 {
		x.lostSince = w.now
	}
	if w.now-x.lostSince < int64(brownout) {
		return
	}
	w.violateAt(ruleArrives, once(append(base, p.path...)), fmt.Sprintf(
		"a packet from %s behind %s to %s behind %s was lost at %s (%s), after %s; without shortcuts there is a path: %s. Lost since %s, arrived last at %s",
		p.src, p.from.name, p.dst, p.to.name,
		p.path[len(p.path)-1].name, why, names(p.path), names(base),
		time.Duration(x.lostSince), time.Duration(x.arrived)))
}

// once returns the nodes of a list without repetitions.
func once(nodes []*node) []*node {
	var list []*node
	for _, n := range nodes {
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

// names returns the names of nodes as a text.
func names(nodes []*node) string {
	s := ""
	for i, n := range nodes {
		if i > 0 {
			s += " – "
		}
		s += n.name
	}
	return s
}

// basePath returns the routers that a packet passes without shortcuts. It returns nil if there is
// no such path over routers that are up and can reach each other.
func (w *world) basePath(from, to *node, dst netip.Addr) []*node {
	path := []*node{from}
	for n := from; len(path) < firstTTL; path = append(path, n) {
		r, ok := w.baseRoute(n, dst)
		if !ok || !n.up || n.left {
			return nil
		}
		if r.Device != device || r.Local {
			if n != to {
				return nil
			}
			return path
		}
		next := w.nextHop(n, r, dst)
		if next == nil ||
			w.cut(n, next) ||
			w.lineDown(n) ||
			w.lineDown(next) ||
			w.now < w.pairQuiet[pairOf(n, next)] {
			return nil
		}
		n = next
	}
	return nil
}

// nextHop returns the router to which a route leads, or nil. For a route to another spoke it
// returns the hub, since only the way by the hub is always available.
func (w *world) nextHop(n *node, r engine.Route, dst netip.Addr) *node {
	next := r.NextHop
	if !next.IsValid() {
		next = dst
	}
	m := w.byOverlay[next]
	switch {
	case m == nil || m.hub:
		return m
	case n.hub && !slices.Contains(m.nhs, n):
		return nil
	case n.hub:
		return m
	}
	if h := w.primary(n.region); h.up {
		return h
	}
	return w.active[n.region]
}

// baseRoute returns the route by which a node should send data without shortcuts.
func (w *world) baseRoute(n *node, dst netip.Addr) (engine.Route, bool) {
	if w.Announce && n.hub {
		lan, _ := dst.Prefix(28)
		if s := w.byLAN[lan]; s != nil && slices.Contains(s.nhs, n) {
			return tunnelRoute(lan, s), true
		}
	}
	return n.base.lookup(dst)
}

// disturbed reports whether faults may still explain losses at one of the nodes.
func (w *world) disturbed(path []*node) bool {
	for _, n := range path {
		if w.now < n.quietAt {
			return true
		}
	}
	return false
}
