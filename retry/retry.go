// Package retry spaces the attempts at something that fails.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff computes the waits between attempts: each is twice the one before, up to a limit, and a
// part of it is random. The random part keeps apart the next attempts of routers that lost the same
// thing at the same moment. A Backoff is not for concurrent use.
type Backoff struct {
	First, Last time.Duration // the shortest and the longest wait, before the random part
	Random      float64       // the random part is at most this share of the wait, such as 0.25

	wait time.Duration // the last one, without its random part; 0: none yet
}

// Next returns the time to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.wait = min(max(2*b.wait, b.First), b.Last)
	most := time.Duration(float64(b.wait) * b.Random)
	return b.wait + rand.N(most+1)
}

// Reset makes the next wait the first one again. Call it after a success.
func (b *Backoff) Reset() { b.wait = 0 }

// Fresh reports whether no attempt has waited since the start or the last Reset.
func (b *Backoff) Fresh() bool { return b.wait == 0 }

// Sleep waits until the next attempt is due. It returns false if ctx ends first.
func (b *Backoff) Sleep(ctx context.Context) bool {
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
