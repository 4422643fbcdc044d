package overlay

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Router is what the interfaces of a router share.
type Router struct {
	Rand       *rand.Rand
	requestID  uint32
	Now        time.Time
	Out        *output.Output // where the call under way appends
	Tables     map[uint32]*rib.Table
	Blocks     authorization.Blocks
	Timers     timers.Queue
	Counters   Counters
	Afterwards []func()     // what has to wait until the event is handled
	Moved      []MovedRoute // our own routes that came or went during the call under way

	In   packet.Packet // the packet being handled
	CIEs []packet.CIE  // memory for the lists of CIEs in the packet being handled
}

// NewRouter returns a router without routes, blocks or timers. Its request IDs grow from
// firstRequestID.
func NewRouter(rng *rand.Rand, firstRequestID uint32) *Router {
	return &Router{
		Rand:      rng,
		requestID: firstRequestID,
		Tables:    make(map[uint32]*rib.Table),
		Blocks:    make(authorization.Blocks),
	}
}

// Enter begins a call: it sets the current time and where the call appends its output.
func (r *Router) Enter(now time.Time, out *output.Output) {
	if now.After(r.Now) {
		r.Now = now
	}
	r.Out = out
}

// NewRequestID returns the ID of a registration or purge. IDs count up (RFC 2332 §5.2.0.1).
func (r *Router) NewRequestID() uint32 {
	r.requestID++
	return r.requestID
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

// Remaining returns the time from now until a saved time. It is at most maxHolding, since the saved
// time may come from a clock that was wrong.
func (r *Router) Remaining(until time.Time) time.Duration {
	return min(until.Sub(r.Now), MaxHolding)
}

// StateChanged has the caller save the state soon. Whatever changes what Save returns calls it,
// except where only a time changed or an NHS was lost.
func (r *Router) StateChanged() { r.Out.StateChanged = true }

// RouteMoved has everything that depends on a route reviewed at the end of the call into the
// engine. It cannot be reviewed at once, since the call may be handling a packet.
func (r *Router) RouteMoved(table uint32, prefix netip.Prefix) {
	r.Moved = append(r.Moved, MovedRoute{table, prefix})
}

// MovedRoute is a route that came or went during a call into the engine. It is one of the daemon's
// own routes that look-ups see.
type MovedRoute struct {
	Table  uint32
	Prefix netip.Prefix
}

// AtEnd has f called at the end of the call into the engine, when the event has been handled.
func (r *Router) AtEnd(f func()) { r.Afterwards = append(r.Afterwards, f) }

// MaxHolding is the longest holding time that a packet can carry.
const MaxHolding = 65535 * time.Second
