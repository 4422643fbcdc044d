package engine

import (
	"math"
	"time"
)

// limiterKeep is how long a key that stays away keeps its bucket when others want it, unless keepFor says otherwise. It is above a
// third of two hours, a customary holding time: a peer that does no more than refresh its registration keeps its own.
const limiterKeep = time.Hour

// limiter is a token bucket for each key, for a bounded number of keys. The times must come from one clock.
//
// A key that comes gets a bucket of its own and keeps it as long as it comes once in limiterKeep, whatever strangers do. When all
// buckets are taken, a newcomer gets the one unused for longest if that is past limiterKeep and full again, so that forgetting it
// gives nothing away. Otherwise all newcomers share one further bucket. So a flood of made-up keys neither locks out those that
// were there before it, nor gets a fresh burst for any of them, nor, with however many keys, more in a time t than
// (keys + 1) × (burst + rate × t) altogether. Its price is paid by honest newcomers: they share with the flood.
type limiter[K comparable] struct {
	rate  int64 // tokens a second; also parts of a token in a nanosecond, see tokenParts
	full  int64 // parts in a full bucket
	keys  int
	keep  time.Duration
	now   time.Time // the latest time seen
	index map[K]int // of slots

	// slots[0] holds the bucket that is shared, and is the head of the ring of the others: from its next on by last use, latest first.
	slots []limiterSlot[K]
}

// tokenParts is the number of parts of a token, chosen so that rate tokens a second is a whole number of parts in a nanosecond.
const tokenParts = int64(time.Second)

type limiterSlot[K comparable] struct {
	tokenBucket
	key        K
	prev, next int
}

type tokenBucket struct {
	parts int64
	at    time.Time // of the last use, when parts was right
}

// newLimiter makes a limiter of rate tokens a second for each key, up to burst at once, for up to keys keys. With rate 0 tokens never
// come back, with burst 0 nothing is allowed, with keys 0 all share one bucket.
func newLimiter[K comparable](rate, burst, keys int) *limiter[K] {
	l := &limiter[K]{
		rate:  int64(max(rate, 0)),
		full:  min(int64(max(burst, 0)), math.MaxInt64/tokenParts) * tokenParts,
		keys:  max(keys, 0),
		keep:  limiterKeep,
		index: make(map[K]int),
	}
	l.slots = []limiterSlot[K]{{tokenBucket: tokenBucket{parts: l.full}}}
	return l
}

// keepFor sets what stands for limiterKeep and returns l. 0 suits keys that come and go, such as flows: a bucket is up for others as
// soon as it is full again.
func (l *limiter[K]) keepFor(d time.Duration) *limiter[K] {
	l.keep = d
	return l
}

// allow takes a token of k's bucket, if there is one. A time before one seen earlier counts as that one.
func (l *limiter[K]) allow(now time.Time, k K) bool {
	if now.After(l.now) {
		l.now = now
	}
	b := &l.slots[l.slot(k)].tokenBucket
	*b = l.refilled(*b)
	if b.parts < tokenParts {
		return false
	}
	b.parts -= tokenParts
	return true
}

// slot is the index of k's slot, which it makes if it may, or that of the shared one.
func (l *limiter[K]) slot(k K) int {
	if i, ok := l.index[k]; ok {
		l.unlink(i)
		l.linkFirst(i)
		return i
	}
	i := len(l.slots)
	if i <= l.keys {
		l.slots = append(l.slots, limiterSlot[K]{})
	} else {
		i = l.slots[0].prev
		if i == 0 || !l.forgettable(l.slots[i].tokenBucket) {
			return 0
		}
		delete(l.index, l.slots[i].key)
		l.unlink(i)
	}
	l.slots[i].key = k
	l.slots[i].tokenBucket = tokenBucket{parts: l.full, at: l.now}
	l.index[k] = i
	l.linkFirst(i)
	return i
}

func (l *limiter[K]) forgettable(b tokenBucket) bool {
	return l.now.Sub(b.at) >= l.keep && l.refilled(b).parts == l.full
}

// refilled is the bucket as of now.
func (l *limiter[K]) refilled(b tokenBucket) tokenBucket {
	elapsed, missing := int64(l.now.Sub(b.at)), l.full-b.parts
	switch {
	case l.rate == 0:
	case elapsed > missing/l.rate: // asked this way round, since the product may overflow
		b.parts = l.full
	default:
		b.parts += elapsed * l.rate
	}
	b.at = l.now
	return b
}

func (l *limiter[K]) linkFirst(i int) {
	first := l.slots[0].next
	l.slots[i].prev, l.slots[i].next = 0, first
	l.slots[first].prev = i
	l.slots[0].next = i
}

func (l *limiter[K]) unlink(i int) {
	prev, next := l.slots[i].prev, l.slots[i].next
	l.slots[prev].next = next
	l.slots[next].prev = prev
}
