package ratelimit

import (
	"math"
	"time"
)

// keepTime is how long a key that stays away keeps its bucket when others want it, unless it is
// released. It is above a third of two hours, a customary holding time: a peer that does no more
// than refresh its registration keeps its own.
const keepTime = time.Hour

// Limiter is a token bucket for each key, for a bounded number of keys.
//
// A new key gets a bucket of its own. It keeps the bucket, whatever others do, as long as it comes
// once an hour. When all buckets are taken, a newcomer gets one that may be forgotten: one whose
// key was released, or else the one unused for longest, if it is unused for an hour. Either must be
// full again, so that forgetting it gives nothing away. Otherwise all newcomers share one further
// bucket.
//
// So a flood of made-up keys neither locks out those that were there before it, nor gets a fresh
// burst for any of them. However many keys it makes up, it gets at most
// (keys + 1) × (burst + rate × t) in a time t altogether. Honest newcomers pay the price: they
// share with the flood. A key that only an SA proves cannot be made up. It is released when the
// peer is forgotten, so that addresses of the past take nobody's place.
type Limiter[K comparable] struct {
	rate  int64 // tokens a second; also parts of a token in a nanosecond, see tokenParts
	full  int64 // parts in a full bucket
	keys  int
	epoch time.Time       // of the first use: times here are counted from it
	now   time.Duration   // the latest time seen
	index map[K]slotIndex // of all slots but the first two

	// Slot 0 holds the bucket that is shared, and is the head of the ring of the others: from its
	// next on by last use, latest first. Slot 1 is the head of the ring of the released ones: from
	// its next on by their release, latest first.
	blocks []*[slotsPerBlock]keySlot[K] // by index; growing copies none of them
	slots  int                          // in use
}

// tokenParts is the number of parts of a token. It makes rate tokens a second a whole number of
// parts in a nanosecond.
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

type keySlot[K comparable] struct {
	tokenBucket
	key        K
	prev, next slotIndex
}

type tokenBucket struct {
	parts int64
	at    time.Duration // of the last use, when parts was right
}

// New returns a limiter of rate tokens a second for each key, and burst tokens at once, for up to
// keys keys. With rate 0 tokens never come back. With burst 0 nothing is allowed. With keys 0 all
// share one bucket. Numbers below 0 count as 0.
func New[K comparable](rate, burst, keys int) *Limiter[K] {
	l := &Limiter[K]{
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

// Expecting makes room for keys keys at once, and returns l, which must not have been used yet. It
// changes no limit.
func (l *Limiter[K]) Expecting(keys int) *Limiter[K] {
	l.index = make(map[K]slotIndex, keys)
	return l
}

// Allow takes a token of k's bucket. It reports whether there was one. A time before one seen
// earlier counts as that one.
func (l *Limiter[K]) Allow(now time.Time, k K) bool { return l.Take(now, k, 1, 0) }

// Take takes several tokens of k's bucket, if the bucket has them and keep tokens stay in it. It
// reports whether it did. A bucket never holds more than its burst: a request for more than that
// takes the whole burst.
func (l *Limiter[K]) Take(now time.Time, k K, tokens, keep int) bool {
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

// Release gives k's bucket to the next newcomer that needs one, once the bucket is full again: the
// router with that key is gone. If k comes back before that, it has its bucket again.
func (l *Limiter[K]) Release(k K) {
	if i, ok := l.index[k]; ok {
		l.unlink(i)
		l.linkFirst(releasedHead, i)
	}
}

// at is the slot with an index.
func (l *Limiter[K]) at(i slotIndex) *keySlot[K] {
	return &l.blocks[i/slotsPerBlock][i%slotsPerBlock]
}

func (l *Limiter[K]) newSlot() slotIndex {
	if l.slots == len(l.blocks)*slotsPerBlock {
		l.blocks = append(l.blocks, new([slotsPerBlock]keySlot[K]))
	}
	l.slots++
	return slotIndex(l.slots - 1)
}

// slot is the index of k's slot, which it makes if it may, or that of the shared one.
func (l *Limiter[K]) slot(k K) slotIndex {
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
func (l *Limiter[K]) forgettable() slotIndex {
	full := func(b tokenBucket) bool { return l.refilled(b).parts == l.full }
	if i := l.at(releasedHead).prev; i != releasedHead && full(l.at(i).tokenBucket) {
		return i
	}
	i := l.at(sharedSlot).prev
	if i != sharedSlot && l.now-l.at(i).at >= keepTime && full(l.at(i).tokenBucket) {
		return i
	}
	return sharedSlot
}

// refilled is the bucket as of now.
func (l *Limiter[K]) refilled(b tokenBucket) tokenBucket {
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
func (l *Limiter[K]) linkFirst(ring, i slotIndex) {
	head, slot := l.at(ring), l.at(i)
	slot.prev, slot.next = ring, head.next
	l.at(head.next).prev = i
	head.next = i
}

func (l *Limiter[K]) unlink(i slotIndex) {
	prev, next := l.at(i).prev, l.at(i).next
	l.at(prev).next = next
	l.at(next).prev = prev
}
