// Package timers keeps every deadline of the engine in one heap, so that a single timer of the
// caller stands for all of them. The time-outs of RFC 2332 run in it: holding times and repeated
// requests (§5.2.0.1), refreshed registrations (§5.2.3), and repeated purges (§5.2.5).
//
// The package reads no clock: the caller says what time it is. All times must come from one clock.
//
// # Order
//
// Timers run in the order of their times. Those with the same time run in the order in which they
// were set. Setting a timer again counts anew.
//
// # A timer that sets itself
//
// In one Advance a timer runs at most once. A timer that has run, and is set again for a time that
// is not after now, is due one nanosecond after now. So timers that set themselves or each other
// neither hold up an Advance, nor make time stand still for a caller that advances to Next until
// nothing is due.
//
// # Postponement
//
// Most timers are postponed again and again and never run: the expiry of a client is one, as long
// as the client refreshes its registration. To postpone a timer writes two words and leaves the
// heap alone. The timer keeps its old place until that place is due, and moves then. Next may
// therefore return a time at which nothing runs.
package timers

import (
	"container/heap"
	"time"
)

// Timer is a function that runs at a time. It lies in the struct that owns it, and must not be
// copied while it is set. The zero value is not set.
type Timer struct {
	// Run is what happens when the timer is due. The owner sets it once, before the first Set: a
	// function that is made for each Set would cost an allocation for each refresh.
	Run func()

	turn  turn   // while set
	pos   int    // place in the heap, from 1; 0: not set
	ranIn uint64 // the last Advance that ran it
}

// IsSet reports whether t is going to run. A timer is not set any more when its Run begins.
func (t *Timer) IsSet() bool { return t.pos != 0 }

// Before reports whether t runs before o. Both must be set in the same Queue.
func (t *Timer) Before(o *Timer) bool { return t.turn.before(o.turn) }

// turn decides which of two timers runs first.
type turn struct {
	at  time.Duration // since the epoch of the queue
	seq uint64        // the number of the call of Set
}

func (t turn) before(o turn) bool { return t.at < o.at || t.at == o.at && t.seq < o.seq }

// Queue holds the timers that are set. The zero value holds none. Its methods must not run at the
// same time.
type Queue struct {
	heap      timerHeap
	epoch     time.Time // of the first use; turns count from it
	seq       uint64
	advances  uint64
	advancing bool
	now       time.Duration // of the Advance under way
}

// since converts a time to what turns are made of.
func (q *Queue) since(at time.Time) time.Duration {
	if q.epoch.IsZero() {
		q.epoch = at
	}
	return at.Sub(q.epoch)
}

// Set makes t due at a time, instead of the time that it was set to before.
func (q *Queue) Set(t *Timer, at time.Time) {
	due := q.since(at)
	if q.advancing && t.ranIn == q.advances && due <= q.now {
		due = q.now + time.Nanosecond
	}
	q.seq++
	old := t.turn
	t.turn = turn{at: due, seq: q.seq}
	switch {
	case t.pos == 0:
		heap.Push(&q.heap, t)
	case t.turn.before(old):
		q.heap[t.pos-1].turn = t.turn
		heap.Fix(&q.heap, t.pos-1)
	}
}

// Stop makes t never due. It does nothing to a timer that is not set.
func (q *Queue) Stop(t *Timer) {
	if t.pos != 0 {
		heap.Remove(&q.heap, t.pos-1)
	}
}

// Next returns when Advance has something to do: not after the earliest time that a timer is set
// to, and before it where a timer was postponed. It returns false if no timer is set.
func (q *Queue) Next() (time.Time, bool) {
	if len(q.heap) == 0 {
		return time.Time{}, false
	}
	return q.epoch.Add(q.heap[0].at), true
}

// Advance runs what is due at now, including timers that are set meanwhile. A Run may set and stop
// any timer, but must not call Advance.
func (q *Queue) Advance(now time.Time) {
	q.advances++
	q.now, q.advancing = q.since(now), true
	for t := q.due(); t != nil; t = q.due() {
		q.Stop(t)
		t.ranIn = q.advances
		t.Run()
	}
	q.advancing = false
}

// due returns the timer to run next in the Advance under way, or nil. It moves timers that were
// postponed to their new places.
func (q *Queue) due() *Timer {
	for len(q.heap) > 0 && q.heap[0].at <= q.now {
		first := &q.heap[0]
		if first.turn == first.timer.turn {
			return first.timer
		}
		first.turn = first.timer.turn
		heap.Fix(&q.heap, 0)
	}
	return nil
}

// place is the place of a timer in the heap. Its turn is that of the timer or, if the timer was
// postponed, an earlier one. The turn is kept here so that the heap compares without a look at the
// timers, which lie anywhere in memory.
type place struct {
	turn
	timer *Timer
}

// timerHeap implements heap.Interface. What is pushed and popped is a *Timer.
type timerHeap []place

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool { return h[i].before(h[j].turn) }

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer.pos, h[j].timer.pos = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
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
