package sim

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// A node begins a new attempt with a peer that does not answer. With an NHS it begins one after two
// seconds at first, and later after at most ten. With any other peer it begins one when charon has
// given up, and later after pauses of up to a minute.
func TestDialsAnew(t *testing.T) {
	const letsGo = abandons + 100*time.Millisecond // includes the interval of this test's checks
	tests := []struct {
		name        string
		want        engine.Security
		first, last time.Duration // from one attempt to the next, at most
		least       time.Duration // between the last two attempts
	}{
		{
			"an NHS",
			engine.SAInitiateFirst,
			impatientFirst + letsGo,
			impatientLast + letsGo,
			impatientLast,
		},
		{
			"another peer",
			engine.SAInitiate,
			attemptFails + pauseFirst*5/4 + letsGo,
			attemptFails + pauseLast*5/4 + letsGo,
			attemptFails + pauseLast,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := quietNetwork(t, 6)
			n := w.spokes()[0]
			h := n.nhs[0]
			w.cuts[pairOf(n, h)] = w.now + 30*minute
			n.wanted.peers[peerid.At(h.public)] = tt.want
			for _, e := range slices.Clone(n.ends[peerid.At(h.public)]) {
				e.remove("the underlay is cut")
			}
			var begun []int64
			w.every(second/10, func() {
				if d := n.dials[peerid.At(h.public)]; d != nil && d.attempt != 0 &&
					(len(begun) == 0 || begun[len(begun)-1] != d.last) {
					begun = append(begun, d.last)
				}
			})
			w.runUntil(w.now + 10*minute)
			if w.failed != nil {
				t.Fatal(w.failed)
			}
			if len(begun) < 5 {
				t.Fatalf("attempts at %v", begun)
			}
			var apart []time.Duration
			for i := range begun[1:] {
				apart = append(apart, time.Duration(begun[i+1]-begun[i]))
			}
			if last := apart[len(apart)-1]; apart[0] > tt.first ||
				slices.Max(apart) > tt.last || last < tt.least {
				t.Errorf("attempts are %v apart; want %s at first, %s to %s in the end",
					apart, tt.first, tt.least, tt.last)
			}
		})
	}
}
