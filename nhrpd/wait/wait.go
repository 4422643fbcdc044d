// Package wait has how the daemon's tasks wait: for a length of time, which ends with the context,
// and how long for the next attempt at something that failed.
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
