package purge

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// revocations has the routers whose overlay addresses this router has revoked (taken away), and the
// clients that have to learn of it. Any client may have a shortcut to any of those routers.
//
// A change of the rules may revoke thousands of routers at once, and thousands of clients may have
// to learn of each. So the engine first reviews all routers. Then it sends each client purges that
// name as many routers as fit, one purge at a time. The purges of all clients go in bursts, at a
// pace that holds up neither the daemon's loop nor the network. The memory needed is one entry for
// each revoked router and one for each client.
//
// A client goes through these states:
//
//	queued ──its turn comes──> waiting ──reply──> nothing left: forgotten
//	   ^                          │                └─ more: queued after recipientInterval
//	   └────2 s without a reply───┘  (the third time the batch is given up)
type revocations struct {
	pending bool // notifyClients is called at the end of the call into the engine

	// Revoked has the revoked routers, oldest first. Each has a number: that of Revoked[0] is
	// first, and the others count up from there.
	Revoked []revoked
	first   int
	last    int // the number of the next router for which the clients have to be queued

	// Recipients has the clients that have not learned of all revoked routers, by overlay address.
	Recipients map[netip.Addr]*recipient
	// Waiting has the clients whose reply has not come, by the request ID of the purge.
	Waiting map[uint32]*recipient
	// Queue has the clients that get a purge next, in order.
	Queue []*recipient
	// own has the purges that tell revoked clients of the end of their own registrations. They go
	// before those of Queue, at the same pace.
	own []*Request
	// Tick sends the next burst.
	Tick timers.Timer

	pause   time.Time    // the earliest time of the next burst
	entries []packet.CIE // memory for the CIEs of one purge
}

// revoked is a router whose overlay address was revoked: no client may have a shortcut to it any
// more.
type revoked struct {
	protocol netip.Addr
	outer    netip.Addr // its outer NBMA address
}

// recipient is a client that has to learn of revoked routers.
type recipient struct {
	Request
	next     int // the number of the first revoked router that the client has not learned of
	sentUpTo int // the number after the last router in the purge that is out; 0: none is out
	queued   bool
}

const (
	// Burst is how many purges about revoked routers go at once.
	Burst = 40
	// BurstInterval is the time between two bursts. With Burst it makes 2,000 purges a second.
	BurstInterval = 20 * time.Millisecond
	// recipientInterval is the time between two purges to one client. It keeps the rate below the
	// one that a client takes from an NHS.
	recipientInterval = 100 * time.Millisecond
)

// NoteRevoked records that the router with an overlay address and an outer address was revoked. The
// clients get purges about it. They are queued at the end of the call into the engine, when all
// routers that the call revokes are known.
func (pg *Table) NoteRevoked(protocol, outer netip.Addr) {
	r := &pg.Revocations
	if len(r.Revoked) >= pg.Config.Limits.Bindings {
		pg.Drop(overlay.DropTableFull) // the oldest goes: most clients have learned of it
		r.Revoked = r.Revoked[1:]
		r.first++
	}
	r.Revoked = append(r.Revoked, revoked{protocol: protocol, outer: outer})
	pg.notifySoon()
}

// TellRevoked sends p to the revoked client that p is for, at the pace of the purges to the others.
func (pg *Table) TellRevoked(p *Request) {
	pg.Revocations.own = append(pg.Revocations.own, p)
	pg.notifySoon()
}

// notifySoon has notifyClients called at the end of the call into the engine.
func (pg *Table) notifySoon() {
	if r := &pg.Revocations; !r.pending {
		r.pending = true
		pg.AtEnd(pg.notifyClients)
	}
}

// notifyClients queues the clients for the routers that were revoked during the call into the
// engine, and sends the first purges.
func (pg *Table) notifyClients() {
	r := &pg.Revocations
	r.pending = false
	if r.Recipients == nil {
		r.Recipients, r.Waiting = make(map[netip.Addr]*recipient), make(map[uint32]*recipient)
		r.Tick.Run = func() { pg.sendRevoked() }
	}
	for protocol := range pg.parts.Clients() {
		if r.Recipients[protocol] != nil {
			continue
		}
		c := &recipient{Request: Request{Dest: protocol}, next: r.last}
		c.retry.Run = func() { pg.requeue(c) }
		r.Recipients[protocol] = c
		r.enqueue(c)
	}
	r.last = r.first + len(r.Revoked)
	if pg.Now.Before(r.pause) {
		pg.scheduleRevoked(r)
		return
	}
	pg.sendRevoked()
}

// enqueue queues a client, unless it is queued already.
func (r *revocations) enqueue(c *recipient) {
	if !c.queued {
		c.queued = true
		r.Queue = append(r.Queue, c)
	}
}

// requeue queues a client when it is time for its next purge, or to repeat the one that is out.
func (pg *Table) requeue(c *recipient) {
	pg.Revocations.enqueue(c)
	pg.scheduleRevoked(&pg.Revocations)
}

// scheduleRevoked sets the timer for the next burst, as early as the pace allows.
func (pg *Table) scheduleRevoked(r *revocations) {
	if len(r.Queue)+len(r.own) > 0 && !r.Tick.IsSet() {
		pg.Timers.Set(&r.Tick, overlay.Later(pg.Now, r.pause))
	}
}

// sendRevoked sends one burst of purges, and schedules the next one.
func (pg *Table) sendRevoked() {
	r := &pg.Revocations
	r.pause = pg.Now.Add(BurstInterval)
	room := pg.purgeRoom()
	sent := 0
	for sent < Burst && len(r.own) > 0 {
		if pg.sendOwn() {
			sent++
		}
	}
	for sent < Burst && len(r.Queue) > 0 {
		c := r.Queue[0]
		r.Queue[0] = nil
		r.Queue = r.Queue[1:]
		c.queued = false
		if r.Recipients[c.Dest] == c && pg.sendBatch(c, room) {
			sent++
		}
	}
	if len(r.Recipients)+len(r.own) == 0 {
		pg.EndRevocations()
	}
	pg.scheduleRevoked(r)
}

// sendOwn sends the next revoked client the purge about its own registration, and reports whether
// it sent one: not to a client that has registered again or has lost its SA.
func (pg *Table) sendOwn() bool {
	r := &pg.Revocations
	p := r.own[0]
	r.own[0] = nil
	r.own = r.own[1:]
	if peer, _ := pg.parts.BindingAt(p.Dest); peer.IsValid() || !pg.peers.Secured(p.Peer) {
		return false
	}
	pg.Start(p)
	return true
}

// purgeRoom returns how many entries fit into one purge.
func (pg *Table) purgeRoom() int {
	if pg.Config.MTU == 0 {
		return overlay.MaxEntries
	}
	own := pg.LongestAddress()
	size := func(entries int) int {
		p := packet.Packet{
			Type:           packet.PurgeRequest,
			HopCount:       overlay.HopCount,
			SourceNBMA:     pg.Local,
			SourceProtocol: own,
			DestProtocol:   own,
		}
		for range entries {
			p.CIEs = append(p.CIEs, packet.CIE{Protocol: own, NBMA: pg.Local})
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
// sent one. It forgets a client that is not registered any more or that has learned of all routers.
func (pg *Table) sendBatch(c *recipient, room int) bool {
	r := &pg.Revocations
	if c.tries == Tries {
		pg.endBatch(c)
	}
	peer, is := pg.parts.BindingAt(c.Dest)
	if !is {
		pg.forgetRecipient(c)
		return false
	}
	cies := pg.batch(c, room)
	if len(cies) == 0 && c.sentUpTo != 0 {
		pg.endBatch(c) // all routers in the purge that is out have registered again
		cies = pg.batch(c, room)
	}
	if len(cies) == 0 {
		pg.forgetRecipient(c)
		return false
	}
	if c.tries == 0 {
		c.ID = pg.NewRequestID()
		r.Waiting[c.ID] = c
	}
	c.tries++
	c.Peer = peer
	pg.Timers.Set(&c.retry, pg.Now.Add(RetryInterval))
	if !pg.peers.Secured(peer) {
		return false
	}
	pg.sendEntries(&c.Request, 0, cies)
	return true
}

// batch returns the entries of the purge that is out, or else those of the next one. It leaves out
// routers that have registered again from the same NBMA address, since the rules give them their
// addresses again.
func (pg *Table) batch(c *recipient, room int) []packet.CIE {
	r := &pg.Revocations
	c.next = max(c.next, r.first)
	end := r.first + len(r.Revoked)
	if c.sentUpTo != 0 {
		end = c.sentUpTo
	}
	cies := r.entries[:0]
	for i := c.next; i < end && len(cies) < room; i++ {
		x := &r.Revoked[i-r.first]
		if x.protocol.Is4() != c.Dest.Is4() {
			continue // a router with both families has a recipient for each
		}
		if peer, _ := pg.parts.BindingAt(x.protocol); !peer.IsValid() ||
			pg.peers.Outer(peer) != x.outer {
			bits := uint8(x.protocol.BitLen())
			cies = append(cies, packet.CIE{PrefixLength: bits, Protocol: x.protocol, NBMA: x.outer})
			c.sentUpTo = i + 1
		}
	}
	r.entries = cies
	return cies
}

// batchAnswered handles a client's reply to a purge. The next purge follows after
// recipientInterval. A client that has learned of all routers is forgotten.
func (pg *Table) batchAnswered(c *recipient) {
	pg.endBatch(c)
	if r := &pg.Revocations; c.next >= r.first+len(r.Revoked) {
		pg.forgetRecipient(c)
		return
	}
	pg.Timers.Set(&c.retry, pg.Now.Add(recipientInterval))
}

// endBatch ends the purge that is out. The next one begins with the router after it.
func (pg *Table) endBatch(c *recipient) {
	delete(pg.Revocations.Waiting, c.ID)
	pg.Timers.Stop(&c.retry)
	c.next, c.sentUpTo, c.tries = max(c.next, c.sentUpTo), 0, 0
}

// forgetRecipient forgets a client that has nothing more to learn. With the last client, the
// revoked routers are forgotten too.
func (pg *Table) forgetRecipient(c *recipient) {
	pg.endBatch(c)
	delete(pg.Revocations.Recipients, c.Dest)
	if len(pg.Revocations.Recipients)+len(pg.Revocations.own) == 0 {
		pg.EndRevocations()
	}
}

// EndRevocations forgets all revoked routers and all clients, and stops their timers.
func (pg *Table) EndRevocations() {
	r := &pg.Revocations
	for _, c := range r.Recipients {
		pg.Timers.Stop(&c.retry)
	}
	pg.Timers.Stop(&r.Tick)
	end := r.first + len(r.Revoked)
	*r = revocations{first: end, last: end, pause: r.pause}
}
