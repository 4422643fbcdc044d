package resolution

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Relay leads traffic to a router by way of an NHS while the direct way cannot be had. It is needed
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
type Relay struct {
	rl       *Relays
	protocol netip.Addr
	neighbor neighbors.Claim
	needed   bool // the relay was in use at least once
	step     timers.Timer
}

const (
	// RelayAfter is how long the kernel holds packets for the direct way. It would hold them for
	// five seconds.
	RelayAfter = 2 * time.Second
	// RelayTime is how long a relay is in use. If there is traffic after it, the engine looks for
	// the direct way again.
	RelayTime = time.Minute
	// RelayMemory is how long the engine remembers that the direct way could not be had.
	RelayMemory = 10 * time.Minute
)

// RelaysPerShortcut times the limit for shortcuts bounds the relays. Each question may have one
// relay, and as many again may lead to routers that there was no room to ask for.
const RelaysPerShortcut = 2

// Relays send the traffic to routers that nobody here knows by an NHS.
type Relays struct {
	Needs

	Requester *Requester

	ByProtocol map[netip.Addr]*Relay // by overlay address
}

// newRelays returns no relays.
func newRelays(n Needs) Relays {
	return Relays{
		Needs:      n,
		ByProtocol: make(map[netip.Addr]*Relay),
	}
}

// Missed handles the event that the kernel holds packets for an overlay address without a
// neighbour. The engine asks for the address as for any other destination. The event need not be
// remembered, since the kernel repeats it.
func (rl *Relays) Missed(protocol netip.Addr) {
	switch {
	case rl.Left || !rl.Local.IsValid():
		rl.Drop(overlay.DropInactive)
		return
	case !rl.Config.Shortcut:
		rl.Drop(overlay.DropShortcutOff)
		return
	case !rl.ClientAddress(protocol):
		rl.Drop(overlay.DropNotTunnel)
		return
	case rl.Neighbors.ByProtocol[protocol] != nil || rl.Client.IsNHSProtocol(protocol):
		rl.Drop(overlay.DropKnown)
		return
	}
	r := rl.ByProtocol[protocol]
	if r != nil && r.needed {
		rl.useRelay(r)
	}
	way, fault := rl.Neighbors.PathTo(protocol)
	if (fault == neighbors.PathNoRoute || fault == neighbors.PathElsewhere) &&
		!rl.OverlayRange().IsValid() {
		// The overlay's range is not known, and no route leads to the address. So it is the next
		// hop of a route with the flag onlink.
		way, fault = rl.Neighbors.PathBy(
			event.Route{Prefix: overlay.HostPrefix(protocol), Device: rl.Config.Name},
			protocol,
		)
		way.Missed = true
	}
	switch {
	case fault != neighbors.PathOK && fault != neighbors.PathNoBinding:
		rl.Drop(overlay.DropNotTunnel)
	case !rl.Requester.mayAsk(protocol):
		rl.Drop(overlay.DropKnown)
		if r == nil {
			rl.relayUnasked(protocol)
		}
	case !rl.Limiters.Misses.Allow(rl.Now, struct{}{}):
		rl.Drop(overlay.DropMissLimit)
	case len(rl.Requester.Shortcuts) >= rl.Config.Limits.Shortcuts:
		// There is no room to ask for the direct way, so the NHS forwards the traffic.
		rl.Drop(overlay.DropTableFull)
		if r == nil {
			r = rl.newRelay(protocol)
		}
		if r != nil {
			rl.useRelay(r)
		}
	default:
		if r == nil {
			rl.newRelay(protocol)
		}
		rl.Requester.resolve(packet.Inner{Source: rl.Address(), Dest: protocol}, way)
	}
}

// relayUnasked makes a relay to a router that the engine does not ask for now. There are two cases.
// Either a question for the router is out, because of something else than a miss or at a time when
// there was no room for a relay: then the relay waits for the answer. Or the router had no usable
// answer a moment ago: then the relay is used at once, unless the NHS said that nobody has the
// address.
func (rl *Relays) relayUnasked(protocol netip.Addr) {
	asking := rl.Requester.covering(protocol) != nil
	if !asking && rl.Requester.Unresolved[protocol].nobody {
		return
	}
	if r := rl.newRelay(protocol); r != nil && !asking {
		rl.useRelay(r)
	}
}

// newRelay makes a relay that waits for the direct way. It returns nil if there are too many
// relays.
func (rl *Relays) newRelay(protocol netip.Addr) *Relay {
	if len(rl.ByProtocol) >= RelaysPerShortcut*rl.Config.Limits.Shortcuts {
		if !rl.Limiters.Misses.Allow(rl.Now, struct{}{}) {
			rl.Drop(
				overlay.DropMissLimit,
			) // forgetRelay walks through all relays, so its calls are limited
			return nil
		}
		if !rl.forgetRelay() {
			return nil
		}
	}
	r := &Relay{rl: rl, protocol: protocol}
	r.step.Run = func() { rl.relayDue(r) }
	rl.ByProtocol[protocol] = r
	rl.Timers.Set(&r.step, rl.Now.Add(RelayAfter))
	return r
}

// forgetRelay makes room for a new relay: it drops the remembered relay that would be dropped first
// anyway. It returns false if no relay is only remembered.
func (rl *Relays) forgetRelay() bool {
	var first *Relay
	for _, r := range rl.ByProtocol {
		if r.needed && !r.neighbor.Protocol.IsValid() &&
			(first == nil || r.step.Before(&first.step)) {
			first = r
		}
	}
	if first == nil {
		return false
	}
	rl.DropRelay(first)
	return true
}

// relayDue takes the next step of a relay when its timer ends: from waiting to in use, from in use
// to remembered, or out of memory.
func (rl *Relays) relayDue(r *Relay) {
	switch {
	case r.neighbor.Protocol.IsValid():
		rl.Neighbors.Withdraw(&r.neighbor)
		rl.Timers.Set(&r.step, rl.Now.Add(RelayMemory))
	case !r.needed && rl.Neighbors.ByProtocol[r.protocol] == nil:
		rl.useRelay(r)
	default:
		rl.DropRelay(r)
	}
}

// useRelay leads the traffic by the first NHS that has registered this router. If there is none,
// there is no way at all, and the relay ends.
func (rl *Relays) useRelay(r *Relay) {
	for _, n := range rl.Client.NHS {
		if !n.Usable() {
			continue
		}
		if r.neighbor.NBMA != n.NBMA {
			rl.Notice(output.Notice{
				Kind:    output.NoticeRelayed,
				Prefix:  overlay.HostPrefix(r.protocol),
				NextHop: n.Protocol,
				NBMA:    n.NBMA,
				Reason:  "the router cannot be reached directly for now",
			})
		}
		r.needed = true
		rl.Neighbors.Want(&r.neighbor, neighbors.RankRelay, r.protocol, n.NBMA)
		rl.Timers.Set(&r.step, rl.Now.Add(RelayTime))
		return
	}
	rl.DropRelay(r)
}

// DropRelay ends and forgets a relay.
func (rl *Relays) DropRelay(r *Relay) {
	rl.Timers.Stop(&r.step)
	rl.Neighbors.Withdraw(&r.neighbor)
	if rl.ByProtocol[r.protocol] == r {
		delete(rl.ByProtocol, r.protocol)
	}
}

// relayUnresolved uses the relay to a destination that could not be resolved, if there is one: the
// kernel holds packets for it.
func (rl *Relays) relayUnresolved(dest netip.Addr) {
	if r := rl.ByProtocol[dest]; r != nil && rl.Neighbors.ByProtocol[dest] == nil {
		rl.useRelay(r)
	}
}

// MoveRelaysFrom leads the traffic of the relays by a lost NHS by the next NHS. The caller has made
// sure that the lost NHS is no longer usable.
func (rl *Relays) MoveRelaysFrom(nbma netip.Addr) {
	for _, r := range ordered.ValuesIf(rl.ByProtocol, ordered.ByAddr, func(r *Relay) bool {
		return r.neighbor.Protocol.IsValid() && r.neighbor.NBMA == nbma
	}) {
		rl.useRelay(r)
	}
}

// DropRelaysBy ends the relays by way of an NBMA address; the zero address stands for all relays.
func (rl *Relays) DropRelaysBy(nbma netip.Addr) {
	for _, r := range ordered.ValuesIf(rl.ByProtocol, ordered.ByAddr, func(r *Relay) bool {
		return !nbma.IsValid() || r.neighbor.NBMA == nbma
	}) {
		rl.DropRelay(r)
	}
}
