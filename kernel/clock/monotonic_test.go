package clock

import (
	"testing"
	"time"
)

// The programs' times are converted to times of Go's clock.
func TestMonotonic(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := Monotonic{now: now, monotonic: int64(time.Hour)}
	for ns, want := range map[uint64]time.Time{
		0:                               {},
		uint64(time.Hour):               now,
		uint64(time.Hour - time.Minute): now.Add(-time.Minute),
		uint64(time.Hour + time.Second): now.Add(time.Second), // written while the table was read
		1:                               now.Add(-time.Hour + 1),
	} {
		if got := c.At(ns); !got.Equal(want) {
			t.Errorf("%d ns: %v, want %v", ns, got, want)
		}
	}
}
