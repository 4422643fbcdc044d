package ratelimit

import (
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

func afterSeconds(seconds int) time.Time {
	return epoch.Add(time.Duration(seconds) * time.Second)
}

// limiterGrants counts how many of n tries at one time are allowed.
func limiterGrants(l *Limiter[string], now time.Time, key string, n int) int {
	count := 0
	for range n {
		if l.Allow(now, key) {
			count++
		}
	}
	return count
}

func TestLimiterGrantsBurstThenRate(t *testing.T) {
	for _, tt := range []struct {
		name        string
		rate, burst int
		wait        time.Duration // after the burst is used up
		want        int
	}{
		{"no time", 10, 5, 0, 0},
		{"just not one token", 10, 5, 100*time.Millisecond - 1, 0},
		{"one token", 10, 5, 100 * time.Millisecond, 1},
		{"one token at a rate that does not divide a second", 3, 5, 333_333_334, 1},
		{"a fraction of a nanosecond before that", 3, 1, 333_333_333, 0},
		{"never more than burst", 10, 5, time.Hour, 5},
		{"never more than burst in centuries", 1_000_000_000, 5, 1 << 62, 5},
		{"a large rate", 1_000_000, 50, time.Microsecond, 1},
		{"rate 0: never again", 0, 5, 1000 * time.Hour, 0},
		{"below 0 counts as 0", -1, 5, time.Hour, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := New[string](tt.rate, tt.burst, 4)
			if got := limiterGrants(l, epoch, "a", tt.burst+3); got != tt.burst {
				t.Fatalf("at first %d granted, want %d", got, tt.burst)
			}
			if got := limiterGrants(l, epoch.Add(tt.wait), "a", 100); got != tt.want {
				t.Errorf("after %v %d granted, want %d", tt.wait, got, tt.want)
			}
		})
	}
	if got := limiterGrants(New[string](10, 0, 4), epoch, "a", 3); got != 0 {
		t.Errorf("with burst 0 %d granted", got)
	}
}

func TestKeysDoNotTakeFromEachOther(t *testing.T) {
	l := New[string](1, 2, 4)
	limiterGrants(l, epoch, "a", 100)
	if got := limiterGrants(l, epoch, "b", 100); got != 2 {
		t.Errorf("%d granted to b, want 2", got)
	}
}

func TestTimeGoingBackwardsGrantsNothing(t *testing.T) {
	l := New[string](1, 2, 4)
	limiterGrants(l, afterSeconds(100), "a", 2)
	if got := limiterGrants(l, afterSeconds(50), "a", 9); got != 0 {
		t.Errorf("%d granted in the past", got)
	}
	if got := limiterGrants(l, afterSeconds(100), "a", 9); got != 0 {
		t.Errorf("%d granted for the way back", got)
	}
	if got := limiterGrants(l, afterSeconds(101), "a", 9); got != 1 {
		t.Errorf("%d granted a second later, want 1", got)
	}
	limiterGrants(l, afterSeconds(0), "b", 2)
	if got := limiterGrants(l, afterSeconds(101), "b", 9); got != 0 {
		t.Errorf("%d granted to one that first came in the past", got)
	}
}

func TestNewcomersShareABucketWhenAllAreTaken(t *testing.T) {
	l := New[string](1, 3, 2)
	limiterGrants(l, epoch, "a", 1)
	limiterGrants(l, epoch, "b", 1)
	if got := limiterGrants(l, epoch, "x", 2) + limiterGrants(l, epoch, "y", 9); got != 3 {
		t.Errorf("%d granted to newcomers, want 3", got)
	}
	if got := limiterGrants(l, epoch, "a", 9); got != 2 {
		t.Errorf("%d granted to a, want the rest of its own, 2", got)
	}
	if got := limiterGrants(l, afterSeconds(1), "z", 9); got != 1 {
		t.Errorf("%d granted to newcomers after a second, want 1", got)
	}
	if got := limiterGrants(New[string](1, 3, 0), epoch, "a", 9); got != 3 {
		t.Errorf("%d granted with room for no key, want those of the shared bucket, 3", got)
	}
}

func TestANewcomerTakesTheBucketUnusedForLongest(t *testing.T) {
	l := New[string](1, 3, 2)
	limiterGrants(l, epoch, "a", 3)
	limiterGrants(l, afterSeconds(1), "b", 3)
	limiterGrants(l, afterSeconds(2), "a", 1)
	limiterGrants(l, afterSeconds(2), "x", 3) // the shared one
	late := afterSeconds(1).Add(keepTime)
	if got := limiterGrants(l, late.Add(-1), "b2", 9); got != 3 {
		t.Fatalf("%d granted, want those of the shared bucket, 3", got)
	}
	if got := limiterGrants(l, late, "new", 9); got != 3 {
		t.Errorf("%d granted to the newcomer, want a bucket of its own, 3", got)
	}
	if got := limiterGrants(l, late, "b", 9); got != 0 {
		t.Errorf("%d granted to the one that lost its bucket, want the shared one, 0", got)
	}
	if got := limiterGrants(l, late, "a", 9); got != 3 {
		t.Errorf("%d granted to a, want its own, 3", got)
	}
}

// A whole generation of peers that comes under new addresses, as after an outage of their provider,
// has buckets of its own: those of the old addresses were released. Without the release all of them
// would share one bucket for an hour.
func TestReleasedKeysMakeRoom(t *testing.T) {
	l := New[string](1, 3, 2)
	limiterGrants(l, epoch, "old 1", 3)
	limiterGrants(l, epoch, "old 2", 1)
	l.Release("old 1")
	l.Release("old 2")
	l.Release("never there")
	if got := limiterGrants(l, epoch, "new 1", 9) + limiterGrants(l, epoch, "new 2", 9); got != 3 {
		t.Errorf("%d granted before a released bucket is full, want those of the shared one, 3",
			got)
	}
	if got := limiterGrants(l, epoch, "old 2", 9); got != 2 {
		t.Errorf("%d granted to a released key that is back, want the rest of its own, 2", got)
	}
	l.Release("old 2")
	for _, key := range []string{"new 1", "new 2"} {
		if got := limiterGrants(l, afterSeconds(3), key, 9); got != 3 {
			t.Errorf("%d granted to %s, want a bucket of its own, 3", got, key)
		}
	}
	if got := limiterGrants(l, afterSeconds(3), "old 1", 9); got != 3 {
		t.Errorf("%d granted to the first one back, want the shared bucket, 3", got)
	}
}

// What costs more than one token takes as many, and never more than a bucket can hold. Tokens that
// are kept back stay.
func TestSeveralTokensAtOnce(t *testing.T) {
	l := New[string](1, 10, 4)
	if !l.Take(epoch, "a", 7, 0) || l.Take(epoch, "a", 4, 0) || !l.Take(epoch, "a", 3, 0) {
		t.Error("not exactly ten tokens")
	}
	if !l.Take(afterSeconds(10), "a", 64, 0) || l.Take(afterSeconds(10), "a", 1, 0) {
		t.Error("who wants more than the burst does not take all of it")
	}
	if l.Take(afterSeconds(14), "a", 1, 4) || !l.Take(afterSeconds(15), "a", 1, 4) {
		t.Error("tokens that are to be kept back are not")
	}
}

func TestABucketThatIsNotFullIsNeverForgotten(t *testing.T) {
	l := New[string](0, 3, 1)
	limiterGrants(l, epoch, "a", 1)
	limiterGrants(l, epoch.Add(2*keepTime), "new", 9)
	if got := limiterGrants(l, epoch.Add(2*keepTime), "a", 9); got != 2 {
		t.Errorf("%d granted to a, want the rest of its own, 2", got)
	}
}

// A flood under made-up names reaches the limit of the buckets together, and takes nothing from a
// peer that was there before.
func TestAFloodOfKeysIsLimitedAndLocksNobodyOut(t *testing.T) {
	const rate, burst, keys, seconds = 2, 4, 8, 7200
	l := New[string](rate, burst, keys)
	limiterGrants(l, epoch, "peer", 1)
	flood := 0
	for s := range seconds {
		for i := range 20 {
			if l.Allow(afterSeconds(s), fmt.Sprintf("other %d.%d", s, i)) {
				flood++
			}
		}
		if s%1800 == 1799 {
			if got := limiterGrants(l, afterSeconds(s), "peer", burst); got != burst {
				t.Errorf("second %d: %d granted to the peer, want %d", s, got, burst)
			}
		}
	}
	if limit := keys*burst + burst + rate*seconds + keys*burst; flood > limit {
		t.Errorf("%d granted to the flood, want at most %d", flood, limit)
	}
	if got := len(l.index); got > keys {
		t.Errorf("%d keys remembered, want at most %d", got, keys)
	}
}

// Each of many keys has a bucket of its own, and the one that stayed away for longest goes first.
func TestLimiterKeepsManyApart(t *testing.T) {
	const keys = 3*slotsPerBlock + 1
	l := New[int](1, 1, keys)
	now := epoch
	for range 2 {
		for k := range keys {
			now = now.Add(keepTime / keys)
			if !l.Allow(now, k) || l.Allow(now, k) {
				t.Fatalf("key %d has not exactly one token", k)
			}
		}
	}
	now = now.Add(keepTime/2 + time.Second)
	for k := range keys / 2 {
		if !l.Allow(now, keys+k) {
			t.Fatalf("newcomer %d has no bucket", k)
		}
		if _, there := l.index[k]; there {
			t.Fatalf("key %d, unused for longest, has its bucket still", k)
		}
	}
}

// limiterModel is the specification of a Limiter: exact fractions, and a search where the limiter
// keeps a list.
type limiterModel struct {
	rate, burst int64
	keys        int
	now         time.Time
	buckets     []*modelBucket // by last use, longest ago first
	released    []*modelBucket // by release, longest ago first
	shared      modelBucket
}

type modelBucket struct {
	key    int
	tokens *big.Rat
	at     time.Time
}

func (m *limiterModel) tokens(b *modelBucket) *big.Rat {
	grown := big.NewRat(int64(m.now.Sub(b.at)), int64(time.Second))
	grown.Mul(grown, big.NewRat(m.rate, 1))
	grown.Add(grown, b.tokens)
	if full := big.NewRat(m.burst, 1); grown.Cmp(full) > 0 {
		return full
	}
	return grown
}

func (m *limiterModel) bucket(k int) *modelBucket {
	if i := slices.IndexFunc(m.buckets, func(b *modelBucket) bool { return b.key == k }); i >= 0 {
		b := m.buckets[i]
		m.buckets = append(slices.Delete(m.buckets, i, i+1), b)
		return b
	}
	if i := slices.IndexFunc(m.released, func(b *modelBucket) bool { return b.key == k }); i >= 0 {
		b := m.released[i]
		m.released, m.buckets = slices.Delete(m.released, i, i+1), append(m.buckets, b)
		return b
	}
	full := big.NewRat(m.burst, 1)
	switch {
	case len(m.buckets)+len(m.released) < m.keys:
	case len(m.released) > 0 && m.tokens(m.released[0]).Cmp(full) == 0:
		m.released = slices.Delete(m.released, 0, 1)
	default:
		if len(m.buckets) == 0 || m.now.Sub(m.buckets[0].at) < keepTime ||
			m.tokens(m.buckets[0]).Cmp(full) < 0 {
			return &m.shared
		}
		m.buckets = slices.Delete(m.buckets, 0, 1)
	}
	b := &modelBucket{key: k, tokens: full, at: m.now}
	m.buckets = append(m.buckets, b)
	return b
}

func (m *limiterModel) take(now time.Time, k, tokens, keep int) bool {
	if now.After(m.now) {
		m.now = now
	}
	b := m.bucket(k)
	b.tokens, b.at = m.tokens(b), m.now
	cost := min(int64(tokens), m.burst)
	if cost == 0 || b.tokens.Cmp(big.NewRat(cost+int64(keep), 1)) < 0 {
		return false
	}
	b.tokens = new(big.Rat).Sub(b.tokens, big.NewRat(cost, 1))
	return true
}

func (m *limiterModel) release(k int) {
	for _, list := range []*[]*modelBucket{&m.buckets, &m.released} {
		if i := slices.IndexFunc(*list, func(b *modelBucket) bool { return b.key == k }); i >= 0 {
			b := (*list)[i]
			*list = slices.Delete(*list, i, i+1)
			m.released = append(m.released, b)
			return
		}
	}
}

func TestLimiterDoesWhatItsModelDoes(t *testing.T) {
	step := rapid.OneOf(
		rapid.Just(time.Duration(0)),
		rapid.Custom(func(t *rapid.T) time.Duration {
			ns := rapid.Int64Range(-int64(time.Second), int64(2*time.Second)).Draw(t, "short")
			return time.Duration(ns)
		}),
		rapid.SampledFrom([]time.Duration{
			-keepTime, keepTime / 2, keepTime - 1, keepTime, 3 * keepTime,
		}),
	)
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.IntRange(0, 7).Draw(rt, "rate")
		burst := rapid.IntRange(0, 4).Draw(rt, "burst")
		keys := rapid.IntRange(0, 4).Draw(rt, "keys")
		l := New[int](rate, burst, keys)
		model := limiterModel{rate: int64(rate), burst: int64(burst), keys: keys}
		model.shared.tokens = big.NewRat(int64(burst), 1)
		now, total := epoch, int64(0)
		var first time.Time // that the limiter was used at
		rt.Repeat(map[string]func(*rapid.T){
			"allow": func(rt *rapid.T) {
				if first.IsZero() {
					first = now
				}
				k := rapid.IntRange(0, 6).Draw(rt, "key")
				tokens := rapid.SampledFrom([]int{1, 1, 2, 64}).Draw(rt, "tokens")
				keep := rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(rt, "keep")
				got, want := l.Take(now, k, tokens, keep), model.take(now, k, tokens, keep)
				if got != want {
					rt.Fatalf("Take(%v, %d, %d, %d) = %v, want %v",
						now.Sub(first), k, tokens, keep, got, want)
				}
				if got {
					total += int64(min(tokens, burst))
				}
			},
			"release": func(rt *rapid.T) {
				k := rapid.IntRange(0, 6).Draw(rt, "key")
				l.Release(k)
				model.release(k)
			},
			"wait": func(rt *rapid.T) { now = now.Add(step.Draw(rt, "step")) },
			"": func(rt *rapid.T) {
				if len(l.index) > keys || l.slots > keys+int(ownSlots) {
					rt.Fatalf("%d keys in %d slots, room for %d", len(l.index), l.slots, keys)
				}
				elapsed := int64(model.now.Sub(first)/time.Second) + 1
				if limit := int64(keys+1) * (int64(burst) + int64(rate)*elapsed); total > limit {
					rt.Fatalf("%d granted in %d s, want at most %d", total, elapsed, limit)
				}
			},
		})
	})
}

func BenchmarkLimiter(b *testing.B) {
	const keys = 10_000
	fill := func() *Limiter[int] {
		l := New[int](100, 100, keys)
		for k := range keys {
			l.Allow(epoch, k)
		}
		return l
	}
	b.Run("known keys", func(b *testing.B) {
		l := fill()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Allow(epoch.Add(time.Duration(i)*time.Microsecond), i*7919%keys)
		}
	})
	b.Run("flood of new keys", func(b *testing.B) {
		l := fill()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Allow(epoch.Add(time.Duration(i)*time.Microsecond), keys+i)
		}
	})
	b.Run("turnover", func(b *testing.B) {
		l := fill()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Allow(epoch.Add(time.Duration(i)*keepTime), keys+i)
		}
	})
}
