package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// How long a fault may keep data from arriving, after it is over.
const (
	// healing is the sum of what can happen in sequence in the worst case: dead peer detection
	// (22 s), an attempt to secure an NHS that stops half way (13 s), the longest pause after that
	// attempt (10 s), IKE with lost messages (6 s), and five lost registrations (31 s).
	healing = 82 * time.Second

	// lookedUp is the time within which a spoke looks up its hub's name again.
	lookedUp = time.Minute

	// forgotten applies to a hub whose clock leaps. The hub forgets its spokes, and each spoke
	// refreshes its registration only after a third of the holding time.
	forgotten = longestHolding/3 + 60*time.Second

	// mostBack is the furthest that a clock jumps back. The engine stands still until the clock has
	// reached the earlier time again.
	mostBack = 30 * time.Second

	longestHolding = 10 * time.Minute

	// unprotectedHolding is the longest holding time in networks without IPsec. In these, a router
	// finds out only by the holding time that another one is dead.
	unprotectedHolding = 2 * time.Minute

	longestIdle = 5 * time.Minute
)

// heals returns how long a fault may have consequences. Without IPsec, the answers and
// registrations from before the fault must expire first. A router that was refused in the meantime
// asks again after up to 75 s, and registrations may be lost.
func (w *world) heals() int64 {
	if w.Unprotected {
		return int64(unprotectedHolding + 75*time.Second + 31*time.Second)
	}
	return int64(healing)
}

// disturb records that faults explain losses at a node until a time. A stopped daemon repairs
// nothing, so while any daemon is stopped, the time extends to when that daemon is back and has had
// time to repair what other faults left behind.
func (n *node) disturb(until int64) {
	if back := n.w.daemonsBack; back > n.w.now {
		until = max(until, back+n.w.heals())
	}
	n.quietAt = max(n.quietAt, until)
}

// fault is something that may go wrong. A fault does nothing if the node that it picks is in a
// state that does not allow the fault.
type fault struct {
	name string
	run  func(w *world)
}

// spokeFaults are the faults of spokes; frequent faults are in the list several times. The more
// spokes a network has, the more often they happen.
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
	{"partition from hub in one direction", func(w *world) {
		n := w.spoke()
		w.partOneWay(n, anyOf(w, n.nhs))
	}},
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

// hubFaults are the faults of hubs. They happen as often in a large network as in a small one,
// since in a large network each affects thousands of spokes.
var hubFaults = []fault{
	{"machine", func(w *world) { w.crash(w.hub()) }},
	{"daemon", func(w *world) { w.restart(w.hub()) }},
	{"charon", func(w *world) { w.restartCharon(w.hub()) }},
	{"address", func(w *world) { w.moveHub(w.hub()) }},
	{"partition", func(w *world) { w.part(w.hubs[0], anyOf(w, w.hubs[1:])) }},
	{"line", func(w *world) { w.breakLine(w.hub()) }},
	{"clock", func(w *world) { w.leap(w.hub()) }},
}

// keepFailing makes faults happen one after the other, with a mean time between them.
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

// hub returns a random hub.
func (w *world) hub() *node { return anyOf(w, w.hubs) }

// spoke returns a random spoke.
func (w *world) spoke() *node { return anyOf(w, w.spokes()) }

// well reports whether a node is free of the faults with which another fault would interfere.
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
	n.log.add(w.now, "machine off", peerid.ID{}, time.Duration(off).String())
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

// reelectSoon makes routing choose the hubs in charge again, if the node is a hub.
func (w *world) reelectSoon(n *node) {
	if n.hub {
		w.after(w.between(3*time.Second, 10*time.Second), w.reelect)
	}
}

// restart stops a daemon, in whatever way, and starts it again later. Data must keep flowing
// without the daemon. The only losses allowed are those of faults that were still healing, or that
// happen in the meantime.
func (w *world) restart(n *node) {
	if !n.daemonUp || n.left {
		return
	}
	off := w.between(200*time.Millisecond, 30*time.Second)
	n.log.add(w.now, "daemon stops", peerid.ID{}, time.Duration(off).String())
	w.daemonsBack = max(w.daemonsBack, w.now+off)
	w.healLater()
	if w.Unprotected {
		// The restart may take half of a holding time, and the refreshes after it may be lost.
		n.disturb(w.now + off + w.heals())
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

// healLater extends the time for faults that are still healing until the stopped daemons are back.
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

// deaf reports whether one of the nodes misses messages because its daemon is stopped, or missed
// some so recently that others may not have repeated them yet.
func (w *world) deaf(nodes []*node) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool {
		return !n.daemonUp || w.now < n.bootedAt+w.heals()
	})
}

// restartCharon stops or kills charon and starts it again later.
func (w *world) restartCharon(n *node) {
	if !n.charonUp || n.left || w.Unprotected {
		return
	}
	off := w.between(time.Second, 20*time.Second)
	killed := w.chance(0.5)
	n.log.add(w.now, "charon stops", peerid.ID{}, time.Duration(off).String())
	n.disturb(w.now + off + int64(orphansMost) + w.heals())
	n.stopCharon(killed)
	machine := n.machines
	w.after(off, func() {
		if n.up && n.machines == machine {
			n.startCharon()
		}
	})
}

// move gives a node another NBMA address. Unless the node is behind a NAT, this changes the
// tunnel's local address as well, and the node's SAs are useless at once.
func (w *world) move(n *node) {
	if n.up && !n.left {
		w.moveTo(n, w.newAddress())
	}
}

// moveTo gives a node a certain NBMA address.
func (w *world) moveTo(n *node, address netip.Addr) {
	n.takeAddress(address)
	n.log.add(w.now, "moves to", peerid.At(n.public), "")
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

// moveHub gives a hub another NBMA address. The routers that register with the hub look up its name
// again.
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
	a.log.add(w.now, "parted from", peerid.At(b.public), time.Duration(lasts).String())
	b.log.add(w.now, "parted from", peerid.At(a.public), time.Duration(lasts).String())
	w.pairQuiet[p] = w.now + w.heals()
	if w.Unprotected {
		w.pairQuiet[p] += lasts // without IPsec, no router finds out that the direct way is cut
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

// partOneWay cuts the underlay between two nodes in one direction for a while. IKE then gets no
// answer, but data still arrives in the other direction.
func (w *world) partOneWay(a, b *node) {
	if a == b || w.cut(a, b) {
		return
	}
	w.part(a, b)
	w.open[pairOf(a, b)] = anyOf(w, []*node{a, b})
}

// peerOf returns a spoke with which a spoke has an SA, or the spoke itself if it has an SA with
// none.
func (w *world) peerOf(n *node) *node {
	for _, e := range n.all() {
		if !e.far.node.hub {
			return e.far.node
		}
	}
	return n
}

// breakLine cuts a node off from the underlay for a while.
func (w *world) breakLine(n *node) {
	if !n.up || w.lineDown(n) {
		return
	}
	lasts := w.about(15 * time.Second)
	n.brokenUntil = w.now + lasts
	n.log.add(w.now, "line down", peerid.ID{}, time.Duration(lasts).String())
	n.disturb(w.now + lasts + w.heals())
	for _, e := range n.all() {
		e.suspect()
		e.far.suspect()
	}
}

// lineDown reports whether a node is cut off from the underlay.
func (w *world) lineDown(n *node) bool { return w.now < n.brokenUntil }

// leap makes a node's clock jump: forward by any time, as after a suspension, or back by a little,
// since the daemon's clock is monotonic.
func (w *world) leap(n *node) {
	d := time.Duration(w.about(10 * time.Minute))
	if w.chance(0.3) {
		d = -time.Duration(w.between(0, mostBack))
	}
	n.log.add(w.now, "clock leaps", peerid.ID{}, d.String())
	n.disturb(w.now + int64(mostBack) + w.heals())
	if n.hub {
		n.disturb(w.now + int64(mostBack+forgotten))
	}
	n.leap(d)
}
