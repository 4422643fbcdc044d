package resolution

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Relay sends the traffic for a router through an NHS while the router cannot be reached directly.
// It is needed in phase 2: there, routes lead to the router's overlay address, and traffic goes
// nowhere without a neighbour for that address. Every other source of a neighbour for the address
// comes before the relay.
//
// A relay goes through three states:
//
//	waiting ──too long, or the direct way failed──> in use ──relayTime──> remembered
//	   │                                              ^                      │
//	   └─ the router has a neighbour: dropped         └────packets missed────┤
//	                                                  relayMemory: dropped ──┘
//
// It begins to wait when the kernel misses the neighbour. The engine remembers it, so that later
// packets go through the NHS at once.
type Relay struct {
	protocol netip.Addr
	neighbor neighbors.Claim
	needed   bool // the relay was in use at least once
	step     timers.Timer
}

// The times of a relay.
const (
	// RelayAfter is how long a relay waits for the direct way. Meanwhile the kernel holds packets,
	// for at most five seconds.
	RelayAfter = 2 * time.Second

	// RelayTime is how long a relay is in use. If there is traffic after that time, the engine
	// looks for the direct way again.
	RelayTime = time.Minute

	// RelayMemory is how long the engine remembers that the direct way could not be had.
	RelayMemory = 10 * time.Minute
)

// RelaysPerShortcut times the limit for shortcuts is the limit for relays. Each question may have
// one relay, and as many again may lead to routers that there was no room to ask for.
const RelaysPerShortcut = 2

// Relays are the relays of an interface.
type Relays struct {
	Needs

	requester *Requester

	// ByProtocol has each relay by the overlay address of the router that it leads to.
	ByProtocol map[netip.Addr]*Relay
}

// newRelays returns no relays.
func newRelays(n Needs, rq *Requester) Relays {
	return Relays{
		Needs:      n,
		requester:  rq,
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
	case rl.Neighbors.Wants(protocol) || rl.Client.IsNHSProtocol(protocol):
		rl.Drop(overlay.DropKnown)
		return
	}
	r := rl.ByProtocol[protocol]
	if r != nil && r.needed {
		rl.useRelay(r)
	}
	way, fault := rl.pathToMissed(protocol)
	switch {
	case fault != neighbors.PathOK && fault != neighbors.PathNoBinding:
		rl.Drop(overlay.DropNotTunnel)
	case !rl.requester.mayAsk(protocol):
		rl.Drop(overlay.DropKnown)
		if r == nil {
			rl.relayUnasked(protocol)
		}
	case !rl.Limiters.Misses.Allow(rl.Now, struct{}{}):
		rl.Drop(overlay.DropMissLimit)
	case len(rl.requester.Shortcuts) >= rl.Config.Limits.Shortcuts:
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
		rl.requester.Questions.noteIndication(protocol, netip.Addr{}, "")
		rl.requester.resolve(packet.Inner{Source: rl.AddressFor(protocol), Dest: protocol}, way)
	}
}

// pathToMissed returns the path to an overlay address whose neighbour the kernel missed.
func (rl *Relays) pathToMissed(protocol netip.Addr) (neighbors.Path, neighbors.PathError) {
	way, fault := rl.Neighbors.PathTo(protocol)
	if fault != neighbors.PathNoRoute && fault != neighbors.PathElsewhere ||
		rl.OverlayRange(protocol).IsValid() {
		return way, fault
	}
	// The overlay's range is not known, and no route leads to the address. So it is the next hop of
	// a route with the flag onlink.
	way, fault = rl.Neighbors.PathBy(
		event.Route{Prefix: overlay.HostPrefix(protocol), Device: rl.Config.Name}, protocol)
	way.Missed = true
	return way, fault
}

// relayUnasked makes a relay to a router that the engine does not ask for now. There are two cases.
// Either a question for the router is out, which began without a miss or when there was no room for
// a relay: then the relay waits for the answer. Or the last question for the router had no usable
// answer a moment ago: then the relay is used at once, unless the NHS said that nobody has the
// address.
func (rl *Relays) relayUnasked(protocol netip.Addr) {
	asking := rl.requester.Covering(protocol) != nil
	if !asking && rl.requester.Unresolved.ByDest[protocol].nobody {
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
		// forgetRelay walks through all relays, so its calls are limited.
		if !rl.Limiters.Misses.Allow(rl.Now, struct{}{}) {
			rl.Drop(overlay.DropMissLimit)
			return nil
		}
		if !rl.forgetRelay() {
			return nil
		}
	}
	r := &Relay{protocol: protocol}
	r.step.Run = func() { rl.relayDue(r) }
	rl.ByProtocol[protocol] = r
	rl.Timers.Set(&r.step, rl.Now.Add(RelayAfter))
	return r
}

// forgetRelay makes room for a new relay: of the relays that are only remembered, it drops the one
// whose memory ends first. It returns false if there is none.
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

// relayDue moves a relay on to its next state when its timer ends: from waiting to in use, from in
// use to remembered, or from remembered to dropped.
func (rl *Relays) relayDue(r *Relay) {
	switch {
	case r.neighbor.Protocol.IsValid():
		rl.Neighbors.Withdraw(&r.neighbor)
		rl.Timers.Set(&r.step, rl.Now.Add(RelayMemory))
	case !r.needed && !rl.Neighbors.Wants(r.protocol):
		rl.useRelay(r)
	default:
		rl.DropRelay(r)
	}
}

// useRelay sends the traffic through the first NHS that has registered this router. If there is
// none, the router cannot be reached at all. A relay that was in use is remembered then, so that
// traffic goes through the next NHS as soon as that has registered this router; another one ends.
func (rl *Relays) useRelay(r *Relay) {
	for n := range rl.Client.Usable(r.protocol) {
		if r.neighbor.Peer != n.ID() {
			rl.Notice(output.Notice{
				Kind:    output.NoticeRelayed,
				Prefix:  overlay.HostPrefix(r.protocol),
				NextHop: n.Protocol,
				Peer:    n.ID(),
				Reason:  "the router cannot be reached directly for now",
			})
		}
		r.needed = true
		rl.Neighbors.Want(&r.neighbor, neighbors.RankRelay, r.protocol, n.ID())
		rl.Timers.Set(&r.step, rl.Now.Add(RelayTime))
		return
	}
	if !r.needed {
		rl.DropRelay(r)
		return
	}
	rl.Neighbors.Withdraw(&r.neighbor)
	rl.Timers.Set(&r.step, rl.Now.Add(RelayMemory))
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
	if r := rl.ByProtocol[dest]; r != nil && !rl.Neighbors.Wants(dest) {
		rl.useRelay(r)
	}
}

// MoveRelaysFrom has the relays through a lost NHS go through the next NHS. The caller has made
// sure that the lost NHS is no longer usable.
func (rl *Relays) MoveRelaysFrom(nhs peerid.ID) {
	through := func(r *Relay) bool {
		return r.neighbor.Protocol.IsValid() && r.neighbor.Peer == nhs
	}
	for _, r := range ordered.ValuesIf(rl.ByProtocol, ordered.ByAddr, through) {
		rl.useRelay(r)
	}
}

// DropRelaysBy ends the relays through an NHS; the zero ID stands for all relays.
func (rl *Relays) DropRelaysBy(nhs peerid.ID) {
	through := func(r *Relay) bool { return !nhs.IsValid() || r.neighbor.Peer == nhs }
	for _, r := range ordered.ValuesIf(rl.ByProtocol, ordered.ByAddr, through) {
		rl.DropRelay(r)
	}
}
