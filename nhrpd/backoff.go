package nhrpd

import (
	"context"
	"time"
)

// A backOff waits firstWait after the first failure and at most longestWait after later ones.
const (
	firstWait   = time.Second
	longestWait = time.Minute
)

// backOff spaces tries of something that fails: it waits one second at first, then twice as long
// each time, a minute at most.
type backOff struct{ next time.Duration }

// reset makes the next wait the shortest again, after a success.
func (b *backOff) reset() { b.next = 0 }

// sleep waits until the next try is due. It returns an error if the context ends first.
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
