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
	epoch time.Time       // of the first use: times here are counted from it
	now   time.Duration   // the latest time seen
	index map[K]slotIndex // of all slots but the shared one

	// Slot 0 holds the bucket that is shared, and is the head of the ring of the others: from its next on by last use, latest first.
	blocks []*[slotsPerBlock]limiterSlot[K] // by index; they stay where they are, and none is copied when there are more
	slots  int                              // in use
}

// tokenParts is the number of parts of a token, chosen so that rate tokens a second is a whole number of parts in a nanosecond.
const tokenParts = int64(time.Second)

// slotsPerBlock is a few kilobytes.
const slotsPerBlock = 64

type slotIndex int32

type limiterSlot[K comparable] struct {
	tokenBucket
	key        K
	prev, next slotIndex
}

type tokenBucket struct {
	parts int64
	at    time.Duration // of the last use, when parts was right
}

// newLimiter makes a limiter of rate tokens a second for each key, up to burst at once, for up to keys keys. With rate 0 tokens never
// come back, with burst 0 nothing is allowed, with keys 0 all share one bucket.
func newLimiter[K comparable](rate, burst, keys int) *limiter[K] {
	l := &limiter[K]{
		rate:  int64(max(rate, 0)),
		full:  min(int64(max(burst, 0)), math.MaxInt64/tokenParts) * tokenParts,
		keys:  max(keys, 0),
		keep:  limiterKeep,
		index: make(map[K]slotIndex),
	}
	l.at(l.newSlot()).parts = l.full
	return l
}

// keepFor sets what stands for limiterKeep and returns l. 0 suits keys that come and go, such as flows: a bucket is up for others as
// soon as it is full again.
func (l *limiter[K]) keepFor(d time.Duration) *limiter[K] {
	l.keep = d
	return l
}

// roomFor sets how many keys are expected, and returns l, which has not been used yet.
func (l *limiter[K]) roomFor(keys int) *limiter[K] {
	l.index = make(map[K]slotIndex, keys)
	return l
}

// allow takes a token of k's bucket, if there is one. A time before one seen earlier counts as that one.
func (l *limiter[K]) allow(now time.Time, k K) bool {
	if l.epoch.IsZero() {
		l.epoch = now
	}
	l.now = max(l.now, now.Sub(l.epoch))
	b := &l.at(l.slot(k)).tokenBucket
	*b = l.refilled(*b)
	if b.parts < tokenParts {
		return false
	}
	b.parts -= tokenParts
	return true
}

// at is the slot with an index.
func (l *limiter[K]) at(i slotIndex) *limiterSlot[K] {
	return &l.blocks[i/slotsPerBlock][i%slotsPerBlock]
}

func (l *limiter[K]) newSlot() slotIndex {
	if l.slots == len(l.blocks)*slotsPerBlock {
		l.blocks = append(l.blocks, new([slotsPerBlock]limiterSlot[K]))
	}
	l.slots++
	return slotIndex(l.slots - 1)
}

// slot is the index of k's slot, which it makes if it may, or that of the shared one.
func (l *limiter[K]) slot(k K) slotIndex {
	if i, ok := l.index[k]; ok {
		l.unlink(i)
		l.linkFirst(i)
		return i
	}
	var i slotIndex
	if l.slots <= l.keys {
		i = l.newSlot()
	} else {
		i = l.at(0).prev
		if i == 0 || !l.forgettable(l.at(i).tokenBucket) {
			return 0
		}
		delete(l.index, l.at(i).key)
		l.unlink(i)
	}
	slot := l.at(i)
	slot.key, slot.tokenBucket = k, tokenBucket{parts: l.full, at: l.now}
	l.index[k] = i
	l.linkFirst(i)
	return i
}

func (l *limiter[K]) forgettable(b tokenBucket) bool {
	return l.now-b.at >= l.keep && l.refilled(b).parts == l.full
}

// refilled is the bucket as of now.
func (l *limiter[K]) refilled(b tokenBucket) tokenBucket {
	elapsed, missing := int64(l.now-b.at), l.full-b.parts
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

func (l *limiter[K]) linkFirst(i slotIndex) {
	head, slot := l.at(0), l.at(i)
	slot.prev, slot.next = 0, head.next
	l.at(head.next).prev = i
	head.next = i
}

func (l *limiter[K]) unlink(i slotIndex) {
	prev, next := l.at(i).prev, l.at(i).next
	l.at(prev).next = next
	l.at(next).prev = prev
}
