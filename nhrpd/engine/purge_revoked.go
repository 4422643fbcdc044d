package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// revocations are the routers that were taken their addresses away, and the clients that have to be
// told. A change of the rules may revoke thousands of routers at once, and each of thousands of
// clients may have been led to each of them. So all are reviewed first. Then each client is told in
// purges that name as many routers as fit, one purge at a time, and all together at a pace that
// neither the turn nor the network notices. What is remembered is one entry a revoked router and
// one a client.
//
// A client goes through these states; next is what it has not heard of yet:
//
//	queued ──its turn comes──> waiting ──reply──> nothing left: forgotten
//	   ^                          │                └─ more: queued after purgeGap
//	   └────2 s without a reply───┘  (the third time the batch is given up)
type revocations struct {
	list    []revoked
	first   int // the number of list[0], counted from the first of all
	last    int // the number of the first for which the clients are not queued yet
	hearers map[netip.Addr]*hearer
	waiting map[uint32]*hearer // by the id of the purge that is out
	queue   []*hearer
	tick    timers.Timer // sends the next burst
	pause   time.Time    // no burst before it
	entries []packet.CIE // scratch
}

// revoked is a router that must not be led to any more.
type revoked struct {
	protocol netip.Addr
	at       netip.Addr // NBMA address as the world sees it
}

// hearer is a client that is told.
type hearer struct {
	purge
	next   int // the number of the first revoked router that it has not been told of
	upto   int // the number after the last one of the purge that is out; 0: none is
	queued bool
}

const (
	purgeBurst = 40                     // purges at once
	purgePace  = 20 * time.Millisecond  // between bursts: 2,000 purges a second
	purgeGap   = 100 * time.Millisecond // between the purges of one client, below its limit for an NHS
)

// noteRevoked remembers a revoked router. The clients are queued at the end of the call, when all
// that it revokes are known.
func (e *Engine) noteRevoked(b *binding) {
	ifc, r := b.ifc, &b.ifc.revocations
	if len(r.list) >= ifc.cfg.Limits.Bindings {
		e.drop(dropTableFull) // the oldest: most have heard of it
		r.list = r.list[1:]
		r.first++
	}
	r.list = append(r.list, revoked{protocol: b.protocol, at: ifc.real(b.nbma)})
	if !slices.Contains(e.revoking, ifc) {
		e.revoking = append(e.revoking, ifc)
	}
}

// tellRevoked queues the clients for what was revoked during the call, and sends the first purges.
func (e *Engine) tellRevoked(ifc *iface) {
	r := &ifc.revocations
	if r.hearers == nil {
		r.hearers, r.waiting = make(map[netip.Addr]*hearer), make(map[uint32]*hearer)
		r.tick.Run = func() { e.sendRevoked(ifc) }
	}
	for _, b := range inOrder(ifc.bindings, byAddr) {
		if b.static || r.hearers[b.protocol] != nil || !ifc.secured(b.nbma) {
			continue
		}
		h := &hearer{purge: purge{ifc: ifc, dest: b.protocol}, next: r.last}
		h.again.Run = func() { e.tellAgain(h) }
		r.hearers[b.protocol] = h
		r.enqueue(h)
	}
	r.last = r.first + len(r.list)
	if e.now.Before(r.pause) {
		e.scheduleRevoked(r)
		return
	}
	e.sendRevoked(ifc)
}

func (r *revocations) enqueue(h *hearer) {
	if !h.queued {
		h.queued = true
		r.queue = append(r.queue, h)
	}
}

// tellAgain queues a client whose time to be told more, or again, has come.
func (e *Engine) tellAgain(h *hearer) {
	h.ifc.revocations.enqueue(h)
	e.scheduleRevoked(&h.ifc.revocations)
}

// scheduleRevoked has the next burst sent as soon as the pace allows it.
func (e *Engine) scheduleRevoked(r *revocations) {
	if len(r.queue) > 0 && !r.tick.IsSet() {
		e.timers.Set(&r.tick, later(e.now, r.pause))
	}
}

// sendRevoked sends one burst of purges, and schedules the next one.
func (e *Engine) sendRevoked(ifc *iface) {
	r := &ifc.revocations
	r.pause = e.now.Add(purgePace)
	room := e.purgeRoom(ifc)
	for sent := 0; sent < purgeBurst && len(r.queue) > 0; {
		h := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		h.queued = false
		if r.hearers[h.dest] == h && e.sendBatch(h, room) {
			sent++
		}
	}
	if len(r.hearers) == 0 {
		e.endRevocations(ifc)
	}
	e.scheduleRevoked(r)
}

// purgeRoom returns how many entries fit into one purge.
func (e *Engine) purgeRoom(ifc *iface) int {
	if ifc.cfg.MTU == 0 {
		return maxEntries
	}
	size := func(entries int) int {
		p := packet.Packet{Type: packet.PurgeRequest, HopCount: hopCount, SourceNBMA: ifc.local,
			SourceProtocol: ifc.overlay(), DestProtocol: ifc.overlay()}
		for range entries {
			p.CIEs = append(p.CIEs, packet.CIE{Protocol: ifc.overlay(), NBMA: ifc.local})
		}
		e.authenticate(ifc, &p)
		data, _ := p.Append(nil) // what cannot be encoded fails again when it is sent
		return len(data)
	}
	one := size(1)
	each := max(1, size(2)-one)
	return min(maxEntries, 1+max(0, int(ifc.cfg.MTU)-one)/each)
}

// sendBatch sends a client the purge that is its turn, anew or again, and reports whether it did. A
// client that is not registered any more, or has heard all, is forgotten.
func (e *Engine) sendBatch(h *hearer, room int) bool {
	ifc, r := h.ifc, &h.ifc.revocations
	if h.tries == purgeTries {
		e.endBatch(h)
	}
	b := ifc.bindings[h.dest]
	if b == nil || b.static {
		e.forgetHearer(h)
		return false
	}
	cies := h.batch(room)
	if len(cies) == 0 && h.upto != 0 {
		e.endBatch(h) // all of them have registered again meanwhile
		cies = h.batch(room)
	}
	if len(cies) == 0 {
		e.forgetHearer(h)
		return false
	}
	if h.tries == 0 {
		h.id = e.newRequestID()
		r.waiting[h.id] = h
	}
	h.tries++
	h.nbma = b.nbma
	e.timers.Set(&h.again, e.now.Add(purgeAgain))
	if !ifc.secured(b.nbma) {
		return false
	}
	e.sendPurgeEntries(&h.purge, 0, cies)
	return true
}

// batch returns the entries of the purge that is out, or else of the next one. Routers that have
// registered again from where they were are left out: the rules give them their addresses again.
func (h *hearer) batch(room int) []packet.CIE {
	r := &h.ifc.revocations
	h.next = max(h.next, r.first)
	end := r.first + len(r.list)
	if h.upto != 0 {
		end = h.upto
	}
	cies := r.entries[:0]
	for i := h.next; i < end && len(cies) < room; i++ {
		x := &r.list[i-r.first]
		if b := h.ifc.bindings[x.protocol]; b == nil || h.ifc.real(b.nbma) != x.at {
			bits := uint8(x.protocol.BitLen())
			cies = append(cies, packet.CIE{PrefixLength: bits, Protocol: x.protocol, NBMA: x.at})
			h.upto = i + 1
		}
	}
	r.entries = cies
	return cies
}

// heardRevoked takes a client's word that it has heard, and goes on with what is left.
func (e *Engine) heardRevoked(h *hearer) {
	e.endBatch(h)
	if r := &h.ifc.revocations; h.next >= r.first+len(r.list) {
		e.forgetHearer(h)
		return
	}
	e.timers.Set(&h.again, e.now.Add(purgeGap))
}

// endBatch ends the purge that is out.
func (e *Engine) endBatch(h *hearer) {
	delete(h.ifc.revocations.waiting, h.id)
	e.timers.Stop(&h.again)
	h.next, h.upto, h.tries = max(h.next, h.upto), 0, 0
}

// forgetHearer is done with a client. With the last one all is forgotten.
func (e *Engine) forgetHearer(h *hearer) {
	e.endBatch(h)
	delete(h.ifc.revocations.hearers, h.dest)
	if len(h.ifc.revocations.hearers) == 0 {
		e.endRevocations(h.ifc)
	}
}

// endRevocations tells nobody any more.
func (e *Engine) endRevocations(ifc *iface) {
	r := &ifc.revocations
	for _, h := range r.hearers {
		e.timers.Stop(&h.again)
	}
	e.timers.Stop(&r.tick)
	end := r.first + len(r.list)
	*r = revocations{first: end, last: end, pause: r.pause}
}
