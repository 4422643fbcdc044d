package failure

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A refused peer that keeps dialling causes one log line a minute, which says how many refusals
// were left out. The number of remembered peers is limited.
func TestRepeats(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	r, now := Repeats[netip.Addr]{}, time.Unix(1000, 0)
	type step struct {
		Log     bool
		Skipped int
	}
	var got []step
	for _, at := range []time.Duration{0, time.Second, 2 * time.Second, time.Minute,
		time.Minute + time.Second} {
		log, skipped := r.Note(addr, "why", now.Add(at))
		got = append(got, step{log, skipped})
	}
	log, skipped := r.Note(addr, "another reason", now.Add(time.Minute+2*time.Second))
	got = append(got, step{log, skipped})
	if diff := cmp.Diff([]step{{true, 0}, {false, 0}, {false, 0}, {true, 2}, {false, 0}, {true, 1}},
		got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for range 3 * maxRepeats {
		addr = addr.Next()
		r.Note(addr, "why", now.Add(time.Hour))
	}
	if len(r) > maxRepeats {
		t.Errorf("want at most %d peers remembered, have %d", maxRepeats, len(r))
	}
}
