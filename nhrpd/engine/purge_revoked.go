package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// revocations holds the routers whose overlay addresses this router has taken away (revoked), and
// the clients that have to hear of it. A client may have been led to any of those routers.
//
// A change of the rules may revoke thousands of routers at once, and thousands of clients may have
// to hear of each. So the engine first reviews all routers. Then it sends each client purges that
// name as many routers as fit, one purge at a time; and the purges of all clients go in bursts, at
// a pace that neither the loop nor the network notices. The memory needed is one entry for each
// revoked router and one for each client.
//
// A client goes through these states:
//
//	queued ──its turn comes──> waiting ──reply──> nothing left: forgotten
//	   ^                          │                └─ more: queued after purgeGap
//	   └────2 s without a reply───┘  (the third time the batch is given up)
type revocations struct {
	list []revoked // numbered in the order in which they come

	first int // the number of list[0]
	last  int // the number of the next router that the clients have to be queued for

	hearers map[netip.Addr]*hearer // by overlay address
	waiting map[uint32]*hearer     // by the id of the purge that is out
	queue   []*hearer
	tick    timers.Timer // sends the next burst
	pause   time.Time    // the earliest time of the next burst
	entries []packet.CIE // memory for the CIEs of one purge
}

// revoked is a router whose overlay address was taken away: no client may be led to it any more.
type revoked struct {
	protocol netip.Addr
	at       netip.Addr // its outer NBMA address
}

// hearer is a client that has to hear of revoked routers.
type hearer struct {
	purge
	next   int // the number of the first revoked router that the client has not heard of
	upto   int // the number after the last router in the purge that is out; 0: none is out
	queued bool
}

const (
	// purgeBurst is how many purges go at once.
	purgeBurst = 40
	// purgePace is the time between two bursts; it makes 2,000 purges a second.
	purgePace = 20 * time.Millisecond
	// purgeGap is the time between two purges to one client. It keeps below what the client takes
	// from an NHS.
	purgeGap = 100 * time.Millisecond
)

// noteRevoked remembers a revoked router. The clients are queued at the end of the call into the
// engine, when all routers that the call revokes are known.
func (e *Engine) noteRevoked(b *binding) {
	ifc, r := b.ifc, &b.ifc.revocations
	if len(r.list) >= ifc.cfg.Limits.Bindings {
		e.drop(dropTableFull) // the oldest entry goes, since most clients have heard of it
		r.list = r.list[1:]
		r.first++
	}
	r.list = append(r.list, revoked{protocol: b.protocol, at: ifc.real(b.nbma)})
	if !slices.Contains(e.revoking, ifc) {
		e.revoking = append(e.revoking, ifc)
	}
}

// tellRevoked queues the clients for the routers that were revoked during the call into the engine,
// and sends the first purges.
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

// enqueue queues a client, unless it is queued already.
func (r *revocations) enqueue(h *hearer) {
	if !h.queued {
		h.queued = true
		r.queue = append(r.queue, h)
	}
}

// tellAgain queues a client when it is time for its next purge, or to repeat the one that is out.
func (e *Engine) tellAgain(h *hearer) {
	h.ifc.revocations.enqueue(h)
	e.scheduleRevoked(&h.ifc.revocations)
}

// scheduleRevoked sets the timer for the next burst, as early as the pace allows.
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
		data, _ := p.Append(nil) // an error comes again, and is counted, when a purge is sent
		return len(data)
	}
	one := size(1)
	each := max(1, size(2)-one)
	return min(maxEntries, 1+max(0, int(ifc.cfg.MTU)-one)/each)
}

// sendBatch sends a client its next purge, or repeats the one that is out, and reports whether it
// sent one. It forgets a client that is not registered any more or has heard of all.
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
		e.endBatch(h) // all routers in the purge that is out have registered again
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

// batch returns the entries of the purge that is out, or else those of the next one. It leaves out
// routers that have registered again from the same NBMA address: the rules give them their
// addresses again.
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

// heardRevoked handles a client's reply to a purge. The next purge follows after purgeGap; a client
// that has heard of all is forgotten.
func (e *Engine) heardRevoked(h *hearer) {
	e.endBatch(h)
	if r := &h.ifc.revocations; h.next >= r.first+len(r.list) {
		e.forgetHearer(h)
		return
	}
	e.timers.Set(&h.again, e.now.Add(purgeGap))
}

// endBatch ends the purge that is out. The next one begins with the router after it.
func (e *Engine) endBatch(h *hearer) {
	delete(h.ifc.revocations.waiting, h.id)
	e.timers.Stop(&h.again)
	h.next, h.upto, h.tries = max(h.next, h.upto), 0, 0
}

// forgetHearer forgets a client that has nothing more to hear. With the last client, the revoked
// routers are forgotten too.
func (e *Engine) forgetHearer(h *hearer) {
	e.endBatch(h)
	delete(h.ifc.revocations.hearers, h.dest)
	if len(h.ifc.revocations.hearers) == 0 {
		e.endRevocations(h.ifc)
	}
}

// endRevocations forgets all revoked routers and all clients, and stops their timers.
func (e *Engine) endRevocations(ifc *iface) {
	r := &ifc.revocations
	for _, h := range r.hearers {
		e.timers.Stop(&h.again)
	}
	e.timers.Stop(&r.tick)
	end := r.first + len(r.list)
	*r = revocations{first: end, last: end, pause: r.pause}
}
