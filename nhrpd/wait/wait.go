// Package wait has the waits of the daemon's tasks: one of a given length, which ends with the
// context, and the lengths of those before the next attempts at something that failed.
package wait

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
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
func Backoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: time.Second,
		MaxInterval:     time.Minute,
		Multiplier:      2,
	}
}
