package vici

import (
	"math/rand/v2"
	"time"
)

// backoff gives the times to wait before attempt after attempt: doubling, plus up to a quarter at random so that peers that
// failed together do not try together.
type backoff struct {
	first, last time.Duration
	span        time.Duration
}

// peerBackoff waits 1 s to 60 s between attempts to secure a peer.
func peerBackoff() backoff { return backoff{first: time.Second, last: 48 * time.Second} }

// linkBackoff waits 0.1 s to 0.3 s between attempts to reach charon: they cost nothing, and until charon has our connections it refuses
// the peers that dial again after its return.
func linkBackoff() backoff {
	return backoff{first: 100 * time.Millisecond, last: 250 * time.Millisecond}
}

func (b *backoff) next() time.Duration {
	b.span = min(max(2*b.span, b.first), b.last)
	return b.span + rand.N(b.span/4+1)
}

func (b *backoff) reset() { b.span = 0 }
