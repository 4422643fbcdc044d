// Package rib holds the routes that the engine decides by. For each routing table of the kernel
// there is a Table: a mirror of the kernel's routes without the daemon's own, the prefixes that
// clients announced, and host routes to routers of the overlay. Look-ups take the longest match
// over all three.
//
// It answers the questions of RFC 2332 about routes: which way a packet to a destination takes
// (§2.2), and for which prefix a router may answer without hiding a more specific route (§6.3).
// What follows from the answers is the engine's to decide.
package rib

import (
	"iter"
	"net/netip"
)

// Route is a route of the kernel.
type Route struct {
	Prefix  netip.Prefix
	NextHop netip.Addr // zero: directly connected
	// Device is the output interface. It is empty if the prefix is unreachable (blackhole,
	// prohibit, unreachable).
	Device string
	Local  bool   // delivered to this host
	Metric uint32 // of two routes for one prefix the lower one counts
}

// OwnAddress reports whether the route leads to an address of this host.
func (r *Route) OwnAddress() bool { return r.Local && r.Prefix.IsSingleIP() }

// Connected reports whether the route leads onto a link, or to this host.
func (r *Route) Connected() bool { return r.Local || r.Device != "" && !r.NextHop.IsValid() }

// Table holds the routes that one routing table of the kernel amounts to. The zero value is empty.
// Its methods must not run at the same time.
type Table struct {
	// Announced are the prefixes of clients that the daemon wants routes to. They are kept here
	// because the mirror leaves out the daemon's own routes.
	Announced Trie
	// Routers are the host routes to routers of the overlay, for the same reason.
	Routers Trie

	// The mirror. The host's own addresses are kept apart: they lie inside the prefixes of
	// connected networks, and must neither narrow an answer for the network nor stand in its way.
	mirror    Trie
	connected Trie // the routes of the mirror for which Route.Connected holds
	own       Trie
}

// Add adds a route of the kernel, or replaces it.
func (t *Table) Add(r Route) {
	if r.OwnAddress() {
		t.own.Add(r)
		return
	}
	t.mirror.Add(r)
	if r.Connected() {
		t.connected.Add(r)
	}
}

// Remove removes a route of the kernel.
func (t *Table) Remove(r Route) {
	if r.OwnAddress() {
		t.own.Remove(r)
		return
	}
	t.mirror.Remove(r)
	t.connected.Remove(r)
}

// Reset removes all routes of the kernel. Announced and Routers stay.
func (t *Table) Reset() {
	t.mirror.Reset()
	t.connected.Reset()
	t.own.Reset()
}

// Empty reports whether the kernel has no route at all: nobody has read its table yet.
func (t *Table) Empty() bool { return t.mirror.Len() == 0 && t.own.Len() == 0 }

// IsLocal reports whether packets to addr are delivered to this host.
func (t *Table) IsLocal(addr netip.Addr) bool {
	r, ok := t.own.Lookup(addr)
	if ok && r.Prefix.Contains(addr) {
		return true
	}
	r, ok = t.mirror.Lookup(addr)
	return ok && r.Local
}

// Lookup returns the route for an address, by the longest match over the kernel's routes, announced
// prefixes and routers. Of two for one prefix the kernel's counts, which is the administrator's. It
// returns false if there is no route.
func (t *Table) Lookup(addr netip.Addr) (Route, bool) {
	r, ok := t.mirror.Lookup(addr)
	for _, ours := range []*Trie{&t.Announced, &t.Routers} {
		if o, is := ours.Lookup(addr); is && (!ok || o.Prefix.Bits() > r.Prefix.Bits()) {
			r, ok = o, true
		}
	}
	return r, ok
}

// KernelLookup is Lookup over the kernel's routes alone.
func (t *Table) KernelLookup(addr netip.Addr) (Route, bool) { return t.mirror.Lookup(addr) }

// KernelEnclosing returns the kernel's route of the longest prefix that is p or contains p. The
// host's own addresses do not count.
func (t *Table) KernelEnclosing(p netip.Prefix) (Route, bool) { return t.mirror.Enclosing(p) }

// ConnectedInside yields the kernel's routes inside p for which Route.Connected holds, except the
// host's own addresses.
func (t *Table) ConnectedInside(p netip.Prefix) iter.Seq[Route] { return t.connected.Inside(p) }

// OwnInside yields the host's own addresses inside p.
func (t *Table) OwnInside(p netip.Prefix) iter.Seq[Route] { return t.own.Inside(p) }

// Answerable returns the prefix around dest that a router may answer for, if packets to dest leave
// the overlay there: the prefix of the route, narrowed so that it hides no other (RFC 2332 §6.3).
// The default route leads anywhere, so only the host itself is certain then.
func (t *Table) Answerable(dest netip.Addr) netip.Prefix {
	r, ok := t.Lookup(dest)
	if !ok || r.Prefix.Bits() == 0 {
		return netip.PrefixFrom(dest, dest.BitLen())
	}
	return t.widest(dest, r.Prefix)
}

// Narrow returns the part of prefix around dest that a shortcut may cover. That part is not wider
// than led, the prefix of the route that led to the question, and it hides neither another route
// nor an address of this host.
func (t *Table) Narrow(dest netip.Addr, prefix, led netip.Prefix) netip.Prefix {
	if prefix.Bits() < led.Bits() {
		prefix = led.Masked()
	}
	return t.own.Widest(dest, t.widest(dest, prefix))
}

// widest is Trie.Widest over the kernel's routes, announced prefixes and routers.
func (t *Table) widest(addr netip.Addr, within netip.Prefix) netip.Prefix {
	return t.Routers.Widest(addr, t.Announced.Widest(addr, t.mirror.Widest(addr, within)))
}
