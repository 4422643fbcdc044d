package ratelimit

import "time"

// Budget limits something that is done for all keys together, such as sending indications, and
// shares it out. No key gets more than a quarter, and keys that ask for little come before those
// that ask for much.
//
// The latter works by a reserve: a quarter of the burst is only for the first request of a key in
// each second. While heavy users keep the budget down to the reserve, whatever is refilled serves
// the others first. Heavy users can therefore not starve a key that wants one token a second,
// unless there are more of them than the budget has tokens.
type Budget[K comparable] struct {
	all     *Limiter[struct{}]
	each    *Limiter[K]
	first   *Limiter[K] // one a second
	reserve int         // tokens
}

// NewBudget returns a budget of rate tokens a second, and as many at once, for all keys together.
// Up to keys keys have buckets of their own.
func NewBudget[K comparable](rate, keys int) *Budget[K] {
	share := rate/4 + 1
	return &Budget[K]{
		all:     New[struct{}](rate, rate, 0),
		each:    New[K](share, share, keys),
		first:   New[K](1, 1, keys),
		reserve: rate / 4,
	}
}

// Allow takes one token for k. It reports whether k's share and the budget had one.
func (b *Budget[K]) Allow(now time.Time, k K) bool {
	if !b.each.Allow(now, k) {
		return false
	}
	reserve := b.reserve
	if b.first.Allow(now, k) {
		reserve = 0
	}
	return b.all.Take(now, struct{}{}, 1, reserve)
}

// Release is Limiter.Release for the buckets of k.
func (b *Budget[K]) Release(k K) {
	b.each.Release(k)
	b.first.Release(k)
}
