// Package engine holds the protocol and all decisions of a DMVPN node: client and server of NHRP
// (RFC 2332), shortcuts, and the security of each peer. It does no I/O, reads no clock, starts
// nothing and locks nothing: events go in with the time of now, what follows from them comes out.
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

// Engine is one node. Its methods must not run at the same time.
//
// All of them take the time of now, which should come from one clock with a monotonic reading. A
// time before one seen earlier counts as that one.
type Engine struct {
	rng       *rand.Rand
	requestID uint32
	now       time.Time
	out       *Output // of the call under way
	ifaces    map[string]*iface
	tables    map[uint32]*rib.Table
	blocks    authorization.Blocks
	timers    timers.Queue
	stats     counters
	moved     []movedRoute // during the call under way
	revoking  []*iface     // where addresses were taken away during the call under way

	in   packet.Packet // the packet being handled
	cies []packet.CIE  // lists made for it
}

// New makes an engine without interfaces. All jitter comes from rng. Request ids grow from
// firstRequestID, which should be above those used before a restart (RFC 2332 §5.2.3): the time in
// seconds will do.
func New(rng *rand.Rand, firstRequestID uint32) *Engine {
	return &Engine{
		rng:       rng,
		requestID: firstRequestID,
		ifaces:    make(map[string]*iface),
		tables:    make(map[uint32]*rib.Table),
		blocks:    make(authorization.Blocks),
	}
}

// Handle takes one event and appends what follows from it to out. Events about an interface that is
// not configured are ignored.
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
		e.withInterface(ev.Interface, func(ifc *iface) { e.peerLost(ifc, ev.NBMA, ev.Reason, ev.Closed) })
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

// Receive is Handle for PacketReceived, without the cost of an Event. Data is only read while it
// runs.
func (e *Engine) Receive(now time.Time, ifname string, from netip.Addr, data []byte, out *Output) {
	e.enter(now, out)
	e.receiveFrom(ifname, from, data)
	e.finish()
}

// Secured reports whether there is an SA with the peer at an NBMA address of an interface.
func (e *Engine) Secured(ifname string, nbma netip.Addr) bool {
	ifc := e.ifaces[ifname]
	return ifc != nil && ifc.secured(nbma)
}

// Deadline is when Advance is to be called at the latest; false: not before another event. There
// may be nothing to do then: what was put off is looked at once more when it would have been due.
func (e *Engine) Deadline() (time.Time, bool) { return e.timers.Next() }

// Advance does what is due at now.
func (e *Engine) Advance(now time.Time, out *Output) {
	e.enter(now, out)
	e.timers.Advance(e.now)
	e.finish()
}

func (e *Engine) enter(now time.Time, out *Output) {
	if now.After(e.now) {
		e.now = now
	}
	e.out = out
}

func (e *Engine) withInterface(name string, f func(*iface)) {
	if ifc := e.ifaces[name]; ifc != nil {
		f(ifc)
	}
}

func (e *Engine) newRequestID() uint32 {
	e.requestID++
	return e.requestID
}

// newSecretID is the id of a resolution request. An answer may come from anybody with an SA, so who
// was not asked must not guess it; that counting up is easier to follow (RFC 2332 §5.2.0.1) weighs
// less.
func (e *Engine) newSecretID(ifc *iface) uint32 {
	for {
		if id := e.rng.Uint32(); id != 0 && ifc.requests[id] == nil {
			return id
		}
	}
}

// jittered is d less up to a part of it: percent of 100.
func (e *Engine) jittered(d time.Duration, percent int64) time.Duration {
	return d - time.Duration(e.rng.Int64N(int64(d)*percent/100+1))
}

func (e *Engine) notice(ifc *iface, n Notice) {
	n.Quiet = e.quieten(ifc, &n)
	n.Interface, n.NBMA = ifc.cfg.Name, ifc.real(n.NBMA)
	e.out.Notices = append(e.out.Notices, n)
}

// finish ends a call.
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
