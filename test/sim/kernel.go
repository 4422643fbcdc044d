package sim

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// kernel is the state of a machine's kernel.
type kernel struct {
	base      fib // routes of the administrator and of routing
	own       fib // routes of the daemon
	neighbors map[netip.Addr]peerid.ID
	admitted  map[peerid.ID]bool // peers whose data the kernel takes
	adopted   map[peerid.ID]bool // peers whose data it takes since an earlier daemon used them
	uses      map[peerid.ID]*use
	missing   map[netip.Addr]*missing
	outer     map[peerid.ID]netip.Addr // the outer addresses of marked peers
	anyone    map[peerid.ID]bool       // addresses at which the kernel takes data of any router
	changedAt int64                    // when the kernel will have taken the last change
}

// use is when data last passed from and to a peer, by the node's clock.
type use struct{ in, out time.Time }

// clear sets the state of a kernel that has just booted. It keeps the routes of the administrator
// and of routing.
func (k *kernel) clear() {
	k.own = fib{}
	k.neighbors = make(map[netip.Addr]peerid.ID)
	k.admitted = make(map[peerid.ID]bool)
	k.adopted = nil
	k.uses = make(map[peerid.ID]*use)
	k.missing = make(map[netip.Addr]*missing)
	k.outer = make(map[peerid.ID]netip.Addr)
	k.anyone = make(map[peerid.ID]bool)
}

// addBase adds a route without telling the engine.
func (n *node) addBase(r engine.Route) { n.base.add(r) }

// reroute changes routes as an administrator or a routing protocol does, and tells the engine.
func (n *node) reroute(added, removed []engine.Route) {
	for _, r := range removed {
		n.base.remove(r)
	}
	for _, r := range added {
		n.base.add(r)
		n.log.add(n.w.now, "route", peerid.At(r.NextHop), r.Prefix.String())
	}
	n.handle(engine.RoutesChanged{Table: table, Added: added, Removed: removed})
}

// apply changes the kernel's tables a little later: first it removes routes, then it changes
// neighbours, then it adds routes.
func (n *node) apply(neighbors []engine.NeighborChange, routes []engine.RouteChange) {
	if len(neighbors)+len(routes) == 0 {
		return
	}
	neighbors, routes = slices.Clone(neighbors), slices.Clone(routes)
	boots := n.boots
	n.inKernel(func() {
		if n.boots != boots {
			return // the daemon that wanted this is gone, and the next one compares all tables
		}
		n.put(neighbors, routes)
	})
}

// inKernel runs f when the kernel has taken all earlier changes.
func (n *node) inKernel(f func()) {
	w := n.w
	n.changedAt = max(n.changedAt, w.now+w.between(200*time.Microsecond, 3*time.Millisecond))
	w.queue.push(n.changedAt, f)
}

// put changes the kernel's tables at once, in the order that apply describes.
func (n *node) put(neighbors []engine.NeighborChange, routes []engine.RouteChange) {
	for _, r := range routes {
		if r.Delete {
			n.own.remove(ownRoute(r))
		}
	}
	for _, c := range neighbors {
		if c.Delete {
			delete(n.neighbors, c.Protocol)
		} else {
			n.neighbors[c.Protocol] = c.Peer
			n.release(c.Protocol)
		}
	}
	last := make(map[netip.Prefix]int) // index of the last change of each prefix, which counts
	for i, r := range routes {
		last[r.Prefix] = i
	}
	for i, r := range routes {
		if !r.Delete && last[r.Prefix] == i {
			n.own.add(ownRoute(r))
		}
	}
}

// ownRoute returns the route that a change of the daemon's is about.
func ownRoute(r engine.RouteChange) engine.Route {
	return engine.Route{Prefix: r.Prefix, NextHop: r.NextHop, Device: device}
}

// compareKernelSoon brings the kernel's tables in line with what a daemon that has just started
// wants.
func (n *node) compareKernelSoon() {
	boots := n.boots
	n.inKernel(func() {
		if n.boots != boots {
			return
		}
		n.own = fib{}
		for p, via := range n.wanted.routes {
			n.own.add(engine.Route{Prefix: p, NextHop: via, Device: device})
		}
		n.neighbors = maps.Clone(n.wanted.neighbors)
		for _, a := range sortedAddrs(n.missing) {
			if n.neighbors[a].IsValid() {
				n.release(a)
			}
		}
	})
}

// settleTime is how long the daemon keeps what an earlier daemon left.
const settleTime = 30 * second

// adoptAdmitted fills the admission table of a new daemon's eBPF programs with the peers to which
// an earlier daemon's neighbours lead. The admissions of the new engine follow.
func (n *node) adoptAdmitted() {
	n.admitted, n.adopted, n.anyone = make(map[peerid.ID]bool),
		make(map[peerid.ID]bool),
		make(map[peerid.ID]bool)
	for _, id := range n.neighbors {
		n.adopted[id] = true
	}
	boots := n.boots
	n.w.after(settleTime, func() {
		if n.boots == boots {
			n.adopted = nil
		}
	})
}

// admit changes at once from which peers the kernel takes data.
func (n *node) admit(changes []engine.AdmissionChange) {
	for _, c := range changes {
		delete(n.adopted, c.ID)
		delete(n.anyone, c.ID)
		if c.Delete {
			delete(n.admitted, c.ID)
			continue
		}
		n.admitted[c.ID] = true
		if c.Shared {
			n.anyone[c.ID] = true
		}
	}
}

// takes reports whether the kernel takes data from a peer.
func (n *node) takes(from peerid.ID) bool {
	return n.admitted[from] || n.adopted[from] ||
		from.Shares() && n.anyone[peerid.At(n.outer[from])]
}

// route returns the route that the kernel chooses for a destination: that with the longest prefix,
// and the daemon's if two prefixes are equal.
func (n *node) route(dst netip.Addr) (engine.Route, bool) {
	r, ok := n.base.lookup(dst)
	own, there := n.own.lookup(dst)
	if there && (!ok || own.Prefix.Bits() >= r.Prefix.Bits()) {
		return own, true
	}
	return r, ok
}

// use returns the record of a peer's use.
func (n *node) use(id peerid.ID) *use {
	u := n.uses[id]
	if u == nil {
		u = &use{}
		n.uses[id] = u
	}
	return u
}

// readUse tells the engine a little later when each peer was last used.
func (n *node) readUse() {
	boots := n.boots
	n.w.after(n.w.between(100*time.Microsecond, 2*time.Millisecond), func() {
		if n.boots != boots {
			return
		}
		ev := engine.Used{Interface: device, Exact: true}
		for _, a := range sortedIDs(n.uses) {
			u := n.uses[a]
			ev.Peers = append(ev.Peers, engine.PeerUse{ID: a, In: u.in, Out: u.out})
			if len(n.ends[a]) == 0 {
				delete(n.uses, a)
			}
		}
		n.handle(ev)
	})
}

// sortedAddrs returns the keys of a map in order, so that a run does not depend on the order of the
// map.
func sortedAddrs[V any](m map[netip.Addr]V) []netip.Addr {
	return slices.SortedFunc(maps.Keys(m), netip.Addr.Compare)
}

// fib is a routing table with one route for each prefix.
type fib struct {
	routes map[netip.Prefix]engine.Route
	ofBits [33]int // number of routes by prefix length
}

// add adds a route, in the place of another one with the same prefix.
func (f *fib) add(r engine.Route) {
	if f.routes == nil {
		f.routes = make(map[netip.Prefix]engine.Route)
	}
	if _, ok := f.routes[r.Prefix]; !ok {
		f.ofBits[r.Prefix.Bits()]++
	}
	f.routes[r.Prefix] = r
}

// remove removes a route, unless another one has taken its place.
func (f *fib) remove(r engine.Route) {
	if have, ok := f.routes[r.Prefix]; ok && have == r {
		f.ofBits[r.Prefix.Bits()]--
		delete(f.routes, r.Prefix)
	}
}

// lookup returns the route with the longest prefix for a destination. It returns false if there is
// none.
func (f *fib) lookup(dst netip.Addr) (engine.Route, bool) {
	for bits := 32; bits >= 0 && len(f.routes) > 0; bits-- {
		if f.ofBits[bits] == 0 {
			continue
		}
		p, _ := dst.Prefix(bits)
		if r, ok := f.routes[p]; ok {
			return r, true
		}
	}
	return engine.Route{}, false
}

// list returns the routes, ordered by prefix.
func (f *fib) list() []engine.Route {
	list := make([]engine.Route, 0, len(f.routes))
	for _, p := range slices.SortedFunc(maps.Keys(f.routes), netip.Prefix.Compare) {
		list = append(list, f.routes[p])
	}
	return list
}

// sortedIDs does what sortedAddrs does for a map of peers.
func sortedIDs[V any](m map[peerid.ID]V) []peerid.ID {
	return slices.SortedFunc(maps.Keys(m), peerid.ID.Compare)
}
