package histogram

import (
	"testing"
	"time"

	"cygnet/nhrpd/api"

	"github.com/google/go-cmp/cmp"
)

// A bucket has all durations up to its bound, and the bound itself. What exceeds every bound counts
// in the sum alone, and what was not measured nowhere.
func TestHistogram(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{
		0, -time.Second, time.Microsecond, time.Millisecond, time.Millisecond + 1,
		250 * time.Millisecond,
		30 * time.Second, time.Minute,
	} {
		h.Add(d)
	}
	want := api.Histogram{Count: 6, Sum: (time.Microsecond + 2*time.Millisecond + 1 +
		250*time.Millisecond + 90*time.Second).Seconds()}
	for i, count := range []uint64{2, 3, 3, 3, 3, 4, 4, 4, 4, 5} {
		want.Buckets = append(want.Buckets, api.Bucket{Within: long[i].Seconds(), Count: count})
	}
	if diff := cmp.Diff(want, h.Read()); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// One for short work tells microseconds apart, and has all its buckets before anything is counted.
func TestShort(t *testing.T) {
	h := Short()
	if n := len(h.Read().Buckets); n != len(short) {
		t.Errorf("an empty one has %d buckets, want %d", n, len(short))
	}
	h.Add(20 * time.Microsecond)
	h.Add(time.Minute)
	got := h.Read()
	if got.Count != 2 || got.Buckets[0].Count != 0 || got.Buckets[1].Count != 1 ||
		got.Buckets[len(short)-1].Count != 1 {
		t.Errorf("got %+v", got)
	}
}
