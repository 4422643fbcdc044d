package datapath

import (
	"testing"
	"time"
)

// If the programs were missing for a time, an earlier use says nothing about that time. The peer
// then counts as used when the programs were back, so that it does not seem idle.
func TestUseBeforeProgramsWerePutBack(t *testing.T) {
	back := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &ebpfPath{reattached: back}
	for use, want := range map[time.Time]time.Time{
		{}:                     {},
		back.Add(-time.Minute): back,
		back.Add(time.Minute):  back.Add(time.Minute),
	} {
		if got := s.seen(use); !got.Equal(want) {
			t.Errorf("used at %v: reported %v, want %v", use, got, want)
		}
	}
}
