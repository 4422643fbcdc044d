// Package engine owns the protocol and all decisions of a DMVPN router: client and server of NHRP
// (RFC 2332), shortcuts and the traffic indications that lead to them, which are Cisco's, and what
// security each peer needs.
//
// The engine does no I/O, reads no clock, starts no goroutine, takes no lock and writes no log. The
// caller hands in events with the current time, and gets back in an Output what follows from them.
// The same state, random source and events give the same output.
package engine

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Engine is one router. Its methods must not run concurrently.
//
// Each call that takes the current time should take it from the same clock with a monotonic
// reading. A time that is before the latest one that the engine has seen counts as that latest one.
type Engine struct {
	rng       *rand.Rand
	requestID uint32
	now       time.Time
	out       *Output // where the call under way appends
	ifaces    map[string]*iface
	tables    map[uint32]*rib.Table
	blocks    authorization.Blocks
	timers    timers.Queue
	stats     counters
	moved     []movedRoute // our own routes that came or went during the call under way
	revoking  []*iface     // interfaces where bindings were revoked during the call under way

	in   packet.Packet // the packet being handled
	cies []packet.CIE  // memory for the lists of CIEs in the packet being handled
}

// New returns an engine without interfaces. All jitter comes from rng. The IDs of registrations and
// purges grow from firstRequestID, which should be above all those used before a restart (RFC 2332
// §5.2.3): the current time in seconds is suitable.
func New(rng *rand.Rand, firstRequestID uint32) *Engine {
	return &Engine{
		rng:       rng,
		requestID: firstRequestID,
		ifaces:    make(map[string]*iface),
		tables:    make(map[uint32]*rib.Table),
		blocks:    make(authorization.Blocks),
	}
}

// Handle takes one event and appends what follows from it to out. It ignores events about an
// interface that is not configured.
func (e *Engine) Handle(now time.Time, ev Event, out *Output) {
	e.enter(now, out)
	switch ev := ev.(type) {
	case PacketReceived:
		e.receiveFrom(ev.Interface, ev.From, ev.Data)
	case RoutesChanged:
		e.routesChanged(ev)
	case LocalAddress:
		e.withInterface(ev.Interface, func(ifc *iface) { e.localAddress(ifc, ev.NBMA) })
	case NHSResolved:
		e.withInterface(ev.Interface, func(ifc *iface) { e.nhsResolved(ifc, ev.Name, ev.NBMA) })
	case PeerSecured:
		e.withInterface(ev.Interface, func(ifc *iface) { e.peerSecured(ifc, ev.Peer) })
	case PeerRenewed:
		e.withInterface(ev.Interface, func(ifc *iface) { e.peerRenewed(ifc, ev.NBMA) })
	case PeerMoved:
		e.withInterface(ev.Interface, func(ifc *iface) { e.peerMoved(ifc, ev.From, ev.Peer) })
	case PeerLost:
		e.withInterface(ev.Interface,
			func(ifc *iface) { e.peerLost(ifc, ev.NBMA, ev.Reason, ev.Closed) })
	case PeerFailed:
		e.withInterface(ev.Interface, func(ifc *iface) { e.peerFailed(ifc, ev.NBMA, ev.Reason) })
	case PeersSecured:
		e.withInterface(ev.Interface, func(ifc *iface) { e.peersSecured(ifc, ev.Peers) })
	case Redirected:
		e.withInterface(ev.Interface, func(ifc *iface) { e.redirected(ifc, ev.From, ev.Packet) })
	case Missed:
		e.withInterface(ev.Interface, func(ifc *iface) { e.missed(ifc, ev.Protocol) })
	case Used:
		e.withInterface(ev.Interface, func(ifc *iface) { e.used(ifc, ev.Peers) })
	case Block:
		e.block(ev)
	case Unblock:
		e.unblock(ev.Identity, "the administrator took it back")
	case Leave:
		e.withInterface(ev.Interface, e.leave)
	}
	e.finish()
}

// Receive does what Handle does with a PacketReceived, without allocating an Event. It does not
// keep data when it returns.
func (e *Engine) Receive(now time.Time, ifname string, from netip.Addr, data []byte, out *Output) {
	e.enter(now, out)
	e.receiveFrom(ifname, from, data)
	e.finish()
}

// Secured reports whether packets may go to and come from an NBMA address of an interface: the peer
// there has an SA, or the interface requires none.
func (e *Engine) Secured(ifname string, nbma netip.Addr) bool {
	ifc := e.ifaces[ifname]
	return ifc != nil && ifc.secured(nbma)
}

// Deadline returns the time by which the caller has to call Advance, and false if nothing is due
// before another event. Advance may then find nothing to do: a timer that was postponed still wakes
// the engine at its earlier time.
func (e *Engine) Deadline() (time.Time, bool) { return e.timers.Next() }

// Advance does everything that is due at now.
func (e *Engine) Advance(now time.Time, out *Output) {
	e.enter(now, out)
	e.timers.Advance(e.now)
	e.finish()
}

// enter begins a call: it sets the current time and where the call appends its output.
func (e *Engine) enter(now time.Time, out *Output) {
	if now.After(e.now) {
		e.now = now
	}
	e.out = out
}

// withInterface calls f with an interface, if one of that name is configured.
func (e *Engine) withInterface(name string, f func(*iface)) {
	if ifc := e.ifaces[name]; ifc != nil {
		f(ifc)
	}
}

// newRequestID returns the ID of a registration or purge. IDs count up (RFC 2332 §5.2.0.1).
func (e *Engine) newRequestID() uint32 {
	e.requestID++
	return e.requestID
}

// newSecretID returns the random ID of a Resolution Request. A reply may come from any router that
// has an SA, so a router that was not asked must not be able to guess the ID. That outweighs the
// advice to count IDs up, by which a request is easier to follow (RFC 2332 §5.2.0.1).
func (e *Engine) newSecretID(ifc *iface) uint32 {
	for {
		if id := e.rng.Uint32(); id != 0 && ifc.requests[id] == nil {
			return id
		}
	}
}

// jittered returns d, shortened by a random part of at most percent % of d.
func (e *Engine) jittered(d time.Duration, percent int64) time.Duration {
	return d - time.Duration(e.rng.Int64N(int64(d)*percent/100+1))
}

// notice appends a notice about an interface. It shows a peer by its outer address, and keeps the
// notice out of the log if the peer has caused too many lately.
func (e *Engine) notice(ifc *iface, n Notice) {
	n.Quiet = e.quieten(ifc, &n)
	n.Interface, n.NBMA = ifc.cfg.Name, ifc.real(n.NBMA)
	e.out.Notices = append(e.out.Notices, n)
}

// finish ends a call: it does what had to wait until the event was handled. It tells clients about
// revoked bindings, and reviews the shortcuts and answers that depend on our own routes that
// changed.
func (e *Engine) finish() {
	for len(e.revoking) > 0 {
		revoking := e.revoking
		e.revoking = nil
		for _, ifc := range revoking {
			e.tellRevoked(ifc)
		}
	}
	for len(e.moved) > 0 {
		moved := e.moved
		e.moved = nil
		for _, ifc := range e.interfaces() {
			if ifc.left {
				continue
			}
			touched := func(p netip.Prefix) bool {
				return len(moved) > fewMoved || slices.ContainsFunc(moved, func(m movedRoute) bool {
					return m.table == ifc.cfg.Table && m.prefix.Overlaps(p)
				})
			}
			e.reroute(ifc, touched)
		}
	}
}
