package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
)

// The network is a hierarchy. Each spoke registers with the two regional hubs of its region, one of
// which is in charge. All regional hubs register with the central hub. Each spoke has a LAN of 16
// addresses. The simulation sets the routes that a routing protocol would set:
//
//   - a spoke has a route for all LANs to the hub in charge of its region;
//   - a regional hub has a route for each LAN of its two regions to the spoke with that LAN, unless
//     the spokes announce their LANs, and a route for all other LANs to the central hub;
//   - the central hub has routes for each region's LANs and overlay addresses to the hub in charge
//     of that region;
//   - in networks with NextHops, a spoke has a route for a LAN to the spoke with that LAN;
//   - when a hub dies or returns, the hub in charge changes within seconds.
const (
	regions    = 3
	table      = 254
	device     = "gre1"
	ikeName    = "%s.example.net"
	hubLimit   = 20000
	spokeLimit = 256

	// settling is how long a network has to come up before faults begin.
	settling = 5 * time.Minute
)

var (
	overlay = netip.MustParsePrefix("10.0.0.0/8")
	allLANs = netip.MustParsePrefix("172.16.0.0/12")
)

// v4 returns the IPv4 address with a number.
func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// hubOverlay returns the overlay address of a hub.
func hubOverlay(i int) netip.Addr { return v4(10<<24 | 255<<16 | uint32(i+1)) }

// spokeOverlay returns the overlay address of the i-th spoke of a region.
func spokeOverlay(region, i int) netip.Addr { return v4(10<<24 | uint32(region)<<16 | uint32(i+1)) }

// lanOf returns the i-th LAN of a region.
func lanOf(region, i int) netip.Prefix {
	return netip.PrefixFrom(v4(172<<24|uint32(16+region)<<16|uint32(i)<<4), 28)
}

// regionLANs returns the prefix of a region's LANs.
func regionLANs(r int) netip.Prefix { return netip.PrefixFrom(v4(172<<24|uint32(16+r)<<16), 16) }

// regionOverlay returns the prefix of a region's overlay addresses.
func regionOverlay(r int) netip.Prefix { return netip.PrefixFrom(v4(10<<24|uint32(r)<<16), 16) }

// primary returns the hub that is in charge of a region while it is up.
func (w *world) primary(region int) *node { return w.hubs[1+region] }

// backup returns the hub that stands in for the primary hub of a region.
func (w *world) backup(region int) *node { return w.hubs[1+(region+1)%regions] }

// build makes the hubs and spokes and switches them on.
func (w *world) build() {
	redirect := !w.NextHops || w.chance(0.5) // networks with NextHops work without redirects too
	for i := range regions + 1 {
		h := w.newNode(fmt.Sprint("hub", i), netip.PrefixFrom(hubOverlay(i), 8))
		h.hub, h.cfg.Redirect = true, redirect
		h.cfg.Limits = limits(hubLimit)
		if w.Announce {
			h.cfg.Accept = []netip.Prefix{allLANs}
		}
		w.hubs = append(w.hubs, h)
		if i > 0 {
			h.nhs = []*node{w.hubs[0]}
			w.active = append(w.active, h)
		}
	}
	for i := range w.Spokes {
		w.addSpoke(i)
	}
	w.routeStraight()
	w.routeHubs()
	for _, n := range w.nodes {
		n.disturb(int64(settling))
		w.after(w.between(0, settling/4), func() { n.powerOn(engine.Saved{}) })
	}
}

// addSpoke makes the i-th spoke.
func (w *world) addSpoke(i int) {
	region := i % regions
	n := w.newNode(fmt.Sprint("spoke", i+1), netip.PrefixFrom(spokeOverlay(region, i/regions), 8))
	n.region = region
	n.takeLAN(lanOf(region, i/regions))
	n.cfg.Shortcut = true
	n.cfg.Limits = limits(spokeLimit)
	n.cfg.HoldingTime = anyOf(w, []time.Duration{2 * time.Minute, 5 * time.Minute, longestHolding})
	n.cfg.Unique = w.chance(0.2)
	if w.chance(0.2) {
		n.cfg.Limits = engine.Limits{
			Bindings:    1,
			Shortcuts:   3,
			Answers:     3,
			Held:        2,
			Indications: 1,
			Errors:      1,
			Requests:    10,
			Transit:     20,
		}
	}
	n.nhs = []*node{w.primary(region), w.backup(region)}
	switch {
	case w.Unprotected:
		n.cfg.HoldingTime = anyOf(w, []time.Duration{time.Minute, unprotectedHolding})
		if w.chance(0.3) {
			// GRE has no ports: only a NAT that gives one router one address passes it unasked.
			n.hide(fullCone)
		}
	case w.OneNAT && w.chance(0.5):
		w.crowd(n)
	case w.chance(0.3):
		n.hide(anyOf(w, []natKind{fullCone, restricted, symmetric}))
	}
	n.addBase(lanRoute(n.lan))
	n.addBase(tunnelRoute(allLANs, n.nhs[0]))
}

// hide puts a node behind a NAT.
func (n *node) hide(kind natKind) {
	n.nat = kind
	n.private = v4(192<<24 | 168<<16 | uint32(n.w.rng.IntN(65536)))
}

// limits returns limits with room for n bindings, prefixes and answers.
func limits(n int) engine.Limits {
	return engine.Limits{
		Bindings:    n,
		Prefixes:    n,
		Shortcuts:   256,
		Answers:     n,
		Held:        64,
		Indications: 1000,
		Errors:      100,
		Requests:    100,
		Transit:     1000,
	}
}

// paths are the ways in which the nodes, in turn, prove their direct paths.
var paths = []engine.Paths{
	{Prove: true, Timeout: 3 * time.Second},
	{},
	{Prove: true, Timeout: 3 * time.Second, SmallerMTU: true},
	{Prove: true},
}

// newNode makes a node that is switched off.
func (w *world) newNode(name string, address netip.Prefix) *node {
	n := &node{
		w:        w,
		name:     name,
		index:    len(w.nodes),
		identity: fmt.Sprintf(ikeName, name),
		delay:    w.between(time.Millisecond, 20*time.Millisecond),
	}
	n.cfg = engine.InterfaceConfig{
		Name:           device,
		Address:        address,
		Table:          table,
		Protected:      !w.Unprotected,
		Server:         true,
		MTU:            1400,
		HoldingTime:    longestHolding,
		IdleTime:       anyOf(w, []time.Duration{time.Minute, longestIdle}),
		Authentication: "cygnus",
		Paths:          paths[(n.index+int(w.Seed))%len(paths)],
	}
	n.seed = rand.NewPCG(w.Seed, uint64(n.index)+1)
	n.canMark = !w.OneNAT || w.chance(0.9)
	n.clear()
	n.addBase(engine.Route{Prefix: overlay, Device: device})
	n.addBase(engine.Route{
		Prefix: netip.PrefixFrom(address.Addr(), 32),
		Device: device,
		Local:  true,
	})
	w.nodes = append(w.nodes, n)
	n.home = address.Addr()
	w.byOverlay[n.home] = n
	n.takeAddress(w.newAddress())
	return n
}

// lanRoute returns the route to a LAN at the router that has the LAN.
func lanRoute(p netip.Prefix) engine.Route { return engine.Route{Prefix: p, Device: "lan0"} }

// tunnelRoute returns a route through the tunnel with a node as the next hop.
func tunnelRoute(p netip.Prefix, via *node) engine.Route {
	return engine.Route{Prefix: p, NextHop: via.overlay(), Device: device}
}

// routeHubs gives the hubs the routes with which a run starts.
func (w *world) routeHubs() {
	for r := range regions {
		w.hubs[0].addBase(tunnelRoute(regionLANs(r), w.active[r]))
		w.hubs[0].addBase(tunnelRoute(regionOverlay(r), w.active[r]))
		h := w.hubs[1+r]
		h.addBase(tunnelRoute(allLANs, w.hubs[0]))
		// A hub serves its own region, and is the backup of region r-1. The third region is left.
		h.addBase(tunnelRoute(regionOverlay((r+1)%regions), w.hubs[0]))
	}
	if w.Announce {
		return
	}
	for _, n := range w.spokes() {
		w.primary(n.region).addBase(tunnelRoute(n.lan, n))
		w.backup(n.region).addBase(tunnelRoute(n.lan, n))
	}
}

// takeLAN puts a LAN behind a node. If nodes announce their LANs, the node announces this one.
func (n *node) takeLAN(lan netip.Prefix) {
	n.lan = lan
	n.w.byLAN[lan] = n
	if n.w.Announce {
		n.cfg.Announce = []netip.Prefix{lan}
	}
}

// spokes returns all spokes.
func (w *world) spokes() []*node { return w.nodes[len(w.hubs):] }

// reelect puts the right hub in charge of each region, as routing would some seconds after a hub
// died or returned.
func (w *world) reelect() {
	for r := range regions {
		best := w.primary(r)
		if !best.up && w.backup(r).up {
			best = w.backup(r)
		}
		if w.active[r] == best {
			continue
		}
		old := w.active[r]
		w.active[r] = best
		swap := func(n *node, prefixes ...netip.Prefix) {
			for _, p := range prefixes {
				w.rerouteSoon(n,
					[]engine.Route{tunnelRoute(p, best)},
					[]engine.Route{tunnelRoute(p, old)})
			}
		}
		swap(w.hubs[0], regionLANs(r), regionOverlay(r))
		for _, n := range w.spokes() {
			if n.region == r {
				swap(n, allLANs)
			}
		}
	}
}

// routed is how long routing takes at most to tell all routers of a change.
const routed = 3 * second

// rerouteSoon changes a node's routes within the next seconds.
func (w *world) rerouteSoon(n *node, added, removed []engine.Route) {
	n.disturb(w.now + w.heals())
	w.after(w.between(0, time.Duration(routed)), func() { n.reroute(added, removed) })
}
