package lab

import (
	"fmt"
	"time"
)

// Await calls look again and again until look returns nil. An error of look says what look saw
// instead. If the time is over first, Await fails the test and shows the last error.
func (n *Net) Await(what string, within time.Duration, look func() error) {
	n.Helper()
	if err := Poll(within, look); err != nil {
		n.Fatalf("waited %v for: %s; seen last: %v", within, what, err)
	}
}

// Poll is Await for a caller that decides itself what follows: it returns the last error of look,
// or nil.
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

// True returns nil if a condition holds, and otherwise an error with the given text. It is for the
// functions that Await calls.
func True(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}
