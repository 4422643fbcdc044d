package schedule

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff computes the delays between tries. Each step is twice the one before, up to a limit.
// Jitter keeps many nodes that lost the same thing from trying again at the same moment. It is not
// for concurrent use.
type Backoff struct{ first, limit, next time.Duration }

// NewBackoff returns a Backoff whose first delay is at most first, and every later one at most
// limit.
func NewBackoff(first, limit time.Duration) *Backoff { return &Backoff{first, limit, first} }

// Reset starts over: the next delay is the first one again.
func (b *Backoff) Reset() { b.next = b.first }

// Delay returns the time to wait before the next try: between half and all of the current step.
func (b *Backoff) Delay() time.Duration {
	step := b.next
	b.next = min(2*b.next, b.limit)
	return step/2 + rand.N(step/2+1)
}

// Sleep waits for the next delay. It returns false if ctx ends first.
func (b *Backoff) Sleep(ctx context.Context) bool {
	select {
	case <-time.After(b.Delay()):
		return true
	case <-ctx.Done():
		return false
	}
}
