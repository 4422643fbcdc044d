package failure

import "time"

// Repeats keeps the log from having the same failure over and over: a refused peer dials again,
// perhaps at once and for ever. For each K, such as a peer, it lets one line a minute pass.
type Repeats[K comparable] map[K]logged

// logged is the last line about a K.
type logged struct {
	reason  string
	at      time.Time
	skipped int // failures since then that were not logged
}

const (
	again      = time.Minute
	maxRepeats = 256 // peers that are remembered
)

// Note counts a failure. It returns whether to log it, and how many were not logged since the last
// line.
func (r Repeats[K]) Note(k K, reason string, now time.Time) (log bool, skipped int) {
	last, known := r[k]
	if known && last.reason == reason && now.Sub(last.at) < again {
		last.skipped++
		r[k] = last
		return false, 0
	}
	if !known && len(r) >= maxRepeats {
		r.forget(now)
	}
	if !known && len(r) >= maxRepeats {
		return false, 0
	}
	r[k] = logged{reason: reason, at: now}
	return true, last.skipped
}

// forget drops what was logged long enough ago.
func (r Repeats[K]) forget(now time.Time) {
	for k, last := range r {
		if now.Sub(last.at) >= again {
			delete(r, k)
		}
	}
}
