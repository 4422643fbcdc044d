package kernel

import (
	"testing"
	"time"
)

// Use of before the programs were missing tells nothing about the time in between: nobody is idle
// for that.
func TestUseBeforeProgramsWerePutBack(t *testing.T) {
	back := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &ebpfPath{reattached: back}
	for use, want := range map[time.Time]time.Time{
		{}:                     {},
		back.Add(-time.Minute): back,
		back.Add(time.Minute):  back.Add(time.Minute),
	} {
		if got := s.seen(use); !got.Equal(want) {
			t.Errorf("used at %v: told %v, want %v", use, got, want)
		}
	}
}
