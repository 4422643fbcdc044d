package session

import (
	"math/rand/v2"
	"time"
)

// Backoff computes the waits between attempts. Each wait is twice the one before, plus up to a
// quarter at random, so that attempts that failed together are not repeated together.
type Backoff struct {
	First, Last time.Duration // the shortest and the longest wait, before the random part
	wait        time.Duration // the last one, without its random part; 0: none yet
}

// Next returns the time to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.wait = min(max(2*b.wait, b.First), b.Last)
	return b.wait + rand.N(b.wait/4+1)
}

// Reset makes the next wait the first one again.
func (b *Backoff) Reset() { b.wait = 0 }

// Fresh reports whether no attempt has waited since the start or the last Reset.
func (b *Backoff) Fresh() bool { return b.wait == 0 }
