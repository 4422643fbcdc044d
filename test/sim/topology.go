package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
)

// The network is a hierarchy: spokes register with the two regional hubs of their region, one of them in charge, and all regional hubs
// with the central hub. Each spoke has a LAN of 16 addresses. What a routing protocol would do:
//
//   - a spoke sends all LANs' prefix to the hub in charge of its region;
//   - a regional hub sends each LAN of its two regions to its spoke, and everything else to the central hub; or the spokes announce
//     their LANs;
//   - the central hub sends each region's LANs and overlay addresses to the hub in charge of it;
//   - in networks with straight routes, each spoke sends a LAN to the spoke that has it;
//   - when a hub dies or returns, who is in charge follows within seconds.
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

// v4 is an IPv4 address by its number.
func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func hubOverlay(i int) netip.Addr           { return v4(10<<24 | 255<<16 | uint32(i+1)) }
func spokeOverlay(region, i int) netip.Addr { return v4(10<<24 | uint32(region)<<16 | uint32(i+1)) }

// lanOf is the i-th LAN of a region.
func lanOf(region, i int) netip.Prefix {
	return netip.PrefixFrom(v4(172<<24|uint32(16+region)<<16|uint32(i)<<4), 28)
}

func regionLANs(r int) netip.Prefix    { return netip.PrefixFrom(v4(172<<24|uint32(16+r)<<16), 16) }
func regionOverlay(r int) netip.Prefix { return netip.PrefixFrom(v4(10<<24|uint32(r)<<16), 16) }

// primary and backup are the hubs of a region.
func (w *world) primary(region int) *node { return w.hubs[1+region] }
func (w *world) backup(region int) *node  { return w.hubs[1+(region+1)%regions] }

func (w *world) build() {
	redirect := !w.NextHops || w.chance(0.5) // such networks can do without
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
		n.cfg.Limits = engine.Limits{Bindings: 1, Shortcuts: 3, Answers: 3, Held: 2, Indications: 1, Errors: 1, Requests: 10, Transit: 20}
	}
	n.nhs = []*node{w.primary(region), w.backup(region)}
	switch {
	case w.Unprotected:
		n.cfg.HoldingTime = anyOf(w, []time.Duration{time.Minute, unprotectedHolding})
		if w.chance(0.3) {
			n.hide(fullCone) // GRE has no ports: only a NAT of one router for one address passes it unasked
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

func limits(n int) engine.Limits {
	return engine.Limits{Bindings: n, Prefixes: n, Shortcuts: 256, Answers: n, Held: 64, Indications: 1000, Errors: 100, Requests: 100, Transit: 1000}
}

func (w *world) newNode(name string, address netip.Prefix) *node {
	n := &node{w: w, name: name, index: len(w.nodes), identity: fmt.Sprintf(ikeName, name), delay: w.between(time.Millisecond, 20*time.Millisecond)}
	n.cfg = engine.InterfaceConfig{
		Name: device, Address: address, Table: table, Protected: !w.Unprotected, Server: true, MTU: 1400,
		HoldingTime: longestHolding, IdleTime: anyOf(w, []time.Duration{time.Minute, longestIdle}),
		Authentication: "cygnus",
	}
	n.seed = rand.NewPCG(w.Seed, uint64(n.index)+1)
	n.canMark = !w.OneNAT || w.chance(0.9)
	n.clear()
	n.addBase(engine.Route{Prefix: overlay, Device: device})
	n.addBase(engine.Route{Prefix: netip.PrefixFrom(address.Addr(), 32), Device: device, Local: true})
	w.nodes = append(w.nodes, n)
	n.home = address.Addr()
	w.byOverlay[n.home] = n
	n.takeAddress(w.newAddress())
	return n
}

func lanRoute(p netip.Prefix) engine.Route { return engine.Route{Prefix: p, Device: "lan0"} }

func tunnelRoute(p netip.Prefix, via *node) engine.Route {
	return engine.Route{Prefix: p, NextHop: via.overlay(), Device: device}
}

// routeHubs gives the hubs the routes of the start.
func (w *world) routeHubs() {
	for r := range regions {
		w.hubs[0].addBase(tunnelRoute(regionLANs(r), w.active[r]))
		w.hubs[0].addBase(tunnelRoute(regionOverlay(r), w.active[r]))
		h := w.hubs[1+r]
		h.addBase(tunnelRoute(allLANs, w.hubs[0]))
		h.addBase(tunnelRoute(regionOverlay((r+1)%regions), w.hubs[0])) // neither its own nor the one that it stands in for
	}
	if w.Announce {
		return
	}
	for _, n := range w.spokes() {
		w.primary(n.region).addBase(tunnelRoute(n.lan, n))
		w.backup(n.region).addBase(tunnelRoute(n.lan, n))
	}
}

// takeLAN puts a LAN behind a node.
func (n *node) takeLAN(lan netip.Prefix) {
	n.lan = lan
	n.w.byLAN[lan] = n
	if n.w.Announce {
		n.cfg.Announce = []netip.Prefix{lan}
	}
}

func (w *world) spokes() []*node { return w.nodes[len(w.hubs):] }

// reelect puts the right hub in charge of each region, as routing would find out some seconds after a hub went or came.
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
				w.rerouteSoon(n, []engine.Route{tunnelRoute(p, best)}, []engine.Route{tunnelRoute(p, old)})
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

// routed is how long routing takes to tell everybody.
const routed = 3 * second

// rerouteSoon changes a node's routes within the next seconds.
func (w *world) rerouteSoon(n *node, added, removed []engine.Route) {
	n.disturb(w.now + w.heals())
	w.after(w.between(0, time.Duration(routed)), func() { n.reroute(added, removed) })
}
