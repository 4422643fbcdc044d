package kernel

import "testing"

// What the kernel says of a batch that failed: how many it took, or that it did not begin.
func TestTakenOfABatch(t *testing.T) {
	for n, want := range map[int]int{0: 0, 2: 2, 3: 0, 4: 0} {
		if got := taken(n, 3); got != want {
			t.Errorf("failed after %d of 3: %d were taken, want %d", n, got, want)
		}
	}
}
