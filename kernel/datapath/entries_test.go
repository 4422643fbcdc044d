package datapath

import "testing"

// taken returns how many entries of a failed batch the kernel took, and 0 if the kernel did not
// begin.
func TestTakenOfABatch(t *testing.T) {
	for n, want := range map[int]int{0: 0, 2: 2, 3: 0, 4: 0} {
		if got := taken(n, 3); got != want {
			t.Errorf("failed after %d of 3: %d were taken, want %d", n, got, want)
		}
	}
}
