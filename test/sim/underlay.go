package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// natKind is how a NAT in front of a router filters packets from outside (RFC 4787).
type natKind uint8

// The kinds of NAT.
const (
	noNAT      natKind = iota
	fullCone           // lets all packets in to a port that has a mapping
	restricted         // lets in packets from addresses to which the router has sent
	symmetric          // lets in answers only, since it uses another port for each destination
)

// punched is how long a NAT remembers that a router sent to an address.
const punched = int64(30 * time.Second)

// pair names two nodes in either order.
type pair struct{ low, high int }

// pairOf returns the pair of two nodes.
func pairOf(a, b *node) pair { return pair{min(a.index, b.index), max(a.index, b.index)} }

// freedAddress is an NBMA address that no router has any more.
type freedAddress struct {
	addr netip.Addr
	at   int64 // when the last router at the address moved away
}

// leased is how long a freed address stays unused: longer than dead peer detection takes. Until
// dead peer detection ends the SA with the earlier router at an address, the daemon would take that
// SA for one with the new router, since the daemon uses the oldest SA.
const leased = int64(time.Minute)

// newAddress returns an NBMA address for a router: a new one, or one that another router had.
func (w *world) newAddress() netip.Addr {
	if len(w.freed) > 0 && w.now-w.freed[0].at > leased && w.chance(0.3) {
		a := w.freed[0].addr
		w.freed = slices.Delete(w.freed, 0, 1)
		return a
	}
	w.taken++
	return v4(198<<24 | 18<<16 + w.taken)
}

// takeAddress gives a node an NBMA address.
func (n *node) takeAddress(a netip.Addr) {
	w := n.w
	if n.public == a {
		return
	}
	if old := n.public; old.IsValid() {
		w.byAddr[old] = slices.DeleteFunc(
			slices.Clone(w.byAddr[old]),
			func(m *node) bool { return m == n },
		)
		for _, m := range w.byAddr[old] {
			m.ambiguousUntil = w.now + w.heals()
		}
		if len(w.byAddr[old]) == 0 {
			delete(w.byAddr, old)
			w.freed = append(w.freed, freedAddress{old, w.now})
		}
	}
	n.public, n.movedAt = a, w.now
	w.byAddr[a] = append(w.byAddr[a], n)
}

// at returns the node that others can reach at an NBMA address. It returns nil if no node has the
// address, or several behind a NAT share it.
func (w *world) at(a netip.Addr) *node {
	if list := w.byAddr[a]; len(list) == 1 {
		return list[0]
	}
	return nil
}

// cut reports whether the underlay between two nodes is cut, in one direction at least.
func (w *world) cut(a, b *node) bool { return w.now < w.cuts[pairOf(a, b)] }

// carries reports whether the underlay carries packets from one node to another. It carries none
// between two nodes behind the same NAT, since no NAT here sends packets back inside. A cut in one
// direction leaves the other direction working.
func (w *world) carries(from, to *node) bool {
	return from.up && to.up && from.public != to.public &&
		!w.lineDown(from) && !w.lineDown(to) &&
		(!w.cut(from, to) || w.open[pairOf(from, to)] == from)
}

// reaches reports whether the underlay carries packets between two routers in both directions, if
// their NATs have mappings.
func (w *world) reaches(a, b *node) bool {
	return a.up && b.up && a.public != b.public && !w.cut(a, b) && !w.lineDown(a) && !w.lineDown(b)
}

// letsIn reports whether n's NAT, if n has one, lets the first packet of another router in.
func (n *node) letsIn(from *node) bool {
	switch n.nat {
	case restricted:
		id := peerid.At(from.public)
		d := n.dials[id]
		return n.secures(id) || d != nil && d.tried && n.w.now-d.last < punched
	case symmetric:
		return false
	}
	return true
}

// oneWay returns how long a packet takes from one node to another.
func (w *world) oneWay(a, b *node) int64 {
	d := a.delay + b.delay + w.between(0, 3*time.Millisecond)
	if w.chance(0.01) {
		d += w.between(0, 200*time.Millisecond) // later packets overtake this one
	}
	return d
}

// Reasons of the underlay and of IPsec for the loss of a data packet.
const (
	lostByChance = "the underlay lost it"
	lostNoSA     = "no SA"
	lostOnTheWay = "the far end has no such SA or is not where it was"
)

// ship carries a packet through the newest SA with a peer. It calls arrive with the node that
// receives the packet and the sender as that node knows it, or lost with the reason.
func (w *world) ship(
	n *node,
	to peerid.ID,
	arrive func(m *node, from peerid.ID),
	lost func(why string),
) {
	if w.Unprotected {
		w.shipClear(n, to, arrive, lost)
		return
	}
	end := n.outbound(to)
	if end == nil {
		lost(lostNoSA)
		return
	}
	if w.chance(w.Loss) {
		lost(lostByChance)
		return
	}
	far := end.far
	w.after(w.oneWay(n, far.node), func() {
		if !far.kernel || !end.fits() || !w.carries(n, far.node) {
			lost(lostOnTheWay)
			return
		}
		arrive(far.node, far.remote)
	})
}

// transmit sends an NHRP packet. Now and then it sends the packet twice.
func (n *node) transmit(p *engine.Packet) {
	w := n.w
	w.NHRP++
	data := slices.Clone(p.Data)
	n.log.add(w.now, "sends", p.To, typeOf(data))
	if n.overhear != nil {
		n.overhear(data)
	}
	arrive := func(m *node, from peerid.ID) {
		if !m.daemonUp {
			return
		}
		m.log.add(w.now, "receives", from, typeOf(data))
		m.call(func(now time.Time, out *engine.Output) {
			m.engine.Receive(now, device, from, data, out)
		})
	}
	to := p.To
	w.ship(n, to, arrive, func(string) {})
	if w.chance(0.01) {
		w.ship(n, to, arrive, func(string) {})
	}
}
