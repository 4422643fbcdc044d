package engine

import (
	"container/heap"
	"time"
)

// timer calls run at a time that a deadlines was told. It lives in its owner, which sets run once, and must not be copied while set.
type timer struct {
	run func()

	at    time.Time // when it is due; zero: not set
	seq   uint64    // the number of the call that set it
	pos   int       // place in the heap from 1; 0: not set
	ranIn uint64    // the last advance that ran it
}

// deadlines holds all timers of the engine in one heap, so that one timer outside stands for all. The zero value has none. The
// times must come from one clock.
//
// Timers run in the order of their times, those with the same time in the order they were set in; setting again counts anew.
//
// In one advance a timer runs at most once. One that has run and is set again for a time that is not after the advance's now is
// due right after it, at now plus a nanosecond: timers that keep setting themselves or each other neither hold up an advance nor
// make time stand still for a caller that advances to next until nothing is due.
type deadlines struct {
	heap      timerHeap
	seq       uint64
	advances  uint64
	advancing bool
	now       time.Time // of the advance under way
}

// set makes t due at a time, in place of the one it was set to.
func (d *deadlines) set(t *timer, at time.Time) {
	if d.advancing && t.ranIn == d.advances && !at.After(d.now) {
		at = d.now.Add(time.Nanosecond)
	}
	d.seq++
	t.at, t.seq = at, d.seq
	if t.pos != 0 {
		heap.Fix(&d.heap, t.pos-1)
		return
	}
	heap.Push(&d.heap, t)
}

// stop makes t never due. It does nothing to one that is not set.
func (d *deadlines) stop(t *timer) {
	if t.pos == 0 {
		return
	}
	heap.Remove(&d.heap, t.pos-1)
	t.at = time.Time{}
}

// next is the earliest time that a timer is due at; false: no timer is set.
func (d *deadlines) next() (time.Time, bool) {
	if len(d.heap) == 0 {
		return time.Time{}, false
	}
	return d.heap[0].at, true
}

// advance runs what is due at now, timers set meanwhile included. A timer is not set any more when its run starts. A run may set
// and stop any timer, but not advance.
func (d *deadlines) advance(now time.Time) {
	d.advances++
	d.now, d.advancing = now, true
	for len(d.heap) > 0 && !d.heap[0].at.After(now) {
		t := d.heap[0]
		d.stop(t)
		t.ranIn = d.advances
		t.run()
	}
	d.advancing = false
}

// before says whether a timer runs before another one; both are set.
func (t *timer) before(o *timer) bool {
	if c := t.at.Compare(o.at); c != 0 {
		return c < 0
	}
	return t.seq < o.seq
}

// timerHeap implements heap.Interface.
type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	return h[i].before(h[j])
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.pos = len(*h)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.pos = 0
	return t
}
