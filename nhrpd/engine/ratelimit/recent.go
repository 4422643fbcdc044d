package ratelimit

import "time"

// Recent remembers what was done within the last period, so that nothing is done twice in it.
//
// Its memory has no bound of its own. Callers add only what a Budget has let through: the budget
// then bounds the memory, at twice what it allows in a period, and a router's share of the budget
// bounds that router's part. So nothing is turned away because others have filled the memory.
type Recent[K comparable] struct {
	period time.Duration
	keys   map[K]struct{}
	queue  []timed[K] // by time
}

type timed[K comparable] struct {
	key K
	at  time.Time
}

// NewRecent returns a memory that forgets each key after a period.
func NewRecent[K comparable](period time.Duration) *Recent[K] {
	return &Recent[K]{period: period, keys: make(map[K]struct{})}
}

// Has reports whether k was added within the period before now. It forgets what is older.
func (r *Recent[K]) Has(now time.Time, k K) bool {
	for len(r.queue) > 0 && now.Sub(r.queue[0].at) >= r.period {
		delete(r.keys, r.queue[0].key)
		r.queue = r.queue[1:]
	}
	_, there := r.keys[k]
	return there
}

// Add remembers k. The caller has just asked Has, which returned false.
func (r *Recent[K]) Add(now time.Time, k K) {
	r.keys[k] = struct{}{}
	r.queue = append(r.queue, timed[K]{k, now})
}

// Len returns how many keys take memory, including those that Has is going to forget.
func (r *Recent[K]) Len() int { return len(r.queue) }
