package purge

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/overlay"
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
	queued bool // tellRevoked is called at the end of the call into the engine

	List []revoked // numbered in the order in which they come

	first int // the number of list[0]
	last  int // the number of the next router that the clients have to be queued for

	Hearers map[netip.Addr]*hearer // by overlay address
	Waiting map[uint32]*hearer     // by the id of the purge that is out
	Queue   []*hearer
	Tick    timers.Timer // sends the next burst
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
	Purge
	next   int // the number of the first revoked router that the client has not heard of
	upto   int // the number after the last router in the purge that is out; 0: none is out
	queued bool
}

const (
	// PurgeBurst is how many purges go at once.
	PurgeBurst = 40
	// PurgePace is the time between two bursts; it makes 2,000 purges a second.
	PurgePace = 20 * time.Millisecond
	// purgeGap is the time between two purges to one client. It keeps below what the client takes
	// from an NHS.
	purgeGap = 100 * time.Millisecond
)

// NoteRevoked remembers a revoked router. The clients are queued at the end of the call into the
// engine, when all routers that the call revokes are known.
func (pg *Table) NoteRevoked(protocol, nbma netip.Addr) {
	r := &pg.Revocations
	if len(r.List) >= pg.Config.Limits.Bindings {
		pg.Drop(overlay.DropTableFull) // the oldest entry goes, since most clients have heard of it
		r.List = r.List[1:]
		r.first++
	}
	r.List = append(r.List, revoked{protocol: protocol, at: pg.peers.Outer(nbma)})
	if !r.queued {
		r.queued = true
		pg.AtEnd(pg.tellRevoked)
	}
}

// tellRevoked queues the clients for the routers that were revoked during the call into the engine,
// and sends the first purges.
func (pg *Table) tellRevoked() {
	r := &pg.Revocations
	r.queued = false
	if r.Hearers == nil {
		r.Hearers, r.Waiting = make(map[netip.Addr]*hearer), make(map[uint32]*hearer)
		r.Tick.Run = func() { pg.sendRevoked() }
	}
	for client := range pg.parts.Clients() {
		if r.Hearers[client] != nil {
			continue
		}
		h := &hearer{Purge: Purge{Purges: pg, Dest: client}, next: r.last}
		h.again.Run = func() { pg.tellAgain(h) }
		r.Hearers[client] = h
		r.enqueue(h)
	}
	r.last = r.first + len(r.List)
	if pg.Now.Before(r.pause) {
		pg.scheduleRevoked(r)
		return
	}
	pg.sendRevoked()
}

// enqueue queues a client, unless it is queued already.
func (r *revocations) enqueue(h *hearer) {
	if !h.queued {
		h.queued = true
		r.Queue = append(r.Queue, h)
	}
}

// tellAgain queues a client when it is time for its next purge, or to repeat the one that is out.
func (pg *Table) tellAgain(h *hearer) {
	pg.Revocations.enqueue(h)
	pg.scheduleRevoked(&pg.Revocations)
}

// scheduleRevoked sets the timer for the next burst, as early as the pace allows.
func (pg *Table) scheduleRevoked(r *revocations) {
	if len(r.Queue) > 0 && !r.Tick.IsSet() {
		pg.Timers.Set(&r.Tick, overlay.Later(pg.Now, r.pause))
	}
}

// sendRevoked sends one burst of purges, and schedules the next one.
func (pg *Table) sendRevoked() {
	r := &pg.Revocations
	r.pause = pg.Now.Add(PurgePace)
	room := pg.purgeRoom()
	for sent := 0; sent < PurgeBurst && len(r.Queue) > 0; {
		h := r.Queue[0]
		r.Queue[0] = nil
		r.Queue = r.Queue[1:]
		h.queued = false
		if r.Hearers[h.Dest] == h && pg.sendBatch(h, room) {
			sent++
		}
	}
	if len(r.Hearers) == 0 {
		pg.EndRevocations()
	}
	pg.scheduleRevoked(r)
}

// purgeRoom returns how many entries fit into one purge.
func (pg *Table) purgeRoom() int {
	if pg.Config.MTU == 0 {
		return overlay.MaxEntries
	}
	size := func(entries int) int {
		p := packet.Packet{
			Type:           packet.PurgeRequest,
			HopCount:       overlay.HopCount,
			SourceNBMA:     pg.Local,
			SourceProtocol: pg.Address(),
			DestProtocol:   pg.Address(),
		}
		for range entries {
			p.CIEs = append(p.CIEs, packet.CIE{Protocol: pg.Address(), NBMA: pg.Local})
		}
		pg.Authenticate(&p)
		data, _ := p.Append(nil) // an error comes again, and is counted, when a purge is sent
		return len(data)
	}
	one := size(1)
	each := max(1, size(2)-one)
	return min(overlay.MaxEntries, 1+max(0, int(pg.Config.MTU)-one)/each)
}

// sendBatch sends a client its next purge, or repeats the one that is out, and reports whether it
// sent one. It forgets a client that is not registered any more or has heard of all.
func (pg *Table) sendBatch(h *hearer, room int) bool {
	r := &pg.Revocations
	if h.tries == PurgeTries {
		pg.endBatch(h)
	}
	nbma, is := pg.parts.BindingAt(h.Dest)
	if !is {
		pg.forgetHearer(h)
		return false
	}
	cies := h.batch(room)
	if len(cies) == 0 && h.upto != 0 {
		pg.endBatch(h) // all routers in the purge that is out have registered again
		cies = h.batch(room)
	}
	if len(cies) == 0 {
		pg.forgetHearer(h)
		return false
	}
	if h.tries == 0 {
		h.ID = pg.NewRequestID()
		r.Waiting[h.ID] = h
	}
	h.tries++
	h.NBMA = nbma
	pg.Timers.Set(&h.again, pg.Now.Add(PurgeAgain))
	if !pg.peers.Secured(nbma) {
		return false
	}
	pg.sendPurgeEntries(&h.Purge, 0, cies)
	return true
}

// batch returns the entries of the purge that is out, or else those of the next one. It leaves out
// routers that have registered again from the same NBMA address: the rules give them their
// addresses again.
func (h *hearer) batch(room int) []packet.CIE {
	r := &h.Purges.Revocations
	h.next = max(h.next, r.first)
	end := r.first + len(r.List)
	if h.upto != 0 {
		end = h.upto
	}
	cies := r.entries[:0]
	for i := h.next; i < end && len(cies) < room; i++ {
		x := &r.List[i-r.first]
		if nbma, _ := h.Purges.parts.BindingAt(x.protocol); h.Purges.peers.Outer(nbma) != x.at {
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
func (pg *Table) heardRevoked(h *hearer) {
	pg.endBatch(h)
	if r := &pg.Revocations; h.next >= r.first+len(r.List) {
		pg.forgetHearer(h)
		return
	}
	pg.Timers.Set(&h.again, pg.Now.Add(purgeGap))
}

// endBatch ends the purge that is out. The next one begins with the router after it.
func (pg *Table) endBatch(h *hearer) {
	delete(pg.Revocations.Waiting, h.ID)
	pg.Timers.Stop(&h.again)
	h.next, h.upto, h.tries = max(h.next, h.upto), 0, 0
}

// forgetHearer forgets a client that has nothing more to hear. With the last client, the revoked
// routers are forgotten too.
func (pg *Table) forgetHearer(h *hearer) {
	pg.endBatch(h)
	delete(pg.Revocations.Hearers, h.Dest)
	if len(pg.Revocations.Hearers) == 0 {
		pg.EndRevocations()
	}
}

// EndRevocations forgets all revoked routers and all clients, and stops their timers.
func (pg *Table) EndRevocations() {
	r := &pg.Revocations
	for _, h := range r.Hearers {
		pg.Timers.Stop(&h.again)
	}
	pg.Timers.Stop(&r.Tick)
	end := r.first + len(r.List)
	*r = revocations{first: end, last: end, pause: r.pause}
}
