package sim

import (
	"cygnet/nhrpd/engine/peerid"
)

// shipClear is ship for a network without IPsec: it carries a packet to the node that has the
// address.
func (w *world) shipClear(
	n *node,
	to peerid.ID,
	arrive func(m *node, from peerid.ID),
	lost func(why string),
) {
	m := w.at(to.Address())
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
		if m.public != to.Address() || n.public != from || !w.carries(n, m) {
			lost(lostOnTheWay)
			return
		}
		arrive(m, peerid.At(from))
	})
}
