package sim

import "net/netip"

// shipClear is ship for a network without IPsec: it carries a packet to the node that has the
// address.
func (w *world) shipClear(
	n *node,
	to netip.Addr,
	arrive func(m *node, from netip.Addr),
	lost func(why string),
) {
	m := w.at(to)
	switch {
	case m == nil:
		lost(lostOnTheWay)
		return
	case w.chance(w.Loss):
		lost(lostByChance)
		return
	}
	from := n.public
	w.after(w.oneWay(n, m), func() {
		if m.public != to || n.public != from || !w.carries(n, m) {
			lost(lostOnTheWay)
			return
		}
		arrive(m, from)
	})
}
