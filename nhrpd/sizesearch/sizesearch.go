// Package sizesearch finds the longest packet that passes a path, by probes of many sizes at a
// time. It only chooses the sizes: who calls it sends the probes.
package sizesearch

import "slices"

// Bounds of a search.
const (
	// AtOnce is how many probes are under way at most.
	AtOnce = copies * sizesAtOnce
	// copies is how often each size is sent, since a probe may be lost for another reason than its
	// size.
	copies      = 2
	sizesAtOnce = 7
	// Rounds is how often Next returns sizes at most: on a path without chance losses, four or five
	// rounds find the size among 1,500.
	Rounds = 6
	// doubts is how often the shortest packet that was lost is sent again at the end.
	doubts = 4
)

// Search is a search for the longest packet between a size that passed and one that was lost. A
// probe that passed proves that its size passes, so packets that were lost below it were lost for
// another reason.
type Search struct {
	passed int
	lost   []int // sizes that were lost, sorted, each once
	sure   int   // the lost size that was sent again
	rounds int
}

// New returns the search for the longest packet, where one size passed and a longer one was lost.
func New(passed, lost int) *Search { return &Search{passed: passed, lost: []int{lost}} }

// Longest returns the longest size that passed, and the shortest one above it that was lost; 0 if
// none was.
func (s *Search) Longest() (passed, lost int) {
	if len(s.lost) > 0 {
		lost = s.lost[0]
	}
	return s.passed, lost
}

// Next returns the sizes to send next, at most AtOnce; none at the end of the search. The caller
// reports what became of them to Took.
func (s *Search) Next() []int {
	passed, lost := s.Longest()
	var sizes []int
	switch gap := lost - passed; {
	case lost == 0, s.rounds >= Rounds:
		return nil
	case gap > 1:
		parts := min(gap, sizesAtOnce+1)
		for n := 1; n < parts; n++ {
			for range copies {
				sizes = append(sizes, passed+gap*n/parts)
			}
		}
	case s.sure != lost:
		for range doubts {
			sizes = append(sizes, lost)
		}
		s.sure = lost
	}
	s.rounds++
	return sizes
}

// Took takes what became of a probe.
func (s *Search) Took(size int, passed bool) {
	if !passed {
		if n, found := slices.BinarySearch(s.lost, size); !found {
			s.lost = slices.Insert(s.lost, n, size)
		}
	} else {
		s.passed = max(s.passed, size)
	}
	for len(s.lost) > 0 && s.lost[0] <= s.passed {
		s.lost = s.lost[1:]
	}
}
