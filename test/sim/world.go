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
	Loss   float64       // of packets of the underlay
	Each   time.Duration // mean time from one fault of a spoke to its next
	Hubs   time.Duration // mean time from one fault of some hub to the next
	Flows  time.Duration // mean time from the start of one flow of a spoke to that of its next
	// Announce has spokes register their LANs with their hubs, instead of a routing protocol that tells of them.
	Announce bool
	// NextHops has spokes route to each other's LANs by way of each other (phase 2), not of the hub.
	NextHops bool
	// OneNAT has several spokes behind one NAT address.
	OneNAT bool
	// Unprotected networks have no IPsec (protection = "none").
	Unprotected bool
}

// Figures say what a run did.
type Figures struct {
	Virtual   time.Duration
	Events    uint64 // taken from the heap
	NHRP      uint64 // packets that engines sent
	Data      uint64 // packets that hosts sent
	Arrived   uint64 // of those
	Chance    uint64 // of those: lost by the underlay's dice
	SAs       uint64 // made
	Shortcuts uint64 // installed
	Faults    uint64
	Quiet     float64 // NHRP packets a virtual minute when nothing happened
}

// world is one network. Times are virtual nanoseconds since its start.
type world struct {
	Options
	Figures
	rng       *rand.Rand
	now       int64
	queue     happenings
	hubs      []*node                // the central one first
	nodes     []*node                // hubs, then spokes
	byAddr    map[netip.Addr][]*node // several: behind one NAT
	byOverlay map[netip.Addr]*node
	byLAN     map[netip.Prefix]*node
	freed     []freedAddress
	taken     uint32  // NBMA addresses given out
	active    []*node // hub in charge of each region
	cuts      map[pair]int64
	open      map[pair]*node // of a cut in one direction: whose packets pass
	pairQuiet map[pair]int64
	out       engine.Output

	daemonsBack int64 // when the last of the daemons that are stopped is there again
	stopped     bool  // no new faults and flows
	dialled     uint64
	failed      *Violation
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
)

// Run simulates a network. It ends early with a *Violation if a rule is broken.
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

// after has something happen a time from now.
func (w *world) after(d int64, run func()) { w.queue.push(w.now+max(d, 0), run) }

func (w *world) every(d int64, run func()) {
	w.after(d, func() {
		run()
		w.every(d, run)
	})
}

// runUntil lets time pass, unless a rule is broken.
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

// between is a random time.
func (w *world) between(least, most time.Duration) int64 {
	return int64(least) + w.rng.Int64N(int64(most-least)+1)
}

// about is a random time around a mean, as of things that happen independently.
func (w *world) about(mean time.Duration) int64 {
	return int64(float64(mean) * min(w.rng.ExpFloat64(), 10))
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func anyOf[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }
