package sizesearch

import (
	"math/rand/v2"
	"testing"
)

// run carries out a search on a path and returns what it found and how many probes it sent.
func run(t *testing.T, passes func(size int) bool) (passed, lost, sent int) {
	t.Helper()
	s := New(64, 1400)
	for sizes := s.Next(); len(sizes) > 0; sizes = s.Next() {
		if sent += len(sizes); len(sizes) > AtOnce || sent > AtOnce*Rounds {
			t.Fatalf("%d probes at once, %d in all", len(sizes), sent)
		}
		for _, size := range sizes {
			s.Took(size, passes(size))
		}
	}
	passed, lost = s.Longest()
	return passed, lost, sent
}

// Whatever the path takes, the search finds it to the byte.
func TestFindsTheLongest(t *testing.T) {
	for longest := 64; longest < 1400; longest++ {
		passed, lost, _ := run(t, func(size int) bool { return size <= longest })
		if passed != longest || lost != longest+1 {
			t.Fatalf("want %d, have %d, and %d lost", longest, passed, lost)
		}
	}
}

// If the longest packet of the start was lost by chance, the search finds that it passes.
func TestTheFirstLossWasChance(t *testing.T) {
	if passed, lost, _ := run(t, func(int) bool { return true }); passed != 1400 || lost != 0 {
		t.Errorf("want 1400 and none lost, have %d and %d", passed, lost)
	}
}

// A path that loses every tenth packet does not mislead the search: what it says passes has passed,
// and what it finds is the longest in nearly all cases.
func TestLossDoesNotMislead(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	wrong := 0
	for range 1000 {
		longest := 64 + random.IntN(1336)
		passed, _, _ := run(t, func(size int) bool {
			return size <= longest && random.IntN(10) > 0
		})
		if passed > longest {
			t.Fatalf("want at most %d, have %d", longest, passed)
		}
		if passed != longest {
			wrong++
		}
	}
	if wrong > 20 {
		t.Errorf("%d of 1000 searches did not find the longest", wrong)
	}
}

// A path that passes and loses at random ends the search at its bound.
func TestIsBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		run(t, func(int) bool { return random.IntN(2) == 0 })
	}
}
