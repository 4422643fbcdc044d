package overlay

import "time"

// MaxHolding is the longest holding time that a packet can carry.
const MaxHolding = 65535 * time.Second

// Seconds returns a holding time as a packet carries it: in whole seconds, at most MaxHolding.
func Seconds(d time.Duration) uint16 {
	return uint16(min(max(d, 0), MaxHolding) / time.Second)
}

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Jittered returns d, shortened by a random part of at most percent % of d.
func (r *Router) Jittered(d time.Duration, percent int64) time.Duration {
	return d - time.Duration(r.Rand.Int64N(int64(d)*percent/100+1))
}

// OnClock returns what the wall clock will show at t, going by the present wall clock. It differs
// from t's own wall clock reading if the clock was set after t was computed.
func (r *Router) OnClock(t time.Time) time.Time {
	return r.Now.Round(0).Add(t.Sub(r.Now))
}

// Remaining returns the time from now until a saved time. It is at most MaxHolding, since the saved
// time may come from a clock that was wrong.
func (r *Router) Remaining(until time.Time) time.Duration {
	return min(until.Sub(r.Now), MaxHolding)
}
