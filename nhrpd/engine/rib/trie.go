package rib

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"
	"slices"
)

// Trie holds routes by prefix. It is a path-compressed binary trie for each address family. Nodes
// and routes lie in slices and refer to each other by index, and routes with equal next hops share
// them. So a full Internet table costs some 70 bytes a route, and the garbage collector has nothing
// to follow. The zero value is empty.
//
// Prefixes are masked on the way in, and an address's zone is ignored. IPv4 addresses mapped into
// IPv6 are IPv6 addresses here. Methods that only look up may run at the same time, others not.
type Trie struct {
	roots [2]uint32 // of IPv4 and of IPv6
	nodes []routeNode
	paths []routePath
	hops  []sharedHop
	ids   map[routeHop]uint32 // index of hops

	// Heads of the lists of unused elements: nodes through child[0], paths through next, hops
	// through refs.
	freeNode, freePath, freeHop uint32
	routes                      int
}

// routeNode is a prefix of the trie. One without a path of its own is a fork and has two children.
// Index 0 means none.
type routeNode struct {
	key   bitString
	child [2]uint32
	paths uint32 // the prefix's routes, best first
	bits  uint8
}

// routePath is one route of a prefix.
type routePath struct {
	hop  uint32
	next uint32
}

// routeHop is a route without its prefix.
type routeHop struct {
	nextHop netip.Addr
	device  string
	metric  uint32
	local   bool
}

type sharedHop struct {
	routeHop
	refs uint32
}

// sameRoute reports whether both are the same route of one prefix, so that adding one replaces the
// other.
func (h routeHop) sameRoute(o routeHop) bool {
	return h.metric == o.metric && h.nextHop == o.nextHop && h.device == o.device
}

func hopOf(r Route) routeHop {
	return routeHop{nextHop: r.NextHop, device: r.Device, metric: r.Metric, local: r.Local}
}

// Reset forgets all routes.
func (t *Trie) Reset() { *t = Trie{} }

// Len returns the number of routes. Each next hop of a prefix counts.
func (t *Trie) Len() int { return t.routes }

// Add adds a route. It replaces a route with the same prefix, metric, next hop and device, in its
// place among those with its metric; otherwise the new one comes after them. Add ignores a route
// without a valid prefix.
func (t *Trie) Add(r Route) {
	if !r.Prefix.IsValid() {
		return
	}
	hop := hopOf(r)
	t.paths = slices.Grow(t.paths, 2) // room for the one that may be made, so that at stays valid
	at := &t.nodes[t.node(r.Prefix.Masked())].paths
	for ; *at != 0; at = &t.paths[*at].next {
		p := &t.paths[*at]
		have := t.hops[p.hop].routeHop
		if have.sameRoute(hop) {
			old := p.hop
			p.hop = t.holdHop(hop)
			t.dropHop(old)
			return
		}
		if have.metric > hop.metric {
			break
		}
	}
	*at = t.newPath(routePath{hop: t.holdHop(hop), next: *at})
	t.routes++
}

// Remove removes the route with this prefix, metric, next hop and device. It ignores a route that
// is not there.
func (t *Trie) Remove(r Route) {
	if !r.Prefix.IsValid() {
		return
	}
	key, family := keyOf(r.Prefix.Masked().Addr())
	length := uint8(r.Prefix.Bits())
	var parent *uint32
	link := &t.roots[family]
	for *link != 0 && t.nodes[*link].bits < length {
		n := &t.nodes[*link]
		parent, link = link, &n.child[key.bit(n.bits)]
	}
	if *link == 0 {
		return
	}
	n := &t.nodes[*link]
	if n.bits != length || n.key != key || !t.removePath(n, hopOf(r)) {
		return
	}
	t.routes--
	t.prune(link)
	if parent != nil {
		t.prune(parent)
	}
}

func (t *Trie) removePath(n *routeNode, hop routeHop) bool {
	for at := &n.paths; *at != 0; at = &t.paths[*at].next {
		i := *at
		p := &t.paths[i]
		if !t.hops[p.hop].sameRoute(hop) {
			continue
		}
		*at = p.next
		t.dropHop(p.hop)
		*p = routePath{next: t.freePath}
		t.freePath = i
		return true
	}
	return false
}

// prune takes the linked node out when it has neither a route nor two children to tell apart.
func (t *Trie) prune(link *uint32) {
	i := *link
	n := &t.nodes[i]
	if n.paths != 0 || n.child[0] != 0 && n.child[1] != 0 {
		return
	}
	*link = n.child[0] | n.child[1]
	*n = routeNode{child: [2]uint32{t.freeNode}}
	t.freeNode = i
}

// Lookup returns the route for an address: of the longest prefix the one with the lowest metric,
// and of several of those the first added. It returns false if no prefix contains the address.
func (t *Trie) Lookup(addr netip.Addr) (Route, bool) {
	if !addr.IsValid() {
		return Route{}, false
	}
	key, family := keyOf(addr)
	var best uint32
	for i := t.roots[family]; i != 0; {
		n := &t.nodes[i]
		if n.key.common(key) < int(n.bits) {
			break
		}
		if n.paths != 0 {
			best = i
		}
		i = n.child[key.bit(n.bits)]
	}
	if best == 0 {
		return Route{}, false
	}
	n := &t.nodes[best]
	return t.route(n.prefix(family), n.paths), true
}

// Enclosing returns the route of the longest prefix that is p or contains p, chosen as by Lookup.
// It returns false if there is none.
func (t *Trie) Enclosing(p netip.Prefix) (Route, bool) {
	if !p.IsValid() {
		return Route{}, false
	}
	key, family := keyOf(p.Masked().Addr())
	var best uint32
	for i := t.roots[family]; i != 0; {
		n := &t.nodes[i]
		if int(n.bits) > p.Bits() || n.key.common(key) < int(n.bits) {
			break
		}
		if n.paths != 0 {
			best = i
		}
		if int(n.bits) == p.Bits() {
			break
		}
		i = n.child[key.bit(n.bits)]
	}
	if best == 0 {
		return Route{}, false
	}
	return t.route(t.nodes[best].prefix(family), t.nodes[best].paths), true
}

// Widest returns the widest prefix around addr that lies inside within and inside the prefix of the
// route for addr, and that contains no route more specific than that one: an answer for it hides no
// other route (RFC 2332 §6.3). Where addr has no route, within and the other routes bound it. At
// worst it is a host prefix. It is the zero Prefix if addr does not lie inside within.
func (t *Trie) Widest(addr netip.Addr, within netip.Prefix) netip.Prefix {
	addr = addr.WithZone("")
	if !within.Contains(addr) {
		return netip.Prefix{}
	}
	key, family := keyOf(addr)
	length := within.Bits()
	for i := t.roots[family]; i != 0; {
		n := &t.nodes[i]
		same := n.key.common(key)
		if same < int(n.bits) {
			length = max(length, same+1) // all below n parts from addr here
			break
		}
		if n.paths != 0 {
			length = max(length, int(n.bits))
		}
		side := key.bit(n.bits)
		if n.child[1-side] != 0 {
			length = max(length, int(n.bits)+1)
		}
		i = n.child[side]
	}
	return netip.PrefixFrom(addr, length).Masked()
}

// Inside yields every route whose prefix is p or lies inside p, in the order of
// netip.Prefix.Compare, and the routes of one prefix best first. The trie must not change
// meanwhile.
func (t *Trie) Inside(p netip.Prefix) iter.Seq[Route] {
	return func(yield func(Route) bool) {
		if !p.IsValid() {
			return
		}
		key, family := keyOf(p.Masked().Addr())
		i := t.roots[family]
		for i != 0 && int(t.nodes[i].bits) < p.Bits() {
			i = t.nodes[i].child[key.bit(t.nodes[i].bits)]
		}
		// The way down looked at one bit of each node; this comparison makes up for the others.
		if i != 0 && t.nodes[i].key.common(key) >= p.Bits() {
			t.walk(i, family, yield)
		}
	}
}

// walk yields the routes of a node and of those below it; it goes no deeper than an address has
// bits.
func (t *Trie) walk(i uint32, family int, yield func(Route) bool) bool {
	if i == 0 {
		return true
	}
	n := &t.nodes[i]
	prefix := n.prefix(family)
	for p := n.paths; p != 0; p = t.paths[p].next {
		if !yield(t.route(prefix, p)) {
			return false
		}
	}
	return t.walk(n.child[0], family, yield) && t.walk(n.child[1], family, yield)
}

func (t *Trie) route(prefix netip.Prefix, path uint32) Route {
	h := &t.hops[t.paths[path].hop]
	return Route{
		Prefix: prefix, NextHop: h.nextHop, Device: h.device, Local: h.local, Metric: h.metric,
	}
}

// node finds the node of a masked prefix, or makes it.
func (t *Trie) node(p netip.Prefix) uint32 {
	t.nodes = slices.Grow(t.nodes, 3) // room for those that may be made, so that link stays valid
	key, family := keyOf(p.Addr())
	length := uint8(p.Bits())
	link := &t.roots[family]
	for *link != 0 {
		n := &t.nodes[*link]
		if n.bits > length || n.key.common(key) < int(n.bits) {
			break
		}
		if n.bits == length {
			return *link
		}
		link = &n.child[key.bit(n.bits)]
	}
	made := t.newNode(key, length)
	below := *link
	if below == 0 {
		*link = made
		return made
	}
	old := t.nodes[below].key
	same := old.common(key)
	if same >= int(length) {
		t.nodes[made].child[old.bit(length)] = below
		*link = made
		return made
	}
	fork := t.newNode(key.mask(same), uint8(same))
	t.nodes[fork].child[key.bit(uint8(same))] = made
	t.nodes[fork].child[old.bit(uint8(same))] = below
	*link = fork
	return made
}

func (t *Trie) newNode(key bitString, length uint8) uint32 {
	n := routeNode{key: key, bits: length}
	if i := t.freeNode; i != 0 {
		t.freeNode = t.nodes[i].child[0]
		t.nodes[i] = n
		return i
	}
	if len(t.nodes) == 0 {
		t.nodes = append(t.nodes, routeNode{})
	}
	t.nodes = append(t.nodes, n)
	return uint32(len(t.nodes) - 1)
}

func (t *Trie) newPath(p routePath) uint32 {
	if i := t.freePath; i != 0 {
		t.freePath = t.paths[i].next
		t.paths[i] = p
		return i
	}
	if len(t.paths) == 0 {
		t.paths = append(t.paths, routePath{})
	}
	t.paths = append(t.paths, p)
	return uint32(len(t.paths) - 1)
}

// holdHop finds the shared copy of a hop, or makes it, and counts one more user of it.
func (t *Trie) holdHop(h routeHop) uint32 {
	if i, ok := t.ids[h]; ok {
		t.hops[i].refs++
		return i
	}
	if t.ids == nil {
		t.ids = make(map[routeHop]uint32)
		t.hops = append(t.hops, sharedHop{})
	}
	i := t.freeHop
	if i != 0 {
		t.freeHop = t.hops[i].refs
	} else {
		i = uint32(len(t.hops))
		t.hops = append(t.hops, sharedHop{})
	}
	t.hops[i] = sharedHop{routeHop: h, refs: 1}
	t.ids[h] = i
	return i
}

func (t *Trie) dropHop(i uint32) {
	h := &t.hops[i]
	h.refs--
	if h.refs > 0 {
		return
	}
	delete(t.ids, h.routeHop)
	*h = sharedHop{refs: t.freeHop}
	t.freeHop = i
}

// bitString is an address from its first bit on; an IPv4 address fills the first 32.
type bitString struct{ hi, lo uint64 }

// keyOf gives an address's bits and the index of its family.
func keyOf(a netip.Addr) (bitString, int) {
	if a.Is4() {
		b := a.As4()
		return bitString{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32}, 0
	}
	b := a.As16()
	return bitString{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}, 1
}

func (n *routeNode) prefix(family int) netip.Prefix {
	if family == 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n.key.hi>>32))
		return netip.PrefixFrom(netip.AddrFrom4(b), int(n.bits))
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.key.hi)
	binary.BigEndian.PutUint64(b[8:], n.key.lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), int(n.bits))
}

// common is the number of first bits that both share.
func (s bitString) common(o bitString) int {
	if x := s.hi ^ o.hi; x != 0 {
		return bits.LeadingZeros64(x)
	}
	return 64 + bits.LeadingZeros64(s.lo^o.lo)
}

// bit is bit i, the first being 0; past the last it is 0.
func (s bitString) bit(i uint8) uint8 {
	if i < 64 {
		return uint8(s.hi >> (63 - i) & 1)
	}
	return uint8(s.lo >> (127 - i) & 1)
}

// mask keeps the first n bits.
func (s bitString) mask(n int) bitString {
	if n <= 64 {
		return bitString{hi: s.hi &^ (^uint64(0) >> n)}
	}
	return bitString{hi: s.hi, lo: s.lo &^ (^uint64(0) >> (n - 64))}
}
