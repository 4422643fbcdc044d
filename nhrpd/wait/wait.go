// Package wait has the two ways in which the daemon's tasks wait: for a length of time, and for the
// next attempt at something that failed. Both end with the context.
package wait

import (
	"context"
	"time"

	"cygnet/retry"
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

// Backoff returns the waits between the attempts at something that fails: one second at first, then
// twice as long each time, a minute at most.
func Backoff() *retry.Backoff { return &retry.Backoff{First: time.Second, Last: time.Minute} }
