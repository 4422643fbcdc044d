package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// relay leads to a router by way of an NHS while it cannot be had directly: routes lead to its
// overlay address (phase 2), and without a neighbour for that, their traffic would go nowhere.
// Every other wish for a neighbour of the address comes before it.
//
// It begins to wait when the kernel misses the neighbour, leads through the NHS when that takes too
// long or fails, and is then remembered for a while, so that the next packets need not wait.
type relay struct {
	ifc      *iface
	protocol netip.Addr
	neighbor neighborClaim
	needed   bool // was in use once
	step     timers.Timer
}

const (
	relayAfter  = 2 * time.Second  // how long the kernel holds packets for the direct way: it would for five seconds
	relayTime   = time.Minute      // then the direct way is looked for again, if there is traffic
	relayMemory = 10 * time.Minute // how long it is known that the router could not be had
)

// relaysPerShortcut bounds relays by the limit for shortcuts: each question may have one, and as
// many again lead to what there was no room to ask for.
const relaysPerShortcut = 2

// missLimit is how many neighbours may be asked for in a second: somebody behind us may try all
// addresses of the overlay.
const missLimit = 20

// missed takes note that the kernel holds packets for an overlay address without a neighbour, and
// asks for it as for any other destination. Once is enough: the kernel repeats it.
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
		// A route has the address as its next hop on this link (onlink), and nothing else leads
		// there.
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
		// There is no room to look for the direct way. The NHS knows one.
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

// isNHSProtocol reports whether an overlay address is that of an NHS: it is found by registering.
func (ifc *iface) isNHSProtocol(protocol netip.Addr) bool {
	for _, n := range ifc.nhs {
		if n.protocol == protocol {
			return true
		}
	}
	return false
}

// relayUnasked leads to a router that is not to be asked for now: it is being asked for, for
// another reason than a miss or without room for a relay; or there was no usable answer a moment
// ago, and then the direct way is not worth waiting for.
func (e *Engine) relayUnasked(ifc *iface, protocol netip.Addr) {
	asking := ifc.covering(protocol) != nil
	if !asking && ifc.unresolved[protocol].nobody {
		return
	}
	if r := e.newRelay(ifc, protocol); r != nil && !asking {
		e.useRelay(r)
	}
}

// newRelay begins to wait for the direct way; nil: there are too many relays.
func (e *Engine) newRelay(ifc *iface, protocol netip.Addr) *relay {
	if len(ifc.relays) >= relaysPerShortcut*ifc.cfg.Limits.Shortcuts {
		if !ifc.limits.misses.Allow(e.now, struct{}{}) {
			e.drop(dropMissLimit) // to look for room goes through all relays
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

// forgetRelay makes room by the relay that is only remembered, and would be for the shortest time;
// false: all are in use.
func (e *Engine) forgetRelay(ifc *iface) bool {
	var first *relay
	for _, r := range ifc.relays {
		if r.needed && !r.neighbor.protocol.IsValid() && (first == nil || r.step.Before(&first.step)) {
			first = r
		}
	}
	if first == nil {
		return false
	}
	e.dropRelay(first)
	return true
}

// relayDue takes the next step: from waiting to use, from use to memory, and out of that.
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

// useRelay leads the traffic through the first NHS that has us registered; without one there is no
// way at all.
func (e *Engine) useRelay(r *relay) {
	for _, n := range r.ifc.nhs {
		if !n.usable() {
			continue
		}
		if r.neighbor.nbma != n.nbma {
			e.notice(r.ifc, Notice{Kind: NoticeRelayed, Prefix: hostPrefix(r.protocol), NextHop: n.protocol, NBMA: n.nbma,
				Reason: "the router cannot be reached directly for now"})
		}
		r.needed = true
		e.wantNeighbor(&r.neighbor, r.ifc, rankRelay, r.protocol, n.nbma)
		e.timers.Set(&r.step, e.now.Add(relayTime))
		return
	}
	e.dropRelay(r)
}

func (e *Engine) dropRelay(r *relay) {
	e.timers.Stop(&r.step)
	e.dropNeighbor(&r.neighbor)
	if r.ifc.relays[r.protocol] == r {
		delete(r.ifc.relays, r.protocol)
	}
}

// relayUnresolved leads to a destination that could not be resolved, if the kernel waits for it.
func (e *Engine) relayUnresolved(ifc *iface, dest netip.Addr) {
	if r := ifc.relays[dest]; r != nil && ifc.neighbors[dest] == nil {
		e.useRelay(r)
	}
}

// moveRelaysFrom leads what goes through an NHS that is lost through the next one; it must not be
// usable any more.
func (e *Engine) moveRelaysFrom(ifc *iface, nbma netip.Addr) {
	for _, r := range inOrderIf(ifc.relays, byAddr, func(r *relay) bool { return r.neighbor.protocol.IsValid() && r.neighbor.nbma == nbma }) {
		e.useRelay(r)
	}
}

// dropRelaysBy ends the relays by way of an NBMA address; with the zero address all of them.
func (e *Engine) dropRelaysBy(ifc *iface, nbma netip.Addr) {
	for _, r := range inOrderIf(ifc.relays, byAddr, func(r *relay) bool { return !nbma.IsValid() || r.neighbor.nbma == nbma }) {
		e.dropRelay(r)
	}
}
