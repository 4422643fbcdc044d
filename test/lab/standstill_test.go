package lab

import (
	"testing"
	"time"
)

// The time between two events has no part of a standstill that lies between them, wholly or in
// part, and nothing else is left out.
func TestStandstillsAreLeftOut(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	s := &Standstills{list: []standstill{{at(10), at(12)}, {at(20), at(25)}}}
	for _, test := range []struct{ event, next, want int }{
		{0, 5, 5},   // before all
		{0, 15, 13}, // one between
		{0, 30, 23}, // both between
		{11, 15, 3}, // the event in one
		{0, 11, 10}, // the next event in one
		{21, 22, 0}, // both events in one
		{12, 20, 8}, // one on each side
		{5, 3, -2},  // the other order
	} {
		want := time.Duration(test.want) * time.Second
		if got := s.Between(at(test.event), at(test.next)); got != want {
			t.Errorf("from %d to %d: %s, want %s", test.event, test.next, got, want)
		}
	}
}
