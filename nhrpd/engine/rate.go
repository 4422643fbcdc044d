package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/packet"
)

// transitKey names a bucket of what a router says that speaks for many.
type transitKey struct {
	from  netip.Addr
	reply bool
}

// takes says whether the sender keeps within its rate. Replies and errors have one of their own, so that who asks much is answered
// none the less. Our NHSs, and clients that pass on what others say, such as the hub of a region, have a larger one for that: every router
// behind them is held to its own rate where it comes in.
func (ifc *iface) takes(now time.Time, m *message) bool {
	reply := m.Type.IsReply() || m.Type == packet.ErrorIndication
	switch {
	case ifc.speaksForMany(m):
		return ifc.transit.take(now, transitKey{m.from, reply}, m.cost(), 0)
	case reply:
		return ifc.repliesOf.allow(now, m.from)
	}
	return ifc.fromPeer.take(now, m.from, m.cost(), 0)
}

// cost returns how many requests a packet counts as. Each CIE of a registration or purge is a request of
// its own: it costs a search, and may change a route and write a line to the log.
func (m *message) cost() int {
	switch m.Type {
	case packet.RegistrationRequest, packet.PurgeRequest:
		return max(1, len(m.CIEs))
	}
	return 1
}

// speaksForMany says whether a packet comes from an NHS of ours, or from a client that did not make it itself. Who is neither has no reason
// to pass anything on to us.
func (ifc *iface) speaksForMany(m *message) bool {
	p := ifc.peers[m.from]
	switch {
	case p == nil:
		return false
	case p.has(interestNHS):
		return true
	}
	return p.has(interestBinding) && !ifc.madeBySender(m)
}

// madeBySender says whether the sender asks for itself, or is answered by itself what we asked, whatever it says of its source. A question
// that no transit NHS left its record in is its own, and so is what nobody passes on: registrations and indications.
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

// passedOn says whether a transit NHS left its record in a request.
func (m *message) passedOn() bool {
	ext := m.Extension(packet.ExtensionForwardTransit)
	return ext != nil && len(ext.CIEs) > 0
}

func (p *peer) has(kind interestKind) bool { return p.interests.kinds[kind] > 0 }
