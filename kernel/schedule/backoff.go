package schedule

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff spaces tries: twice as long each time up to a limit, with jitter, so that many nodes that
// lost the same thing do not come back in step. It is not for concurrent use.
type Backoff struct{ first, limit, next time.Duration }

// NewBackoff returns a back-off whose first delay is first at most, and every later one limit at
// most.
func NewBackoff(first, limit time.Duration) *Backoff { return &Backoff{first, limit, first} }

// Reset makes the next delay the first one again.
func (b *Backoff) Reset() { b.next = b.first }

// Delay returns the time to wait before the next try: between half and all of the current step.
func (b *Backoff) Delay() time.Duration {
	step := b.next
	b.next = min(2*b.next, b.limit)
	return step/2 + rand.N(step/2+1)
}

// Sleep waits for the delay and reports whether ctx is still alive.
func (b *Backoff) Sleep(ctx context.Context) bool {
	select {
	case <-time.After(b.Delay()):
		return true
	case <-ctx.Done():
		return false
	}
}
