package nhrpd

import (
	"testing"
	"time"
)

// RFC 2332 §5.2.3: after a restart, request IDs go on above those of before, although none of those
// was kept. Up to eight a second may have been used.
func TestRequestIDsGrowOverRestarts(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, ran := range []time.Duration{time.Second, time.Hour, 10 * 365 * 24 * time.Hour} {
		used := uint32(ran/time.Second) * 8
		before, after := firstRequestID(start), firstRequestID(start.Add(ran))
		if int32(after-before-used) < 0 {
			t.Errorf("after %s with %d ids used the next start begins at %d, %d after the last",
				ran, used, after, int32(after-before-used))
		}
	}
}
