// Package wait has the two ways in which the daemon's tasks wait: for a length of time, and for the
// next try of something that failed. Both end with the context.
package wait

import (
	"context"
	"time"
)

// For waits for d. It returns false if the context ends first.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A BackOff waits firstDelay after the first failure and at most longestDelay after later ones.
const (
	firstDelay   = time.Second
	longestDelay = time.Minute
)

// BackOff spaces the tries of something that fails: it waits one second at first, then twice as
// long each time, a minute at most. The zero value is ready to use.
type BackOff struct{ delay time.Duration }

// Reset makes the next wait the shortest again. Call it after a success.
func (b *BackOff) Reset() { b.delay = 0 }

// Sleep waits until the next try is due. It returns false if the context ends first.
func (b *BackOff) Sleep(ctx context.Context) bool {
	b.delay = min(max(firstDelay, 2*b.delay), longestDelay)
	return For(ctx, b.delay)
}
