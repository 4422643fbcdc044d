package kernel

import (
	"slices"
	"testing"
)

// A batch that failed goes on behind what was done, and as a whole where the kernel counted nothing: a failed one has always something left.
func TestUndone(t *testing.T) {
	batch := []int{1, 2, 3}
	for done, want := range map[int][]int{0: batch, 2: {3}, 3: batch} {
		if got := undone(batch, done); !slices.Equal(got, want) {
			t.Errorf("after %d: %v, want %v", done, got, want)
		}
	}
}
