package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/ratelimit"
	"cygnet/nhrpd/packet"
)

// limits are the rate limiters of one interface. doc/threat-model.md says under "Rates" what each
// allows, and what happens to the rest.
type limits struct {
	requests    *ratelimit.Limiter[netip.Addr] // taken from a peer, indications included
	replies     *ratelimit.Limiter[netip.Addr] // taken from a peer, errors included
	transit     *ratelimit.Limiter[transitKey] // taken from NHSs, and from clients for others
	refusals    *ratelimit.Limiter[netip.Addr] // refusals of one peer that are logged
	errors      *ratelimit.Budget[holder]      // error indications sent, by who caused them
	indications *ratelimit.Budget[holder]      // traffic indications sent, by who gets them
	flows       *ratelimit.Recent[flow]        // the flows that those were about
	events      *ratelimit.Limiter[holder]     // logged notices about a peer
	misses      *ratelimit.Limiter[struct{}]   // neighbours that the kernel missed
}

// spareKeys is how many more keys a limiter has room for than clients may register.
const spareKeys = 256

// flowAgain is how long we send no further traffic indication about the same flow.
const flowAgain = time.Second

// newLimits returns the limiters for a configuration, with full buckets.
func newLimits(cfg *InterfaceConfig) limits {
	l := cfg.Limits
	keys := l.Bindings + spareKeys
	requests := ratelimit.New[netip.Addr](l.Requests, 2*l.Requests, keys)
	return limits{
		requests:    requests.Expecting(cfg.expectedClients()),
		replies:     ratelimit.New[netip.Addr](l.Requests, 2*l.Requests, keys),
		transit:     ratelimit.New[transitKey](l.Transit, 2*l.Transit, 2*l.Bindings+spareKeys),
		refusals:    ratelimit.New[netip.Addr](1, 3, keys),
		errors:      ratelimit.NewBudget[holder](l.Errors, keys),
		indications: ratelimit.NewBudget[holder](l.Indications, keys),
		flows:       ratelimit.NewRecent[flow](flowAgain),
		events:      ratelimit.New[holder](eventRate, eventBurst, keys),
		misses:      ratelimit.New[struct{}](missLimit, 2*missLimit, 0),
	}
}

// release lets others have the buckets of a peer that the engine forgets. An identity that still
// has an SA from another address keeps its bucket as long as it uses that bucket.
func (l *limits) release(p *peer) {
	for _, byPeer := range []*ratelimit.Limiter[netip.Addr]{l.requests, l.replies, l.refusals} {
		byPeer.Release(p.nbma)
	}
	l.transit.Release(transitKey{from: p.nbma})
	l.transit.Release(transitKey{from: p.nbma, reply: true})
	for _, k := range []holder{{nbma: p.nbma}, holderOf(p.ike.Identity, p.nbma)} {
		l.indications.Release(k)
		l.errors.Release(k)
		l.events.Release(k)
	}
}

// transitKey is the key of limits.transit. Replies have buckets of their own.
type transitKey struct {
	from  netip.Addr
	reply bool
}

// takes reports whether the sender of a packet keeps within its rate. It takes tokens for the
// packet if so.
//
// Replies and errors have a rate of their own, so that a router which asks a lot still gets its
// answers. Our NHSs have a larger rate, and so have clients for what they pass on for others, as
// the hub of a region does: each router behind them is held to its own rate where its packets come
// in.
func (ifc *iface) takes(now time.Time, m *message) bool {
	reply := m.Type.IsReply() || m.Type == packet.ErrorIndication
	switch {
	case ifc.speaksForMany(m):
		return ifc.limits.transit.Take(now, transitKey{m.from, reply}, m.cost(), 0)
	case reply:
		return ifc.limits.replies.Allow(now, m.from)
	}
	return ifc.limits.requests.Take(now, m.from, m.cost(), 0)
}

// cost returns as how many requests a packet counts. Each CIE of a registration or purge counts as
// one: it costs a search, and may change a route and write a line to the log.
func (m *message) cost() int {
	switch m.Type {
	case packet.RegistrationRequest, packet.PurgeRequest:
		return max(1, len(m.CIEs))
	}
	return 1
}

// speaksForMany reports whether a packet comes from one of our NHSs, or from a client that passes
// it on for another router. Other peers have no reason to pass packets on to us.
func (ifc *iface) speaksForMany(m *message) bool {
	p := ifc.peers[m.from]
	switch {
	case p == nil:
		return false
	case p.has(reasonNHS):
		return true
	}
	return p.has(reasonBinding) && !ifc.madeBySender(m)
}

// madeBySender reports whether the sender made the packet itself, whatever source the packet names.
// A request is the sender's own if it has no record of a transit NHS. Registrations and indications
// are always the sender's own, because no router passes them on.
func (ifc *iface) madeBySender(m *message) bool {
	switch {
	case m.Type.IsReply():
		return m.SourceProtocol == ifc.overlay()
	case m.Type == packet.RegistrationRequest || m.Type == packet.TrafficIndication:
		return true
	case m.Type == packet.ResolutionRequest && !m.passedOn():
		return true
	}
	b := ifc.bindings[m.SourceProtocol]
	return m.direct() || b != nil && b.nbma == m.from
}

// passedOn reports whether a transit NHS has left its record in a request.
func (m *message) passedOn() bool {
	ext := m.Extension(packet.ExtensionForwardTransit)
	return ext != nil && len(ext.CIEs) > 0
}
