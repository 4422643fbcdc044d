package sim

import (
	"net/netip"

	"cygnet/nhrpd/engine"
)

// mostStraight is how far from it in the list of spokes those are that a spoke has straight routes to.
const mostStraight = 100

// straightTo says whether a spoke routes to what another one has without a hub in between.
func (n *node) straightTo(m *node) bool {
	return n.w.NextHops && n != m && max(n.index-m.index, m.index-n.index) <= mostStraight
}

// straight is a spoke's straight route to the LAN of another one, if it has one.
func (n *node) straight(lan netip.Prefix, m *node) []engine.Route {
	if !n.straightTo(m) {
		return nil
	}
	return []engine.Route{tunnelRoute(lan, m)}
}

// routeStraight has spokes route to each other without a hub in between.
func (w *world) routeStraight() {
	for _, n := range w.spokes() {
		for _, m := range w.spokes() {
			for _, r := range n.straight(m.lan, m) {
				n.addBase(r)
			}
		}
	}
}

// rerouteStraight has the other spokes follow a LAN that is behind another spoke than before.
func (w *world) rerouteStraight(lan netip.Prefix, now, before *node) {
	for _, n := range w.spokes() {
		added, removed := n.straight(lan, now), n.straight(lan, before)
		if n == now || n == before || len(added)+len(removed) == 0 {
			continue
		}
		quiet := n.quietAt
		w.rerouteSoon(n, added, removed)
		n.quietAt = quiet // only those two are concerned, and disturbed
	}
}
