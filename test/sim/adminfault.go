package sim

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// goodbye is how long a leaving router keeps its SAs at most: until all routers from which it takes
// leave have answered.
const goodbye = 7 * time.Second

// leave makes a spoke leave the network and join again later.
func (w *world) leave(n *node) {
	if !n.well() {
		return
	}
	away := w.between(time.Second, 5*time.Minute)
	n.log.add(w.now, "leaves", peerid.ID{}, time.Duration(away).String())
	n.disturb(w.now + away + w.heals())
	n.handle(engine.Leave{Interface: device})
	n.left = true
	const rule = "who leaves wants nothing any more"
	if len(n.wanted.neighbors)+len(n.wanted.routes) > 0 {
		w.violate(rule, n, "%v %v", n.wanted.neighbors, n.wanted.routes)
	}
	boots, since := n.boots, w.now
	n.leftAt = since
	w.after(int64(goodbye), func() {
		if n.boots == boots && n.left && n.leftAt == since &&
			len(n.wanted.peers) > 0 && !n.leaptAround(since) {
			w.violate(rule, n, "%v", n.wanted.peers)
		}
	})
	w.after(away, func() {
		if n.boots == boots {
			n.log.add(w.now, "joins", peerid.ID{}, "")
			n.left = false
			n.configure()
		}
	})
}

// reload makes the daemon read its configuration again, if the daemon runs and has not left.
func (n *node) reload() {
	if n.daemonUp && !n.left {
		n.configure()
	}
}

// configure hands the configuration to the engine, as a reload does.
func (n *node) configure() {
	n.call(func(now time.Time, out *engine.Output) { n.engine.Configure(now, n.config(), out) })
}

// swapLANs exchanges the LANs of two spokes of a region. Routing or the announcements of the spokes
// tell their hubs.
func (w *world) swapLANs(a, b *node) {
	if a == b || a.region != b.region || !a.well() || !b.well() ||
		w.now < max(a.swapped, b.swapped)+routed {
		return
	}
	a.swapped, b.swapped = w.now, w.now
	lanA, lanB := a.lan, b.lan
	a.takeLAN(lanB)
	b.takeLAN(lanA)
	for _, x := range []struct{ now, before *node }{{a, b}, {b, a}} {
		lan := x.now.lan
		w.rerouteSoon(x.now, []engine.Route{lanRoute(lan)}, x.now.straight(lan, x.before))
		w.rerouteSoon(x.before, x.before.straight(lan, x.now), []engine.Route{lanRoute(lan)})
		w.rerouteStraight(lan, x.now, x.before)
		if w.Announce {
			// The message that withdraws the old prefix may be lost. The hub then keeps the prefix
			// for the holding time, and the next refresh asks for it again.
			x.now.disturb(w.now + int64(longestHolding+longestHolding/3) + 2*w.heals())
			w.after(w.between(0, 3*time.Second), x.now.reload)
			continue
		}
		for _, h := range a.nhs {
			quiet := h.quietAt
			w.rerouteSoon(h,
				[]engine.Route{tunnelRoute(lan, x.now)},
				[]engine.Route{tunnelRoute(lan, x.before)})
			h.quietAt = quiet // the change disturbs the two spokes only
		}
	}
}

// splitLAN gives a quarter of a spoke's LAN a route of its own for a while. No router may have a
// shortcut that hides this route.
func (w *world) splitLAN(n *node) {
	if !n.well() || n.split {
		return
	}
	part := engine.Route{Prefix: netip.PrefixFrom(n.lan.Addr(), 30), Device: "lan1"}
	n.split = true
	n.reroute([]engine.Route{part}, nil)
	if w.Loss == 0 {
		w.after(int64(takenBack), func() { w.checkTakenBack(n, part.Prefix) })
	}
	w.after(w.about(3*time.Minute), func() {
		n.split = false
		n.reroute(nil, []engine.Route{part})
	})
}

// pin adds a route to a spoke for a while, as an administrator may: it leads a part of a shortcut's
// prefix through the hub.
func (w *world) pin(n *node) {
	for _, r := range n.own.list() {
		via := w.active[n.region]
		part := tunnelRoute(netip.PrefixFrom(r.Prefix.Addr(), 30), via)
		if _, there := n.base.routes[part.Prefix]; there || r.Prefix.Bits() >= 30 {
			continue
		}
		n.reroute([]engine.Route{part}, nil)
		w.after(w.about(3*time.Minute), func() { n.reroute(nil, []engine.Route{part}) })
		return
	}
}

// takenBack is how long a router takes to take back an answer if no packet is lost.
const takenBack = 5 * time.Second

// checkTakenBack looks for shortcuts that hide a part of a LAN. It runs takenBack after that part
// got a route of its own.
func (w *world) checkTakenBack(n *node, part netip.Prefix) {
	for _, m := range w.nodes {
		for _, prefix := range slices.SortedFunc(maps.Keys(m.wanted.routes), netip.Prefix.Compare) {
			if m.wanted.routes[prefix] != n.overlay() ||
				!prefix.Contains(part.Addr()) ||
				prefix.Bits() >= part.Bits() {
				continue
			}
			back := w.basePath(n, m, m.lan.Addr())
			if back != nil && !w.deaf(back) && !w.disturbed(back) &&
				w.now >= w.pairQuiet[pairOf(n, m)] && n.split {
				w.violateAt("who was told is told when it is true no more (RFC 2332 §6.2.1)",
					[]*node{m, n},
					m.name+" has a shortcut "+prefix.String()+" via "+n.name+
						", which hides "+part.String())
			}
		}
	}
}

// imitate gives a spoke the overlay address of another spoke for a while, as an administrator might
// do by mistake.
func (w *world) imitate(n, victim *node) {
	if n == victim || n.region != victim.region || !n.well() || !victim.well() {
		return
	}
	lasts := w.between(10*time.Second, 3*time.Minute)
	// The message that withdraws the impostor's registration may be lost. The hub then keeps the
	// binding for the holding time.
	end := w.now + lasts + int64(longestHolding) + w.heals()
	n.log.add(w.now, "imitates", peerid.At(victim.overlay()), time.Duration(lasts).String())
	victim.log.add(w.now, "imitated", peerid.At(n.public), time.Duration(lasts).String())
	n.disturb(end)
	victim.disturb(end)
	own := n.cfg.Address
	n.imitating = true
	n.cfg.Address = victim.cfg.Address
	n.configure()
	w.after(lasts, func() {
		n.cfg.Address = own
		n.imitating = false
		n.reload()
	})
}
