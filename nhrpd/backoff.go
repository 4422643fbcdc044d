package nhrpd

import (
	"context"
	"time"
)

// Bounds of a backOff.
const (
	firstWait   = time.Second
	longestWait = time.Minute
)

// backOff spaces tries: one second at first, then twice as long each time, a minute at most.
type backOff struct{ next time.Duration }

func (b *backOff) reset() { b.next = 0 }

// sleep waits for the next try, or returns the context's error.
func (b *backOff) sleep(ctx context.Context) error {
	b.next = min(max(firstWait, 2*b.next), longestWait)
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
