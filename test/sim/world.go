package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
)

// Options say what to simulate. The same options give the same run.
type Options struct {
	Seed   uint64
	Spokes int
	For    time.Duration // virtual time with faults and traffic
	Loss   float64       // share of the underlay's packets that are lost, 0 to 1
	Each   time.Duration // mean time from one fault of a spoke to its next
	Hubs   time.Duration // mean time from a fault of any hub to the next fault of any hub
	Flows  time.Duration // mean time from the start of one flow of a spoke to that of its next

	// Announce makes spokes announce their LANs to their hubs. Otherwise a routing protocol tells
	// the hubs of the LANs.
	Announce bool

	// NextHops gives spokes routes to each other's LANs with the other spoke as the next hop
	// (phase 2). Otherwise the next hop is the hub.
	NextHops bool

	// OneNAT puts several spokes behind one NAT address.
	OneNAT bool

	// Unprotected makes a network without IPsec (protection = "none").
	Unprotected bool
}

// Figures are the counts of a run.
type Figures struct {
	Virtual   time.Duration // virtual time that passed
	Events    uint64        // events taken from the heap
	NHRP      uint64        // NHRP packets that engines sent
	Data      uint64        // data packets that hosts sent
	Arrived   uint64        // data packets that arrived
	Chance    uint64        // data packets that the underlay lost at random
	SAs       uint64        // SAs made
	Shortcuts uint64        // shortcuts installed
	Faults    uint64
	Quiet     float64 // NHRP packets per virtual minute while nothing happened
}

// world is one network. Times are virtual nanoseconds since its start.
type world struct {
	Options
	Figures
	rng       *rand.Rand
	now       int64
	queue     happenings
	hubs      []*node                // the central hub first
	nodes     []*node                // hubs, then spokes
	byAddr    map[netip.Addr][]*node // by NBMA address: several nodes if they are behind one NAT
	byOverlay map[netip.Addr]*node
	byLAN     map[netip.Prefix]*node
	freed     []freedAddress
	taken     uint32         // number of NBMA addresses given out
	active    []*node        // the hub in charge of each region
	cuts      map[pair]int64 // when each cut of the underlay ends
	open      map[pair]*node // for a cut in one direction: the node whose packets pass
	pairQuiet map[pair]int64 // until when faults explain losses between a pair
	out       engine.Output  // used again for each step of an engine

	daemonsBack int64  // when the last of the stopped daemons will run again
	stopped     bool   // no new faults and flows start
	dialled     uint64 // number of attempts to make an SA
	failed      *Violation
}

// epoch is the time at which every run starts.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
)

// Run simulates a network. If a rule is broken, Run ends early and returns a *Violation.
func Run(o Options) (Figures, error) {
	w := newWorld(o)
	w.build()
	w.every(minute, w.audit)
	w.runUntil(int64(settling))
	w.keepFailing(spokeFaults, o.Each/time.Duration(o.Spokes))
	w.keepFailing(hubFaults, o.Hubs)
	w.keepTalking(o.Flows / time.Duration(o.Spokes))
	w.runUntil(int64(settling + o.For))
	w.quieten()
	w.Virtual = time.Duration(w.now)
	if w.failed != nil {
		return w.Figures, w.failed
	}
	return w.Figures, nil
}

// newWorld returns a world without nodes.
func newWorld(o Options) *world {
	return &world{
		Options:   o,
		rng:       rand.New(rand.NewPCG(o.Seed, 0)),
		byAddr:    make(map[netip.Addr][]*node),
		byOverlay: make(map[netip.Addr]*node),
		byLAN:     make(map[netip.Prefix]*node),
		cuts:      make(map[pair]int64),
		open:      make(map[pair]*node),
		pairQuiet: make(map[pair]int64),
	}
}

// after schedules run for a time from now.
func (w *world) after(d int64, run func()) { w.queue.push(w.now+max(d, 0), run) }

// every schedules run again and again.
func (w *world) every(d int64, run func()) {
	w.after(d, func() {
		run()
		w.every(d, run)
	})
}

// runUntil lets time pass until end. It stops early if a rule is broken.
func (w *world) runUntil(end int64) {
	for w.failed == nil {
		at, ok := w.queue.next()
		if !ok || at > end {
			w.now = max(w.now, end)
			return
		}
		w.now = at
		w.Events++
		w.queue.pop()()
	}
}

// between returns a random time from least to most.
func (w *world) between(least, most time.Duration) int64 {
	return int64(least) + w.rng.Int64N(int64(most-least)+1)
}

// about returns a random time with a mean. It is distributed as the time between independent
// events.
func (w *world) about(mean time.Duration) int64 {
	return int64(float64(mean) * min(w.rng.ExpFloat64(), 10))
}

// chance returns true with the probability p.
func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// anyOf returns a random element of a list.
func anyOf[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }
