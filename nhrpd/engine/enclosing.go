package engine

import "net/netip"

// enclosing finds the route of the longest prefix that is p or contains it.
func (t *routeTable) enclosing(p netip.Prefix) (Route, bool) {
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
