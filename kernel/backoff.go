package kernel

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff spaces tries: twice as long each time up to a limit, with jitter, so that many nodes that lost the same thing do not come
// back in step.
type backoff struct{ first, limit, next time.Duration }

func newBackoff(first, limit time.Duration) *backoff { return &backoff{first, limit, first} }

func (b *backoff) reset() { b.next = b.first }

// delay returns the time to wait before the next try: between half and all of the current step.
func (b *backoff) delay() time.Duration {
	step := b.next
	b.next = min(2*b.next, b.limit)
	return step/2 + rand.N(step/2+1)
}

// sleep waits for the delay and reports whether ctx is still alive.
func (b *backoff) sleep(ctx context.Context) bool {
	select {
	case <-time.After(b.delay()):
		return true
	case <-ctx.Done():
		return false
	}
}
