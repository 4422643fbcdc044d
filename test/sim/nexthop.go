package sim

import (
	"net/netip"

	"cygnet/nhrpd/engine"
)

// mostStraight limits to how many others a spoke has routes without a hub in between: to those
// within this distance in the list of spokes.
const mostStraight = 100

// straightTo reports whether a spoke has a route to another spoke's LAN without a hub in between.
func (n *node) straightTo(m *node) bool {
	return n.w.NextHops && n != m && max(n.index-m.index, m.index-n.index) <= mostStraight
}

// straight returns a spoke's route to a LAN behind another spoke without a hub in between, or
// nothing if the spoke has none.
func (n *node) straight(lan netip.Prefix, m *node) []engine.Route {
	if !n.straightTo(m) {
		return nil
	}
	return []engine.Route{tunnelRoute(lan, m)}
}

// routeStraight gives spokes routes to each other without a hub in between.
func (w *world) routeStraight() {
	for _, n := range w.spokes() {
		for _, m := range w.spokes() {
			for _, r := range n.straight(m.lan, m) {
				n.addBase(r)
			}
		}
	}
}

// rerouteStraight changes the routes of the other spokes after a LAN has moved from one spoke to
// another.
func (w *world) rerouteStraight(lan netip.Prefix, now, before *node) {
	for _, n := range w.spokes() {
		added, removed := n.straight(lan, now), n.straight(lan, before)
		if n == now || n == before || len(added)+len(removed) == 0 {
			continue
		}
		quiet := n.quietAt
		w.rerouteSoon(n, added, removed)
		n.quietAt = quiet // the change disturbs the two spokes only
	}
}
