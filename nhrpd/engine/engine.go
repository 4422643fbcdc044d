// Package engine owns the protocol and all decisions of a DMVPN router: client and server of NHRP
// (RFC 2332), shortcuts and the traffic indications that lead to them, which are Cisco's, and what
// security each peer needs.
//
// The engine does no I/O, reads no clock, starts no goroutine, takes no lock and writes no log. The
// caller hands in events with the current time, and gets back in an Output what follows from them.
// The same state, random source and events give the same output.
package engine

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
)

// Engine is one router. Its methods must not run concurrently.
//
// Each call that takes the current time should take it from the same clock with a monotonic
// reading. A time that is before the latest one that the engine has seen counts as that latest one.
type Engine struct {
	router *overlay.Router
	ifaces map[string]*iface
	groups map[string]*peers.Group // of interfaces that share their SAs, by InterfaceConfig.SAGroup
}

// New returns an engine without interfaces. All jitter comes from rng. The IDs of registrations and
// purges grow from firstRequestID, which should be above all those used before a restart (RFC 2332
// §5.2.3): the current time in seconds is suitable.
func New(rng *rand.Rand, firstRequestID uint32) *Engine {
	return &Engine{
		router: overlay.NewRouter(rng, firstRequestID),
		ifaces: make(map[string]*iface),
		groups: make(map[string]*peers.Group),
	}
}

// Handle takes one event and appends what follows from it to out. It ignores events about an
// interface that is not configured.
func (e *Engine) Handle(now time.Time, ev event.Event, out *output.Output) {
	e.router.Enter(now, out)
	switch ev := ev.(type) {
	case event.PacketReceived:
		e.receive(ev.Interface, ev.From, ev.Data)
	case event.RoutesChanged:
		e.routesChanged(ev)
	case event.LocalAddress:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.localAddress(ev.NBMA, ev.Second) })
	case event.TunnelMTU:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.tunnelMTU(ev.MTU) })
	case event.NHSResolved:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.client.NHSResolved(ev.Name, ev.NBMA) })
	case event.PeerSecured:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.peers.PeerSecured(ev.Peer) })
	case event.PeerRenewed:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.peers.PeerRenewed(ev.ID) })
	case event.PeerMoved:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.peers.PeerMoved(ev.From, ev.Peer) })
	case event.PeerLost:
		e.withInterface(ev.Interface,
			func(ifc *iface) { ifc.peers.PeerLost(ev.ID, ev.Reason, ev.Closed) })
	case event.PeerFailed:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.peers.PeerFailed(ev.ID, ev.Reason) })
	case event.PeersSecured:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.peersSecured(&ev) })
	case event.Redirected:
		e.withInterface(ev.Interface, func(ifc *iface) {
			ifc.Requester.Redirected(ev.From, ev.Packet)
		})
	case event.Missed:
		e.withInterface(ev.Interface, func(ifc *iface) {
			ifc.Relays.Missed(ifc.LinkLocals().Router(ev.Protocol))
		})
	case event.Used:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.used(ev) })
	case event.Block:
		e.block(ev)
	case event.Ruling:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.inquiries.Answered(ev) })
	case event.AuthorizerUp:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.inquiries.Connected() })
	case event.Recheck:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.inquiries.Recheck(ev.Identity) })
	case event.Unblock:
		e.unblock(ev.Identity, "the administrator took it back")
	case event.Drain:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.server.Drain(!ev.Off) })
	case event.TunnelReplaced:
		e.withInterface(ev.Interface, func(ifc *iface) { ifc.client.TunnelReplaced() })
	case event.Leave:
		e.withInterface(ev.Interface, (*iface).leave)
	}
	e.finish()
}

// Receive does what Handle does with a PacketReceived, without allocating an Event. It does not
// keep data when it returns.
func (e *Engine) Receive(
	now time.Time,
	ifname string,
	from peerid.ID,
	data []byte,
	out *output.Output,
) {
	e.router.Enter(now, out)
	e.receive(ifname, from, data)
	e.finish()
}

// receive hands a packet to its interface.
func (e *Engine) receive(ifname string, from peerid.ID, data []byte) {
	if ifc := e.ifaces[ifname]; ifc != nil {
		ifc.receivedFrom(from, data)
		return
	}
	e.router.Drop(overlay.DropNoInterface)
}

// Secured reports whether packets may go to and come from a peer of an interface: the peer has an
// SA, or the interface requires none.
func (e *Engine) Secured(ifname string, id peerid.ID) bool {
	ifc := e.ifaces[ifname]
	return ifc != nil && ifc.peers.Secured(id)
}

// Deadline returns the time by which the caller has to call Advance, and false if nothing is due
// before another event. Advance may then find nothing to do: a timer that was postponed still wakes
// the engine at its earlier time.
func (e *Engine) Deadline() (time.Time, bool) { return e.router.Timers.Next() }

// Advance does everything that is due at now.
func (e *Engine) Advance(now time.Time, out *output.Output) {
	e.router.Enter(now, out)
	e.router.Timers.Advance(e.router.Now)
	e.finish()
}

// withInterface calls f with an interface, if one of that name is configured.
func (e *Engine) withInterface(name string, f func(*iface)) {
	if ifc := e.ifaces[name]; ifc != nil {
		f(ifc)
	}
}

// finish ends a call: it does what had to wait until the event was handled. It tells clients about
// revoked bindings, and reviews the shortcuts and answers that depend on our own routes that
// changed.
func (e *Engine) finish() {
	e.router.RunAtEnd()
	for moved := e.router.TakeMoved(); len(moved) > 0; moved = e.router.TakeMoved() {
		for _, ifc := range e.interfaces() {
			if ifc.Left {
				continue
			}
			touched := func(p netip.Prefix) bool {
				return len(moved) > fewMoved ||
					slices.ContainsFunc(moved, func(m overlay.MovedRoute) bool {
						return m.Table == ifc.Config.Table && m.Prefix.Overlaps(p)
					})
			}
			ifc.reroute(touched)
		}
	}
}

// interfaces returns all configured interfaces, ordered by name.
func (e *Engine) interfaces() []*iface { return ordered.Values(e.ifaces, cmp.Compare[string]) }
