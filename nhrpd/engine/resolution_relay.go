package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// relay leads traffic to a router by way of an NHS while the direct way cannot be had. It is needed
// in phase 2: there, routes lead to the router's overlay address, and traffic goes nowhere without
// a neighbour for that address. Every other source of a neighbour for the address comes before the
// relay.
//
// A relay goes through three states:
//
//	waiting ──too long, or the direct way failed──> in use ──relayTime──> remembered
//	   │                                              ^                      │
//	   └─ the router has a neighbour: dropped         └────packets missed────┤
//	                                                  relayMemory: dropped ──┘
//
// It waits from when the kernel misses the neighbour. It is remembered so that later packets are
// led by the NHS at once.
type relay struct {
	ifc      *iface
	protocol netip.Addr
	neighbor neighborClaim
	needed   bool // the relay was in use at least once
	step     timers.Timer
}

const (
	// relayAfter is how long the kernel holds packets for the direct way. It would hold them for
	// five seconds.
	relayAfter = 2 * time.Second
	// relayTime is how long a relay is in use. If there is traffic after it, the engine looks for
	// the direct way again.
	relayTime = time.Minute
	// relayMemory is how long the engine remembers that the direct way could not be had.
	relayMemory = 10 * time.Minute
)

// relaysPerShortcut times the limit for shortcuts bounds the relays. Each question may have one
// relay, and as many again may lead to routers that there was no room to ask for.
const relaysPerShortcut = 2

// missLimit is how many missed neighbours the engine asks for in a second. It is needed because a
// host behind this router may try all addresses of the overlay.
const missLimit = 20

// missed handles the event that the kernel holds packets for an overlay address without a
// neighbour. The engine asks for the address as for any other destination. The event need not be
// remembered, since the kernel repeats it.
func (e *Engine) missed(ifc *iface, protocol netip.Addr) {
	switch {
	case ifc.left || !ifc.local.IsValid():
		e.drop(dropInactive)
		return
	case !ifc.cfg.Shortcut:
		e.drop(dropShortcutOff)
		return
	case !ifc.clientAddress(protocol):
		e.drop(dropNotTunnel)
		return
	case ifc.neighbors[protocol] != nil || ifc.isNHSProtocol(protocol):
		e.drop(dropKnown)
		return
	}
	r := ifc.relays[protocol]
	if r != nil && r.needed {
		e.useRelay(r)
	}
	way, fault := e.pathTo(ifc, protocol)
	if (fault == pathNoRoute || fault == pathElsewhere) && !ifc.overlayRange().IsValid() {
		// The overlay's range is not known, and no route leads to the address. So it is the next
		// hop of a route with the flag onlink.
		way, fault = ifc.pathBy(Route{Prefix: hostPrefix(protocol), Device: ifc.cfg.Name}, protocol)
		way.missed = true
	}
	switch {
	case fault != pathOK && fault != pathNoBinding:
		e.drop(dropNotTunnel)
	case !e.mayAsk(ifc, protocol):
		e.drop(dropKnown)
		if r == nil {
			e.relayUnasked(ifc, protocol)
		}
	case !ifc.limits.misses.Allow(e.now, struct{}{}):
		e.drop(dropMissLimit)
	case len(ifc.shortcuts) >= ifc.cfg.Limits.Shortcuts:
		// There is no room to ask for the direct way, so the NHS forwards the traffic.
		e.drop(dropTableFull)
		if r == nil {
			r = e.newRelay(ifc, protocol)
		}
		if r != nil {
			e.useRelay(r)
		}
	default:
		if r == nil {
			e.newRelay(ifc, protocol)
		}
		e.resolve(ifc, packet.Inner{Source: ifc.overlay(), Dest: protocol}, way)
	}
}

// isNHSProtocol reports whether an overlay address is that of an NHS. This router finds NHSs by
// registering with them, and never asks for them.
func (ifc *iface) isNHSProtocol(protocol netip.Addr) bool {
	for _, n := range ifc.nhs {
		if n.protocol == protocol {
			return true
		}
	}
	return false
}

// relayUnasked makes a relay to a router that the engine does not ask for now. There are two cases.
// Either a question for the router is out, because of something else than a miss or at a time when
// there was no room for a relay: then the relay waits for the answer. Or the router had no usable
// answer a moment ago: then the relay is used at once, unless the NHS said that nobody has the
// address.
func (e *Engine) relayUnasked(ifc *iface, protocol netip.Addr) {
	asking := ifc.covering(protocol) != nil
	if !asking && ifc.unresolved[protocol].nobody {
		return
	}
	if r := e.newRelay(ifc, protocol); r != nil && !asking {
		e.useRelay(r)
	}
}

// newRelay makes a relay that waits for the direct way. It returns nil if there are too many
// relays.
func (e *Engine) newRelay(ifc *iface, protocol netip.Addr) *relay {
	if len(ifc.relays) >= relaysPerShortcut*ifc.cfg.Limits.Shortcuts {
		if !ifc.limits.misses.Allow(e.now, struct{}{}) {
			e.drop(dropMissLimit) // forgetRelay walks through all relays, so its calls are limited
			return nil
		}
		if !e.forgetRelay(ifc) {
			return nil
		}
	}
	r := &relay{ifc: ifc, protocol: protocol}
	r.step.Run = func() { e.relayDue(r) }
	ifc.relays[protocol] = r
	e.timers.Set(&r.step, e.now.Add(relayAfter))
	return r
}

// forgetRelay makes room for a new relay: it drops the remembered relay that would be dropped first
// anyway. It returns false if no relay is only remembered.
func (e *Engine) forgetRelay(ifc *iface) bool {
	var first *relay
	for _, r := range ifc.relays {
		if r.needed && !r.neighbor.protocol.IsValid() &&
			(first == nil || r.step.Before(&first.step)) {
			first = r
		}
	}
	if first == nil {
		return false
	}
	e.dropRelay(first)
	return true
}

// relayDue takes the next step of a relay when its timer ends: from waiting to in use, from in use
// to remembered, or out of memory.
func (e *Engine) relayDue(r *relay) {
	switch {
	case r.neighbor.protocol.IsValid():
		e.dropNeighbor(&r.neighbor)
		e.timers.Set(&r.step, e.now.Add(relayMemory))
	case !r.needed && r.ifc.neighbors[r.protocol] == nil:
		e.useRelay(r)
	default:
		e.dropRelay(r)
	}
}

// useRelay leads the traffic by the first NHS that has registered this router. If there is none,
// there is no way at all, and the relay ends.
func (e *Engine) useRelay(r *relay) {
	for _, n := range r.ifc.nhs {
		if !n.usable() {
			continue
		}
		if r.neighbor.nbma != n.nbma {
			e.notice(r.ifc, Notice{
				Kind:    NoticeRelayed,
				Prefix:  hostPrefix(r.protocol),
				NextHop: n.protocol,
				NBMA:    n.nbma,
				Reason:  "the router cannot be reached directly for now",
			})
		}
		r.needed = true
		e.wantNeighbor(&r.neighbor, r.ifc, rankRelay, r.protocol, n.nbma)
		e.timers.Set(&r.step, e.now.Add(relayTime))
		return
	}
	e.dropRelay(r)
}

// dropRelay ends and forgets a relay.
func (e *Engine) dropRelay(r *relay) {
	e.timers.Stop(&r.step)
	e.dropNeighbor(&r.neighbor)
	if r.ifc.relays[r.protocol] == r {
		delete(r.ifc.relays, r.protocol)
	}
}

// relayUnresolved uses the relay to a destination that could not be resolved, if there is one: the
// kernel holds packets for it.
func (e *Engine) relayUnresolved(ifc *iface, dest netip.Addr) {
	if r := ifc.relays[dest]; r != nil && ifc.neighbors[dest] == nil {
		e.useRelay(r)
	}
}

// moveRelaysFrom leads the traffic of the relays by a lost NHS by the next NHS. The caller has made
// sure that the lost NHS is no longer usable.
func (e *Engine) moveRelaysFrom(ifc *iface, nbma netip.Addr) {
	for _, r := range inOrderIf(ifc.relays, byAddr, func(r *relay) bool {
		return r.neighbor.protocol.IsValid() && r.neighbor.nbma == nbma
	}) {
		e.useRelay(r)
	}
}

// dropRelaysBy ends the relays by way of an NBMA address; the zero address stands for all relays.
func (e *Engine) dropRelaysBy(ifc *iface, nbma netip.Addr) {
	for _, r := range inOrderIf(ifc.relays, byAddr, func(r *relay) bool {
		return !nbma.IsValid() || r.neighbor.nbma == nbma
	}) {
		e.dropRelay(r)
	}
}
