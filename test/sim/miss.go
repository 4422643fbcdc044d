package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// missing is an overlay address for which the kernel has no neighbour. The kernel asks the daemon
// for the neighbour, and packets wait meanwhile.
type missing struct {
	packets []*dataPacket
	tries   int // how often the kernel has asked the daemon
}

const (
	missTries    = 5 // app_solicit, as the daemon sets it
	missInterval = second
	mostHeld     = 100 // packets for which unres_qlen_bytes has room

	// missAnswered is how long packets wait at most if there is a way by the hub. The daemon tries
	// for two seconds to get the direct way, and then tells the kernel to use the way by the hub.
	missAnswered = 2*time.Second + 100*time.Millisecond

	// nobodyThere is the longest time for which packets to an address that no router has go to the
	// hub. Negative answers may be lost until the last repetition of the request. Such a relay
	// lasts for a minute, and for another if that hub is lost.
	nobodyThere = 150 * time.Second
)

// The rules that this file checks.
const (
	ruleMiss   = "a packet that waits for a neighbour goes out, or is given up, within a stated time"
	ruleNobody = "nothing leads to an address that nobody has"
)

// miss holds a packet whose next hop has no neighbour, if the daemon finds neighbours for the node.
// Otherwise the packet is lost.
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
		n.checkMiss(next, m, p)
	}
	if m.packets = append(m.packets, p); len(m.packets) > mostHeld {
		n.loseHeld(m.packets[0], "too many wait for "+next.String())
		m.packets = m.packets[1:]
	}
}

// askFor asks the daemon for a neighbour each second, until the neighbour is there or the kernel
// has asked missTries times.
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

// loseHeld records the loss of a packet that waited for a neighbour. The loss breaks no rule if the
// node has as many relays as its limits allow, or if its daemon was stopped.
func (n *node) loseHeld(p *dataPacket, why string) {
	if p.to != nil && (n.cramped() || n.w.deaf([]*node{n})) {
		p.way().lostSince = 0
		return
	}
	n.w.lose(p, why)
}

// release sends the packets that waited for a neighbour.
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

// checkMiss checks, when the time of missAnswered is over, that packets no longer wait for a
// neighbour.
func (n *node) checkMiss(next netip.Addr, m *missing, first *dataPacket) {
	w := n.w
	since, to := w.now, w.byOverlay[next]
	if to == nil {
		n.checkNobody(next)
		return
	}
	w.after(int64(missAnswered), func() {
		if n.missing[next] != m || n.cramped() {
			return
		}
		base := w.basePath(n, to, next)
		if base == nil ||
			w.deaf(base) ||
			w.muddled(base, n, to) ||
			w.disturbed(base) ||
			w.disturbed([]*node{n, to}) ||
			w.now < w.pairQuiet[pairOf(n, to)] {
			return
		}
		w.violateAt(ruleMiss, once(append(base, first.path...)),
			n.name+" holds packets for "+next.String()+
				" since "+time.Duration(since).String())
	})
}

// checkNobody checks, when the time of nobodyThere is over, that packets to an address that no
// router has go nowhere.
func (n *node) checkNobody(next netip.Addr) {
	w, boots, since := n.w, n.boots, n.w.now
	w.after(int64(nobodyThere), func() {
		if n.boots == boots &&
			w.now >= n.quietAt &&
			n.scanned <= since &&
			!n.leaptAround(since) &&
			n.wanted.neighbors[next].IsValid() {
			w.violate(ruleNobody, n, "%s is led to %s", next, n.wanted.neighbors[next])
		}
	})
}

// cramped reports whether a node has as many relays by its hubs as its limits allow.
func (n *node) cramped() bool {
	relays := 0
	for a, id := range n.wanted.neighbors {
		if at := n.w.at(id.Address()); at != nil && at.hub && at.home != a {
			relays++
		}
	}
	return relays >= n.cfg.Limits.Shortcuts
}

// mostScanned is how many addresses a scan tries at most.
const mostScanned = 40

// scan makes a host behind a spoke send packets to overlay addresses that no router has.
func (w *world) scan(n *node) {
	if !n.up {
		return
	}
	n.log.add(w.now, "scans the overlay", peerid.ID{}, "")
	n.scanned = w.now
	// The daemon asks for a limited number of addresses per second, and the kernel repeats its
	// questions.
	n.disturb(w.now + missTries*missInterval + second)
	for i := range 1 + w.rng.IntN(mostScanned) {
		dst := v4(10<<24 | uint32(n.region)<<16 | 200<<8 | uint32(i))
		w.forward(
			&dataPacket{from: n, src: w.hostOf(n), dst: dst, ttl: firstTTL},
			n, peerid.ID{})
	}
}

// checkNeighbors checks that every wanted neighbour is that of a binding or of an NHS.
func (n *node) checkNeighbors(st *engine.InterfaceStatus) {
	for _, a := range sortedAddrs(n.wanted.neighbors) {
		bound := slices.ContainsFunc(st.Bindings, func(b engine.BindingStatus) bool {
			return b.Protocol == a
		})
		server := slices.ContainsFunc(st.NHS, func(x engine.NHSStatus) bool {
			return x.Protocol == a
		})
		if !bound && !server {
			n.w.violate(ruleQuiet, n, "the neighbour %s at %s is left", a, n.wanted.neighbors[a])
		}
	}
}
