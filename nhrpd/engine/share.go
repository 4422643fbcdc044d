package engine

import (
	"net/netip"
	"time"
)

// releaseShares lets the buckets of a peer that is forgotten go to others. An identity that still
// has an SA from another address keeps its bucket as long as it uses it.
func (ifc *iface) releaseShares(p *peer) {
	for _, l := range []*limiter[netip.Addr]{ifc.fromPeer, ifc.repliesOf, ifc.refusals} {
		l.release(p.nbma)
	}
	ifc.transit.release(transitKey{from: p.nbma})
	ifc.transit.release(transitKey{from: p.nbma, reply: true})
	for _, k := range []holder{{nbma: p.nbma}, holderOf(p.ike.Identity, p.nbma)} {
		ifc.indications.release(k)
		ifc.errors.release(k)
		ifc.events.release(k)
	}
}

// budget limits something that is done for everybody together, such as sending indications, and
// shares it out: no holder gets more than a quarter, and holders that ask for little come before
// those that ask for much.
//
// The latter works by a reserve: a quarter of the burst is only for the first request of a holder
// in each second. While heavy holders keep the budget down to the reserve, whatever is refilled
// serves the others first. A number of heavy holders can therefore not starve one that wants one
// token a second, unless there are more of them than the budget has tokens.
type budget struct {
	all     *limiter[struct{}]
	each    *limiter[holder]
	first   *limiter[holder] // one a second
	reserve int
}

// newBudget returns a budget of rate a second for everybody, with buckets for so many holders.
func newBudget(rate, holders int) *budget {
	share := rate/4 + 1
	return &budget{
		all:     newLimiter[struct{}](rate, rate, 0),
		each:    newLimiter[holder](share, share, holders),
		first:   newLimiter[holder](1, 1, holders),
		reserve: rate / 4,
	}
}

// allow takes one token for a holder, if its share and the budget have one.
func (b *budget) allow(now time.Time, k holder) bool {
	if !b.each.allow(now, k) {
		return false
	}
	reserve := b.reserve
	if b.first.allow(now, k) {
		reserve = 0
	}
	return b.all.take(now, struct{}{}, 1, reserve)
}

func (b *budget) release(k holder) {
	b.each.release(k)
	b.first.release(k)
}

// flowMemory remembers the flows that were indicated within the last second, so that each is
// indicated once a second. Only what was sent is remembered: the budget of indications bounds the
// memory, at twice what may be sent in a second, and a router's share of it bounds that router's
// flows. So no flow is ever turned away because the memory is full of another router's.
type flowMemory struct {
	sent  map[flow]struct{}
	queue []sentFlow // by time
}

type sentFlow struct {
	flow flow
	at   time.Time
}

// flowAgain is how long a flow is not indicated again.
const flowAgain = time.Second

func newFlowMemory() *flowMemory { return &flowMemory{sent: make(map[flow]struct{})} }

// has reports whether a flow was indicated within the last second.
func (m *flowMemory) has(now time.Time, f flow) bool {
	for len(m.queue) > 0 && now.Sub(m.queue[0].at) >= flowAgain {
		delete(m.sent, m.queue[0].flow)
		m.queue = m.queue[1:]
	}
	_, there := m.sent[f]
	return there
}

// add remembers a flow that has just been indicated and that has does not report.
func (m *flowMemory) add(now time.Time, f flow) {
	m.sent[f] = struct{}{}
	m.queue = append(m.queue, sentFlow{f, now})
}
