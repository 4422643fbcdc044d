package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"
)

// missing is an overlay address that packets wait for: the kernel has no neighbour for it and asks the daemon.
type missing struct {
	packets []*dataPacket
	tries   int
}

const (
	missTries    = 5 // app_solicit, as the daemon sets it
	missInterval = second
	mostHeld     = 100 // packets: what unres_qlen_bytes is enough for

	// missAnswered is how long packets wait at most where there is a way by the hub: two seconds for the direct one, then the kernel is
	// told.
	missAnswered = 2*time.Second + 100*time.Millisecond
	// nobodyThere is how long packets for an address that nobody has are led to the hub at most: an answer that says no may be lost
	// until the last repetition of the question, and what is led there is for a minute, and once more if that hub is lost.
	nobodyThere = 150 * time.Second
)

const (
	ruleMiss   = "a packet that waits for a neighbour goes out, or is given up, within a stated time"
	ruleNobody = "nothing leads to an address that nobody has"
)

// miss holds a packet whose next hop is unknown, where the daemon answers for that.
func (w *world) miss(p *dataPacket, n *node, next netip.Addr) {
	if !n.cfg.Shortcut {
		w.lose(p, "no neighbour for "+next.String())
		return
	}
	m := n.missing[next]
	if m == nil {
		m = &missing{}
		n.missing[next] = m
		n.askFor(next, m)
		n.judgeMiss(next, m, p)
	}
	if m.packets = append(m.packets, p); len(m.packets) > mostHeld {
		n.loseHeld(m.packets[0], "too many wait for "+next.String())
		m.packets = m.packets[1:]
	}
}

// askFor asks the daemon each second, until the neighbour is there or it was asked often enough.
func (n *node) askFor(next netip.Addr, m *missing) {
	w := n.w
	switch {
	case n.missing[next] != m:
		return
	case m.tries == missTries:
		delete(n.missing, next)
		for _, p := range m.packets {
			n.loseHeld(p, "nobody told a neighbour for "+next.String())
		}
		return
	}
	m.tries++
	boots := n.boots
	w.after(w.between(100*time.Microsecond, 5*time.Millisecond), func() {
		if n.boots == boots {
			n.handle(engine.Missed{Interface: device, Protocol: next})
		}
	})
	w.after(missInterval, func() { n.askFor(next, m) })
}

// loseHeld loses a packet that waited. One of more than the daemon may lead to by the hub is lost rightly, and one for which no daemon
// was there: this is no way that there was.
func (n *node) loseHeld(p *dataPacket, why string) {
	if p.to != nil && (n.cramped() || n.w.deaf([]*node{n})) {
		p.way().lostSince = 0
		return
	}
	n.w.lose(p, why)
}

// release sends what waited for a neighbour.
func (n *node) release(next netip.Addr) {
	m := n.missing[next]
	if m == nil {
		return
	}
	delete(n.missing, next)
	for _, p := range m.packets {
		n.w.pass(p, n, n.neighbors[next])
	}
}

// judgeMiss looks at what became of a miss when its time is over.
func (n *node) judgeMiss(next netip.Addr, m *missing, first *dataPacket) {
	w := n.w
	since, to := w.now, w.byOverlay[next]
	if to == nil {
		n.judgeNobody(next)
		return
	}
	w.after(int64(missAnswered), func() {
		if n.missing[next] != m || n.cramped() {
			return
		}
		base := w.basePath(n, to, next)
		if base == nil || w.deaf(base) || w.muddled(base, n, to) || w.disturbed(base) || w.disturbed([]*node{n, to}) || w.now < w.pairQuiet[pairOf(n, to)] {
			return
		}
		w.violateAt(ruleMiss, once(append(base, first.path...)), n.name+" holds packets for "+next.String()+" since "+time.Duration(since).String())
	})
}

// judgeNobody looks whether packets for an address that nobody has are led anywhere in the end.
func (n *node) judgeNobody(next netip.Addr) {
	w, boots, since := n.w, n.boots, n.w.now
	w.after(int64(nobodyThere), func() {
		if n.boots == boots && w.now >= n.quietAt && n.scanned <= since && !n.leaptAround(since) && n.wanted.neighbors[next].IsValid() {
			w.violate(ruleNobody, n, "%s is led to %s", next, n.wanted.neighbors[next])
		}
	})
}

// cramped says whether a node has as many ways by its hubs as its tables have room for.
func (n *node) cramped() bool {
	relays := 0
	for a, nbma := range n.wanted.neighbors {
		if at := n.w.at(nbma); at != nil && at.hub && at.home != a {
			relays++
		}
	}
	return relays >= n.cfg.Limits.Shortcuts
}

// mostScanned is how many addresses somebody tries in a row.
const mostScanned = 40

// scan has a host behind a spoke try overlay addresses that nobody has.
func (w *world) scan(n *node) {
	if !n.up {
		return
	}
	n.log.add(w.now, "scans the overlay", netip.Addr{}, "")
	n.scanned = w.now
	n.disturb(w.now + missTries*missInterval + second) // so many a second are asked for, and the kernel repeats them
	for i := range 1 + w.rng.IntN(mostScanned) {
		dst := v4(10<<24 | uint32(n.region)<<16 | 200<<8 | uint32(i))
		w.forward(&dataPacket{from: n, src: w.hostOf(n), dst: dst, ttl: firstTTL}, n, netip.Addr{})
	}
}

// checkNeighbors looks for neighbours that are wanted for more than registrations.
func (n *node) checkNeighbors(st *engine.InterfaceStatus) {
	for _, a := range sortedAddrs(n.wanted.neighbors) {
		bound := slices.ContainsFunc(st.Bindings, func(b engine.BindingStatus) bool { return b.Protocol == a })
		server := slices.ContainsFunc(st.NHS, func(x engine.NHSStatus) bool { return x.Protocol == a })
		if !bound && !server {
			n.w.violate(ruleQuiet, n, "the neighbour %s at %s is left", a, n.wanted.neighbors[a])
		}
	}
}
