package engine

import (
	"container/heap"
	"time"
)

// timer calls run at a time that a deadlines was told. It lives in its owner, which sets run once, and must not be copied while set.
type timer struct {
	run func()

	turn  turn   // while set
	pos   int    // place in the heap from 1; 0: not set
	ranIn uint64 // the last advance that ran it
}

// turn says which of two timers runs first.
type turn struct {
	at  time.Duration // since the epoch of the deadlines
	seq uint64        // the number of the call that set it
}

// deadlines holds all timers of the engine in one heap, so that one timer outside stands for all. The zero value has none. The
// times must come from one clock.
//
// Timers run in the order of their times, those with the same time in the order they were set in; setting again counts anew.
//
// In one advance a timer runs at most once. One that has run and is set again for a time that is not after the advance's now is
// due right after it, at now plus a nanosecond: timers that keep setting themselves or each other neither hold up an advance nor
// make time stand still for a caller that advances to next until nothing is due.
//
// Most timers are put off again and again and never run, as that of a client which refreshes its registration. To put one off costs
// nothing: it keeps its place in the heap until that place is due, and only then moves to where it belongs.
type deadlines struct {
	heap      timerHeap
	epoch     time.Time // of the first use: turns are counted from it
	seq       uint64
	advances  uint64
	advancing bool
	now       time.Duration // of the advance under way
}

// since is a time as turns have it.
func (d *deadlines) since(at time.Time) time.Duration {
	if d.epoch.IsZero() {
		d.epoch = at
	}
	return at.Sub(d.epoch)
}

// set makes t due at a time, in place of the one it was set to.
func (d *deadlines) set(t *timer, at time.Time) {
	due := d.since(at)
	if d.advancing && t.ranIn == d.advances && due <= d.now {
		due = d.now + time.Nanosecond
	}
	d.seq++
	old := t.turn
	t.turn = turn{at: due, seq: d.seq}
	switch {
	case t.pos == 0:
		heap.Push(&d.heap, t)
	case t.turn.before(old):
		d.heap[t.pos-1].turn = t.turn
		heap.Fix(&d.heap, t.pos-1)
	}
}

// stop makes t never due. It does nothing to one that is not set.
func (d *deadlines) stop(t *timer) {
	if t.pos != 0 {
		heap.Remove(&d.heap, t.pos-1)
	}
}

// next is when advance has something to do: no later than the earliest time that a timer is due at, and earlier where one was put off.
// False: no timer is set.
func (d *deadlines) next() (time.Time, bool) {
	if len(d.heap) == 0 {
		return time.Time{}, false
	}
	return d.epoch.Add(d.heap[0].at), true
}

// advance runs what is due at now, timers set meanwhile included. A timer is not set any more when its run starts. A run may set
// and stop any timer, but not advance.
func (d *deadlines) advance(now time.Time) {
	d.advances++
	d.now, d.advancing = d.since(now), true
	for t := d.due(); t != nil; t = d.due() {
		d.stop(t)
		t.ranIn = d.advances
		t.run()
	}
	d.advancing = false
}

// due is the timer to run next in the advance under way, nil: there is none. Those that were put off find their places meanwhile.
func (d *deadlines) due() *timer {
	for len(d.heap) > 0 && d.heap[0].at <= d.now {
		first := &d.heap[0]
		if first.turn == first.timer.turn {
			return first.timer
		}
		first.turn = first.timer.turn
		heap.Fix(&d.heap, 0)
	}
	return nil
}

func (t turn) before(o turn) bool { return t.at < o.at || t.at == o.at && t.seq < o.seq }

// place is where a timer is in the heap, by its turn or, since it was put off, an earlier one. That it is kept here spares the heap to
// look at the timers, which lie anywhere in memory.
type place struct {
	turn
	timer *timer
}

// timerHeap implements heap.Interface. What is pushed and popped is a *timer.
type timerHeap []place

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool { return h[i].before(h[j].turn) }

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer.pos, h[j].timer.pos = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, place{turn: t.turn, timer: t})
	t.pos = len(*h)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last].timer
	(*h)[last] = place{}
	*h = (*h)[:last]
	t.pos = 0
	return t
}
