// Package histogram counts how long work takes.
package histogram

import (
	"sync"
	"time"

	"cygnet/nhrpd/api"
)

// long are the upper bounds of the buckets, from what a local answer takes to what a person has
// given up on.
var long = []time.Duration{
	time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond,
	100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// short are those for work inside the daemon, from what one packet takes to what a peer notices.
var short = []time.Duration{
	10 * time.Microsecond, 30 * time.Microsecond, 100 * time.Microsecond, 300 * time.Microsecond,
	time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond,
	100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
}

// Histogram counts durations by their length. The zero value is empty, and for work that takes
// milliseconds at least. Its methods may be called from any goroutine.
type Histogram struct {
	mu     sync.Mutex
	bounds []time.Duration // nil: long
	within []uint64        // of those that exceed the bound before; nil: none yet
	count  uint64
	sum    time.Duration
}

// Short returns an empty Histogram for work that takes microseconds.
func Short() Histogram { return Histogram{bounds: short} }

// init gives the zero value its buckets.
func (h *Histogram) init() {
	if h.bounds == nil {
		h.bounds = long
	}
	if h.within == nil {
		h.within = make([]uint64, len(h.bounds))
	}
}

// Add counts a duration. It ignores one that is not positive: that was not measured.
func (h *Histogram) Add(d time.Duration) {
	if d <= 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.init()
	h.count++
	h.sum += d
	for i, bound := range h.bounds {
		if d <= bound {
			h.within[i]++
			return
		}
	}
}

// Read returns what was counted so far, as the API has it.
func (h *Histogram) Read() api.Histogram {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.init()
	read := api.Histogram{Count: h.count, Sum: h.sum.Seconds()}
	var sum uint64
	for i, bound := range h.bounds {
		sum += h.within[i]
		read.Buckets = append(read.Buckets, api.Bucket{Within: bound.Seconds(), Count: sum})
	}
	return read
}
