package overlay

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Router is what the interfaces of a router share.
type Router struct {
	// Rand is the only source of randomness.
	Rand *rand.Rand

	// Now is the time of the call under way. It never goes back.
	Now time.Time

	// Out is where the call under way appends what follows from it.
	Out *output.Output

	// Blocks has the identities that the administrator shut out.
	Blocks authorization.Blocks

	// Timers has the timers of all parts of all interfaces.
	Timers timers.Queue

	requestID uint32 // of the last registration or purge
	counters  counters
	mirrors   map[uint32]*rib.Table // of the kernel's routing tables, by number
	atEnd     []func()              // what has to wait until the event is handled
	moved     []MovedRoute          // our own routes that came or went during the call under way
	received  packet.Packet         // the packet being handled
	cies      []packet.CIE          // memory for the lists of CIEs in the packet being handled

	// What the call under way made of the packet that it handles, for those who watch.
	drops []DropReason // at most mostDrops
	held  bool
}

// mostDrops is how many drops of one call are remembered.
const mostDrops = 4

// NewRouter returns a router without routes, blocks or timers. Its request IDs grow from
// firstRequestID.
func NewRouter(rng *rand.Rand, firstRequestID uint32) *Router {
	return &Router{
		Rand:      rng,
		requestID: firstRequestID,
		mirrors:   make(map[uint32]*rib.Table),
		Blocks:    make(authorization.Blocks),
		drops:     make([]DropReason, 0, mostDrops),
	}
}

// Enter begins a call: it sets the current time and where the call appends its output. A time
// before the latest one counts as the latest one.
func (r *Router) Enter(now time.Time, out *output.Output) {
	if now.After(r.Now) {
		r.Now = now
	}
	r.Out = out
	r.drops, r.held = r.drops[:0], false
}

// NoteHeld notes that the packet being handled waits for its sender's SA.
func (r *Router) NoteHeld() { r.held = true }

// Made returns in words what the last call made of the packet that it handled.
func (r *Router) Made() string {
	switch {
	case len(r.drops) > 0:
		texts := make([]string, len(r.drops))
		for i, why := range r.drops {
			texts[i] = why.String()
		}
		return "dropped: " + strings.Join(texts, "; ")
	case r.held:
		return "held until its sender has an SA"
	}
	return "accepted"
}

// AtEnd has f called at the end of the call into the engine, when the event has been handled.
func (r *Router) AtEnd(f func()) { r.atEnd = append(r.atEnd, f) }

// StateChanged has the caller save the state soon. Whatever changes what Save returns calls it,
// except where only a time changed or an NHS was lost.
func (r *Router) StateChanged() { r.Out.StateChanged = true }

// RunAtEnd calls the functions that AtEnd collected, and those that they pass to AtEnd in turn.
func (r *Router) RunAtEnd() {
	for len(r.atEnd) > 0 {
		due := r.atEnd
		r.atEnd = nil
		for _, f := range due {
			f()
		}
	}
}

// MovedRoute is a route that came or went during a call into the engine. It is one of the daemon's
// own routes that look-ups see.
type MovedRoute struct {
	Table  uint32 // the number of the routing table
	Prefix netip.Prefix
}

// RouteMoved has everything that depends on a route reviewed at the end of the call into the
// engine. It cannot be reviewed at once, since the call may be handling a packet.
func (r *Router) RouteMoved(table uint32, prefix netip.Prefix) {
	r.moved = append(r.moved, MovedRoute{table, prefix})
}

// TakeMoved returns the routes that RouteMoved collected since TakeMoved was last called.
func (r *Router) TakeMoved() []MovedRoute {
	moved := r.moved
	r.moved = nil
	return moved
}

// Mirror returns the mirror of the routing table with that number; it makes the mirror if there is
// none.
func (r *Router) Mirror(table uint32) *rib.Table {
	t := r.mirrors[table]
	if t == nil {
		t = &rib.Table{}
		r.mirrors[table] = t
	}
	return t
}

// NewRequestID returns the ID of a registration or purge. IDs count up (RFC 2332 §5.2.0.1).
func (r *Router) NewRequestID() uint32 {
	r.requestID++
	return r.requestID
}
