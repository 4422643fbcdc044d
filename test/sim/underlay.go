package sim

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"
)

// natKind is how a NAT in front of a router treats packets that come from outside.
type natKind uint8

const (
	noNAT      natKind = iota
	fullCone           // lets everybody in to a port that is mapped
	restricted         // only addresses that the router sent to
	symmetric          // only answers: another port for each destination
)

// punched is how long a NAT remembers an attempt to reach somebody.
const punched = int64(30 * time.Second)

// pair names two nodes whichever way round.
type pair struct{ low, high int }

func pairOf(a, b *node) pair { return pair{min(a.index, b.index), max(a.index, b.index)} }

// freedAddress is an NBMA address that was given up.
type freedAddress struct {
	addr netip.Addr
	at   int64
}

// leased is how long nobody else gets an address that was given up: longer than dead peer detection takes. An SA with whom had it
// before would stand for whom has it now until then, since the daemon goes by the oldest.
const leased = int64(time.Minute)

// newAddress is an NBMA address for somebody: new, or one that another router had.
func (w *world) newAddress() netip.Addr {
	if len(w.freed) > 0 && w.now-w.freed[0].at > leased && w.chance(0.3) {
		a := w.freed[0].addr
		w.freed = slices.Delete(w.freed, 0, 1)
		return a
	}
	w.taken++
	return v4(198<<24 | 18<<16 + w.taken)
}

func (n *node) takeAddress(a netip.Addr) {
	w := n.w
	if n.public == a {
		return
	}
	if old := n.public; old.IsValid() {
		w.byAddr[old] = slices.DeleteFunc(slices.Clone(w.byAddr[old]), func(m *node) bool { return m == n })
		for _, m := range w.byAddr[old] {
			m.mixedUntil = w.now + w.heals()
		}
		if len(w.byAddr[old]) == 0 {
			delete(w.byAddr, old)
			w.freed = append(w.freed, freedAddress{old, w.now})
		}
	}
	n.public, n.movedAt = a, w.now
	w.byAddr[a] = append(w.byAddr[a], n)
}

// at is who can be reached at an address from outside: nobody where several are behind a NAT.
func (w *world) at(a netip.Addr) *node {
	if list := w.byAddr[a]; len(list) == 1 {
		return list[0]
	}
	return nil
}

func (w *world) cut(a, b *node) bool { return w.now < w.cuts[pairOf(a, b)] }

// carries says whether the underlay takes packets from one node to another; no NAT turns them round. Where only one direction is cut, the other goes on.
func (w *world) carries(from, to *node) bool {
	return from.up && to.up && from.public != to.public && !w.lineDown(from) && !w.lineDown(to) && (!w.cut(from, to) || w.open[pairOf(from, to)] == from)
}

// reaches says whether packets of the underlay can pass between two routers that have mappings in their NATs.
func (w *world) reaches(a, b *node) bool {
	return a.up && b.up && a.public != b.public && !w.cut(a, b) && !w.lineDown(a) && !w.lineDown(b)
}

// letsIn says whether n's NAT, if any, lets an unexpected packet of another router in.
func (n *node) letsIn(from *node) bool {
	switch n.nat {
	case restricted:
		d := n.dials[from.public]
		return n.secures(from.public) || d != nil && d.tried && n.w.now-d.last < punched
	case symmetric:
		return false
	}
	return true
}

// oneWay is how long a packet takes.
func (w *world) oneWay(a, b *node) int64 {
	d := a.delay + b.delay + w.between(0, 3*time.Millisecond)
	if w.chance(0.01) {
		d += w.between(0, 200*time.Millisecond) // later ones overtake it
	}
	return d
}

// Why a data packet was lost, where it is not for lack of a route.
const (
	lostByChance = "the underlay lost it"
	lostNoSA     = "no SA"
	lostOnTheWay = "the far end has no such SA or is not where it was"
)

// ship carries a packet through the newest SA with an NBMA address. One of the two functions is called, for each copy that arrives.
func (w *world) ship(n *node, to netip.Addr, arrive func(m *node, from netip.Addr), lost func(why string)) {
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

// transmit sends an NHRP packet, now and then twice.
func (n *node) transmit(p *engine.Packet) {
	w := n.w
	w.NHRP++
	data := slices.Clone(p.Data)
	n.log.add(w.now, "sends", p.To, typeOf(data))
	if n.overhear != nil {
		n.overhear(data)
	}
	arrive := func(m *node, from netip.Addr) {
		if !m.daemonUp {
			return
		}
		m.log.add(w.now, "receives", from, typeOf(data))
		m.call(func(now time.Time, out *engine.Output) { m.engine.Receive(now, device, from, data, out) })
	}
	to := p.To
	w.ship(n, to, arrive, func(string) {})
	if w.chance(0.01) {
		w.ship(n, to, arrive, func(string) {})
	}
}
