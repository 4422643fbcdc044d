package lab

import (
	"fmt"
	"time"
)

// Await waits until look returns nil. It looks again and again; what it returns otherwise says what it saw instead, and the last
// of it is told when the time is over and the test fails.
func (n *Net) Await(what string, within time.Duration, look func() error) {
	n.Helper()
	if err := Poll(within, look); err != nil {
		n.Fatalf("waited %v for: %s; seen last: %v", within, what, err)
	}
}

// Poll is Await for a caller that decides itself: it returns what look returned last.
func Poll(within time.Duration, look func() error) error {
	deadline := time.Now().Add(within)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := look()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// True makes an error of a condition that does not hold, for Await.
func True(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}
