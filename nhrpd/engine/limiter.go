package engine

import (
	"math"
	"time"
)

// limiterKeep is how long a key that stays away keeps its bucket when others want it, unless it is released. It is above a
// third of two hours, a customary holding time: a peer that does no more than refresh its registration keeps its own.
const limiterKeep = time.Hour

// limiter is a token bucket for each key, for a bounded number of keys. The times must come from one clock.
//
// A key that comes gets a bucket of its own and keeps it as long as it comes once in limiterKeep,
// whatever others do. When all buckets are taken, a newcomer gets one that may be forgotten: one whose
// key was released, or else the one unused for longest if that is past limiterKeep. Either must be full
// again, so that forgetting it gives nothing away. Otherwise all newcomers share one further bucket.
//
// So a flood of made-up keys neither locks out those that were there before it, nor gets a fresh burst
// for any of them, nor, with however many keys, more in a time t than (keys + 1) × (burst + rate × t)
// altogether. Its price is paid by honest newcomers: they share with the flood. A key that only an SA
// proves cannot be made up; its peer releases it, so that addresses of the past take nobody's place.
type limiter[K comparable] struct {
	rate  int64 // tokens a second; also parts of a token in a nanosecond, see tokenParts
	full  int64 // parts in a full bucket
	keys  int
	epoch time.Time       // of the first use: times here are counted from it
	now   time.Duration   // the latest time seen
	index map[K]slotIndex // of all slots but the first two

	// Slot 0 holds the bucket that is shared, and is the head of the ring of the others: from its next on by last use, latest first.
	// Slot 1 is the head of the ring of the released ones: from its next on by their release, latest first.
	blocks []*[slotsPerBlock]limiterSlot[K] // by index; they stay where they are, and none is copied when there are more
	slots  int                              // in use
}

// tokenParts is the number of parts of a token, chosen so that rate tokens a second is a whole number of parts in a nanosecond.
const tokenParts = int64(time.Second)

// The slots that are no key's.
const (
	sharedSlot slotIndex = iota
	releasedHead
	ownSlots // how many there are
)

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
		index: make(map[K]slotIndex),
	}
	l.at(l.newSlot()).parts = l.full
	head := l.at(l.newSlot())
	head.prev, head.next = releasedHead, releasedHead
	return l
}

// roomFor sets how many keys are expected, and returns l, which has not been used yet.
func (l *limiter[K]) roomFor(keys int) *limiter[K] {
	l.index = make(map[K]slotIndex, keys)
	return l
}

// allow takes a token of k's bucket, if there is one. A time before one seen earlier counts as that one.
func (l *limiter[K]) allow(now time.Time, k K) bool { return l.take(now, k, 1, 0) }

// take takes several tokens of k's bucket if the bucket has them and keep tokens stay in it. A bucket
// never holds more than its burst: a request for more than that takes the whole burst.
func (l *limiter[K]) take(now time.Time, k K, tokens, keep int) bool {
	if l.epoch.IsZero() {
		l.epoch = now
	}
	l.now = max(l.now, now.Sub(l.epoch))
	b := &l.at(l.slot(k)).tokenBucket
	*b = l.refilled(*b)
	cost := min(l.full, int64(tokens)*tokenParts)
	if cost == 0 || b.parts < cost+int64(keep)*tokenParts {
		return false
	}
	b.parts -= cost
	return true
}

// release gives k's bucket to the next newcomer that needs one, once the bucket is full again: k's owner
// is gone. If k comes back before that, it has its bucket again.
func (l *limiter[K]) release(k K) {
	if i, ok := l.index[k]; ok {
		l.unlink(i)
		l.linkFirst(releasedHead, i)
	}
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
		l.linkFirst(sharedSlot, i)
		return i
	}
	var i slotIndex
	if l.slots < l.keys+int(ownSlots) {
		i = l.newSlot()
	} else {
		if i = l.forgettable(); i == sharedSlot {
			return i
		}
		delete(l.index, l.at(i).key)
		l.unlink(i)
	}
	slot := l.at(i)
	slot.key, slot.tokenBucket = k, tokenBucket{parts: l.full, at: l.now}
	l.index[k] = i
	l.linkFirst(sharedSlot, i)
	return i
}

// forgettable returns the slot that a newcomer may take over, or sharedSlot if there is none.
func (l *limiter[K]) forgettable() slotIndex {
	full := func(b tokenBucket) bool { return l.refilled(b).parts == l.full }
	if i := l.at(releasedHead).prev; i != releasedHead && full(l.at(i).tokenBucket) {
		return i
	}
	if i := l.at(sharedSlot).prev; i != sharedSlot && l.now-l.at(i).at >= limiterKeep && full(l.at(i).tokenBucket) {
		return i
	}
	return sharedSlot
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

// linkFirst puts a slot into a ring, behind its head.
func (l *limiter[K]) linkFirst(ring, i slotIndex) {
	head, slot := l.at(ring), l.at(i)
	slot.prev, slot.next = ring, head.next
	l.at(head.next).prev = i
	head.next = i
}

func (l *limiter[K]) unlink(i slotIndex) {
	prev, next := l.at(i).prev, l.at(i).next
	l.at(prev).next = next
	l.at(next).prev = prev
}
