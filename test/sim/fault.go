package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"
)

// How long a fault may keep data from arriving, after it is over.
const (
	// healing adds up what happens one after the other at the worst: dead peer detection (22 s), an attempt to secure an NHS that stopped
	// half way (13 s) and the longest pause after it (10 s), IKE with lost messages (6 s), five lost registrations (31 s).
	healing = 82 * time.Second
	// lookedUp is the time in which a spoke looks up its hub's name again.
	lookedUp = time.Minute
	// forgotten is for a hub whose clock leaps: it forgets its spokes, who only refresh at a third of the holding time.
	forgotten = longestHolding/3 + 60*time.Second

	// mostBack is the furthest that a clock jumps back. The engine stands still until it is there again.
	mostBack = 30 * time.Second

	longestHolding = 10 * time.Minute
	// unprotectedHolding is that of networks without IPsec. Nobody is found to be dead there but by it.
	unprotectedHolding = 2 * time.Minute
	longestIdle        = 5 * time.Minute
)

// heals is how long it takes until a fault is forgotten: without IPsec what was answered or registered before it has to end;
// who is refused meanwhile asks again after up to 75 s, and registrations may be lost.
func (w *world) heals() int64 {
	if w.Unprotected {
		return int64(unprotectedHolding + 75*time.Second + 31*time.Second)
	}
	return int64(healing)
}

// disturb says that faults explain losses at a node until then. While a daemon is stopped it mends nothing: what others' faults leave
// behind heals when it is back.
func (n *node) disturb(until int64) {
	if back := n.w.daemonsBack; back > n.w.now {
		until = max(until, back+n.w.heals())
	}
	n.quietAt = max(n.quietAt, until)
}

// fault names what may go wrong. One whose victim is not fit for it does nothing.
type fault struct {
	name string
	run  func(w *world)
}

// spokeFaults befall spokes, the frequent ones several times. They come as often as there are spokes.
var spokeFaults = []fault{
	{"machine", func(w *world) { w.crash(w.spoke()) }},
	{"machine", func(w *world) { w.crash(w.spoke()) }},
	{"daemon", func(w *world) { w.restart(w.spoke()) }},
	{"charon", func(w *world) { w.restartCharon(w.spoke()) }},
	{"address", func(w *world) { w.move(w.spoke()) }},
	{"address", func(w *world) { w.move(w.spoke()) }},
	{"address of a NAT", func(w *world) { w.moveNAT(w.spoke()) }},
	{"behind another's NAT", func(w *world) { w.joinNAT(w.spoke(), w.spoke()) }},
	{"partition of spokes", func(w *world) { w.part(w.spoke(), w.spoke()) }},
	{"partition of peers", func(w *world) { n := w.spoke(); w.part(n, w.peerOf(n)) }},
	{"partition from hub", func(w *world) { n := w.spoke(); w.part(n, anyOf(w, n.nhs)) }},
	{"partition in one direction", func(w *world) { n := w.spoke(); w.partOneWay(n, w.peerOf(n)) }},
	{"partition from hub in one direction", func(w *world) { n := w.spoke(); w.partOneWay(n, anyOf(w, n.nhs)) }},
	{"line", func(w *world) { w.breakLine(w.spoke()) }},
	{"line", func(w *world) { w.breakLine(w.spoke()) }},
	{"clock", func(w *world) { w.leap(w.spoke()) }},
	{"leave", func(w *world) { w.leave(w.spoke()) }},
	{"routes", func(w *world) { w.swapLANs(w.spoke(), w.spoke()) }},
	{"routes of peers", func(w *world) { n := w.spoke(); w.swapLANs(n, w.peerOf(n)) }},
	{"pinned route", func(w *world) { w.pin(w.spoke()) }},
	{"specific route", func(w *world) { w.splitLAN(w.spoke()) }},
	{"scan", func(w *world) { w.scan(w.spoke()) }},
	{"impostor", func(w *world) { w.imitate(w.spoke(), w.spoke()) }},
}

// hubFaults befall hubs, in a large network as often as in a small one: each is felt by thousands of spokes.
var hubFaults = []fault{
	{"machine", func(w *world) { w.crash(w.hub()) }},
	{"daemon", func(w *world) { w.restart(w.hub()) }},
	{"charon", func(w *world) { w.restartCharon(w.hub()) }},
	{"address", func(w *world) { w.moveHub(w.hub()) }},
	{"partition", func(w *world) { w.part(w.hubs[0], anyOf(w, w.hubs[1:])) }},
	{"line", func(w *world) { w.breakLine(w.hub()) }},
	{"clock", func(w *world) { w.leap(w.hub()) }},
}

// keepFailing has faults happen, one after the other.
func (w *world) keepFailing(faults []fault, mean time.Duration) {
	w.after(w.about(mean), func() {
		if w.stopped {
			return
		}
		w.Faults++
		anyOf(w, faults).run(w)
		w.keepFailing(faults, mean)
	})
}

func (w *world) hub() *node   { return anyOf(w, w.hubs) }
func (w *world) spoke() *node { return anyOf(w, w.spokes()) }

// well says whether a node is in no other fault that this one would mix up.
func (n *node) well() bool { return n.up && n.daemonUp && n.charonUp && !n.left && !n.imitating }

// crash switches a machine off, and on again later.
func (w *world) crash(n *node) {
	if !n.daemonUp {
		return
	}
	off := w.between(5*time.Second, time.Minute)
	if w.chance(0.3) {
		off = w.between(time.Minute, 10*time.Minute)
	}
	n.log.add(w.now, "machine off", netip.Addr{}, time.Duration(off).String())
	n.disturb(w.now + off + w.heals())
	saved := n.engine.Save()
	if w.chance(0.2) {
		saved = engine.Saved{} // a new disk
	}
	ends := n.all()
	n.up, n.daemonUp, n.charonUp = false, false, false
	n.boots++
	for _, e := range ends {
		e.charon, e.kernel = false, false
		e.far.suspect()
	}
	n.clear()
	w.reelectSoon(n)
	w.after(off, func() {
		n.powerOn(saved)
		w.reelectSoon(n)
	})
}

func (w *world) reelectSoon(n *node) {
	if n.hub {
		w.after(w.between(3*time.Second, 10*time.Second), w.reelect)
	}
}

// restart stops the daemon, by whatever means, and starts it again. The ways that are there go on without it: no loss is excused but of
// faults that were healing, or come meanwhile.
func (w *world) restart(n *node) {
	if !n.daemonUp || n.left {
		return
	}
	off := w.between(200*time.Millisecond, 30*time.Second)
	n.log.add(w.now, "daemon stops", netip.Addr{}, time.Duration(off).String())
	w.daemonsBack = max(w.daemonsBack, w.now+off)
	w.healLater()
	if w.Unprotected {
		n.disturb(w.now + off + w.heals()) // it may take half of a holding time, and the refreshes after it may be lost
	}
	saved := n.engine.Save()
	n.daemonUp = false
	n.boots++
	n.stopDialling()
	machine := n.machines
	w.after(off, func() {
		if n.up && n.machines == machine {
			n.boot(saved)
		}
	})
}

// healLater has what is healing wait for the daemons that are stopped.
func (w *world) healLater() {
	for _, m := range w.nodes {
		if m.quietAt > w.now {
			m.disturb(0)
		}
	}
	for p, until := range w.pairQuiet {
		if until > w.now {
			w.pairQuiet[p] = max(until, w.daemonsBack+w.heals())
		}
	}
}

// deaf says whether one of these misses what it is told or asked, or did within the time in which it is repeated.
func (w *world) deaf(nodes []*node) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool { return !n.daemonUp || w.now < n.bootedAt+w.heals() })
}

func (w *world) restartCharon(n *node) {
	if !n.charonUp || n.left || w.Unprotected {
		return
	}
	off := w.between(time.Second, 20*time.Second)
	killed := w.chance(0.5)
	n.log.add(w.now, "charon stops", netip.Addr{}, time.Duration(off).String())
	n.disturb(w.now + off + int64(orphanAge) + w.heals())
	n.stopCharon(killed)
	machine := n.machines
	w.after(off, func() {
		if n.up && n.machines == machine {
			n.startCharon()
		}
	})
}

// move gives a node another NBMA address. Where the tunnel's local address changes with it, its SAs are of no use at once.
func (w *world) move(n *node) {
	if n.up && !n.left {
		w.moveTo(n, w.newAddress())
	}
}

// moveTo gives it a certain one.
func (w *world) moveTo(n *node, address netip.Addr) {
	n.takeAddress(address)
	n.log.add(w.now, "moves to", n.public, "")
	n.disturb(w.now + w.heals())
	ends := n.all()
	for _, e := range ends {
		e.suspect()
		e.far.suspect()
	}
	if n.nat != noNAT {
		w.mappingMoves(n)
		return
	}
	boots := n.boots
	w.after(w.between(20*time.Millisecond, time.Second), func() {
		if n.boots != boots {
			return
		}
		for _, e := range ends {
			if e.charon && !e.works() {
				e.remove("the local address is gone")
				e.far.suspect()
			}
		}
		n.handle(engine.LocalAddress{Interface: device, NBMA: n.local()})
	})
}

// moveHub moves a hub; those who register with it look its name up again.
func (w *world) moveHub(n *node) {
	w.move(n)
	for _, m := range w.nodes {
		for _, h := range m.nhs {
			if h == n {
				m.disturb(w.now + int64(lookedUp) + w.heals())
				w.after(w.between(0, lookedUp), func() { m.resolved(h) })
			}
		}
	}
	n.disturb(w.now + int64(lookedUp) + w.heals())
}

// part cuts the underlay between two nodes for a while.
func (w *world) part(a, b *node) {
	if a == b || w.cut(a, b) {
		return
	}
	p := pairOf(a, b)
	lasts := w.about(time.Minute)
	end := w.now + lasts
	w.cuts[p] = end
	a.log.add(w.now, "parted from", b.public, time.Duration(lasts).String())
	b.log.add(w.now, "parted from", a.public, time.Duration(lasts).String())
	w.pairQuiet[p] = w.now + w.heals()
	if w.Unprotected {
		w.pairQuiet[p] += lasts // nothing finds out that the direct way is cut
	}
	for _, e := range append(a.all(), b.all()...) {
		if pairOf(e.node, e.far.node) == p {
			e.suspect()
		}
	}
	w.after(lasts, func() {
		delete(w.cuts, p)
		delete(w.open, p)
		end := w.now + w.heals()
		w.pairQuiet[p] = end
		w.after(w.heals(), func() {
			if w.pairQuiet[p] == end {
				delete(w.pairQuiet, p)
			}
		})
	})
}

// partOneWay cuts what goes from one of two nodes to the other, and lets the rest pass: IKE gets no answer, data arrives one way.
func (w *world) partOneWay(a, b *node) {
	if a == b || w.cut(a, b) {
		return
	}
	w.part(a, b)
	w.open[pairOf(a, b)] = anyOf(w, []*node{a, b})
}

// peerOf is a spoke that another one has an SA with; itself if there is none.
func (w *world) peerOf(n *node) *node {
	for _, e := range n.all() {
		if !e.far.node.hub {
			return e.far.node
		}
	}
	return n
}

// breakLine takes a node's underlay away for a while.
func (w *world) breakLine(n *node) {
	if !n.up || w.lineDown(n) {
		return
	}
	lasts := w.about(15 * time.Second)
	n.brokenUntil = w.now + lasts
	n.log.add(w.now, "line down", netip.Addr{}, time.Duration(lasts).String())
	n.disturb(w.now + lasts + w.heals())
	for _, e := range n.all() {
		e.suspect()
		e.far.suspect()
	}
}

func (w *world) lineDown(n *node) bool { return w.now < n.brokenUntil }

// leap makes a clock jump: forward by any time, as after a suspension; back by little, since the daemon's clock is monotonic.
func (w *world) leap(n *node) {
	d := time.Duration(w.about(10 * time.Minute))
	if w.chance(0.3) {
		d = -time.Duration(w.between(0, mostBack))
	}
	n.log.add(w.now, "clock leaps", netip.Addr{}, d.String())
	n.disturb(w.now + int64(mostBack) + w.heals())
	if n.hub {
		n.disturb(w.now + int64(mostBack+forgotten))
	}
	n.leap(d)
}
