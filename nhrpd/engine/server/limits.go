package server

import (
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/packet"
)

// Takes reports whether the sender of a packet keeps within its rate. If so, it takes tokens for
// the packet from the sender's bucket.
//
// Replies and errors have a rate of their own, so that a router which asks a lot still gets its
// answers. Our NHSs have a larger rate, and so have clients for what they pass on for others, as
// the hub of a region does: each router behind them is held to its own rate where its packets come
// in.
func (srv *Server) Takes(now time.Time, m *overlay.Message) bool {
	reply := m.Type.IsReply() || m.Type == packet.ErrorIndication
	switch {
	case srv.relaysForOthers(m):
		return srv.Limiters.Transit.Take(
			now,
			overlay.TransitKey{From: m.From, Reply: reply},
			m.Cost(),
			0,
		)
	case reply:
		return srv.Limiters.Replies.Allow(now, m.From)
	}
	return srv.Limiters.Requests.Take(now, m.From, m.Cost(), 0)
}

// relaysForOthers reports whether a packet comes from one of our NHSs, or from a client that passes
// it on for another router. Other peers have no reason to pass packets on to us.
func (srv *Server) relaysForOthers(m *overlay.Message) bool {
	p := srv.Peers.ByID[m.From]
	switch {
	case p == nil:
		return false
	case p.Has(peers.ForNHS):
		return true
	}
	return p.Has(peers.ForBinding) && !srv.madeBySender(m)
}

// madeBySender reports whether the sender made the packet itself, whatever source the packet names.
// A request is the sender's own if it has no record of a transit NHS. Registrations and indications
// are always the sender's own, because no router passes them on.
func (srv *Server) madeBySender(m *overlay.Message) bool {
	switch {
	case m.Type.IsReply():
		return srv.IsOwn(m.SourceProtocol)
	case m.Type == packet.RegistrationRequest || m.Type == packet.TrafficIndication:
		return true
	case m.Type == packet.ResolutionRequest && !m.PassedOn():
		return true
	}
	b := srv.Bindings[m.SourceProtocol]
	return srv.Direct(m) || b != nil && b.Peer == m.From
}
