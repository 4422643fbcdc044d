package sim

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"
)

// kernel is a machine's tables: what the administrator and routing put there, and what the daemon did.
type kernel struct {
	base      fib
	own       fib
	neighbors map[netip.Addr]netip.Addr
	admitted  map[netip.Addr]bool // whose data is taken
	adopted   map[netip.Addr]bool // likewise, because neighbours of an earlier daemon led there
	uses      map[netip.Addr]*use
	missing   map[netip.Addr]*missing
	led       map[netip.Addr]netip.Addr // addresses behind the names of peers
	anyone    map[netip.Addr]bool       // admitted with whoever else is at the address
	changedAt int64                     // when the last change under way will be there
}

// use is when data last passed to and from a peer, by the node's clock.
type use struct{ in, out time.Time }

func (k *kernel) clear() {
	k.own = fib{}
	k.neighbors = make(map[netip.Addr]netip.Addr)
	k.admitted = make(map[netip.Addr]bool)
	k.adopted = nil
	k.uses = make(map[netip.Addr]*use)
	k.missing = make(map[netip.Addr]*missing)
	k.led = make(map[netip.Addr]netip.Addr)
	k.anyone = make(map[netip.Addr]bool)
}

func (n *node) addBase(r engine.Route) { n.base.add(r) }

// reroute is what an administrator or a routing protocol does.
func (n *node) reroute(added, removed []engine.Route) {
	for _, r := range removed {
		n.base.remove(r)
	}
	for _, r := range added {
		n.base.add(r)
		n.log.add(n.w.now, "route", r.NextHop, r.Prefix.String())
	}
	n.handle(engine.RoutesChanged{Table: table, Added: added, Removed: removed})
}

// apply changes the kernel's tables a little later: routes that go, neighbours, routes that come.
func (n *node) apply(neighbors []engine.NeighborChange, routes []engine.RouteChange) {
	if len(neighbors)+len(routes) == 0 {
		return
	}
	neighbors, routes = slices.Clone(neighbors), slices.Clone(routes)
	boots := n.boots
	n.inKernel(func() {
		if n.boots != boots {
			return // the daemon that wanted it is gone, and the next one compares
		}
		n.put(neighbors, routes)
	})
}

// inKernel runs f when the kernel has taken all changes before it.
func (n *node) inKernel(f func()) {
	w := n.w
	n.changedAt = max(n.changedAt, w.now+w.between(200*time.Microsecond, 3*time.Millisecond))
	w.queue.push(n.changedAt, f)
}

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
			n.neighbors[c.Protocol] = c.NBMA
			n.release(c.Protocol)
		}
	}
	last := make(map[netip.Prefix]int) // a route that came and went in one turn is not there
	for i, r := range routes {
		last[r.Prefix] = i
	}
	for i, r := range routes {
		if !r.Delete && last[r.Prefix] == i {
			n.own.add(ownRoute(r))
		}
	}
}

func ownRoute(r engine.RouteChange) engine.Route {
	return engine.Route{Prefix: r.Prefix, NextHop: r.NextHop, Device: device}
}

// compareKernelSoon has the kernel brought in line with what a daemon that just started wants.
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

// settleTime is how long the daemon lets be what an earlier one left.
const settleTime = 30 * second

// adoptAdmitted fills the table of a new daemon's programs, before what its engine wants is added.
func (n *node) adoptAdmitted() {
	n.admitted, n.adopted, n.anyone = make(map[netip.Addr]bool), make(map[netip.Addr]bool), make(map[netip.Addr]bool)
	for _, nbma := range n.neighbors {
		n.adopted[nbma] = true
	}
	boots := n.boots
	n.w.after(settleTime, func() {
		if n.boots == boots {
			n.adopted = nil
		}
	})
}

// admit changes whose data is taken, at once.
func (n *node) admit(changes []engine.AdmissionChange) {
	for _, c := range changes {
		delete(n.adopted, c.NBMA)
		delete(n.anyone, c.NBMA)
		if c.Delete {
			delete(n.admitted, c.NBMA)
			continue
		}
		n.admitted[c.NBMA] = true
		if c.Shared {
			n.anyone[c.NBMA] = true
		}
	}
}

// takes says whether data from a peer is taken.
func (n *node) takes(from netip.Addr) bool {
	return n.admitted[from] || n.adopted[from] || isName(from) && n.anyone[n.led[from]]
}

// route is the kernel's decision: the longest prefix, of two alike the daemon's.
func (n *node) route(dst netip.Addr) (engine.Route, bool) {
	r, ok := n.base.lookup(dst)
	own, there := n.own.lookup(dst)
	if there && (!ok || own.Prefix.Bits() >= r.Prefix.Bits()) {
		return own, true
	}
	return r, ok
}

func (n *node) use(nbma netip.Addr) *use {
	u := n.uses[nbma]
	if u == nil {
		u = &use{}
		n.uses[nbma] = u
	}
	return u
}

// readUse answers the engine's question for the use of peers.
func (n *node) readUse() {
	boots := n.boots
	n.w.after(n.w.between(100*time.Microsecond, 2*time.Millisecond), func() {
		if n.boots != boots {
			return
		}
		ev := engine.Used{Interface: device}
		for _, a := range sortedAddrs(n.uses) {
			u := n.uses[a]
			ev.Peers = append(ev.Peers, engine.PeerUse{NBMA: a, In: u.in, Out: u.out})
			if len(n.ends[a]) == 0 {
				delete(n.uses, a)
			}
		}
		n.handle(ev)
	})
}

func sortedAddrs[V any](m map[netip.Addr]V) []netip.Addr {
	return slices.SortedFunc(maps.Keys(m), netip.Addr.Compare)
}

// fib is a routing table with one route a prefix.
type fib struct {
	routes map[netip.Prefix]engine.Route
	ofBits [33]int // how many there are of each length
}

func (f *fib) add(r engine.Route) {
	if f.routes == nil {
		f.routes = make(map[netip.Prefix]engine.Route)
	}
	if _, ok := f.routes[r.Prefix]; !ok {
		f.ofBits[r.Prefix.Bits()]++
	}
	f.routes[r.Prefix] = r
}

// remove takes a route out unless another one took its place.
func (f *fib) remove(r engine.Route) {
	if have, ok := f.routes[r.Prefix]; ok && have == r {
		f.ofBits[r.Prefix.Bits()]--
		delete(f.routes, r.Prefix)
	}
}

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

// list gives the routes in order.
func (f *fib) list() []engine.Route {
	list := make([]engine.Route, 0, len(f.routes))
	for _, p := range slices.SortedFunc(maps.Keys(f.routes), netip.Prefix.Compare) {
		list = append(list, f.routes[p])
	}
	return list
}
