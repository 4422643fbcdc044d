package server

import (
	"iter"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// TakeBackBindings ends the sender's own registrations inside a prefix that it purges. It reports
// whether it refuses the purge because the prefix is another router's registration.
func (srv *Server) TakeBackBindings(m *overlay.Message, prefix netip.Prefix) (refused bool) {
	if b := srv.Bindings[prefix.Addr()]; b != nil && prefix.IsSingleIP() &&
		!b.Static && !b.isSendersOwn(m) {
		srv.Drop(overlay.DropNotOwner)
		refused = true
	}
	for _, b := range slices.Collect(BindingsOf(srv.Peers.ByID[m.From])) {
		if !b.Static && prefix.Contains(b.Protocol) && b.isSendersOwn(m) {
			srv.Unbind(b, "the client took its registration back")
		}
	}
	return refused
}

// isSendersOwn reports whether the binding is that of the router that sent a message.
func (b *Binding) isSendersOwn(m *overlay.Message) bool {
	return b.Peer == m.From && b.MayBe(b.Server.Peers.Proven(m.From))
}

// Clients yields the overlay addresses of the clients that have an SA, in order.
func (srv *Server) Clients() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
			if !b.Static && srv.Peers.Secured(b.Peer) && !yield(b.Protocol) {
				return
			}
		}
	}
}

// BindingAt returns the peer that an overlay address is bound to, and whether a client registered
// it. The ID is zero if there is no binding.
func (srv *Server) BindingAt(protocol netip.Addr) (peer peerid.ID, client bool) {
	b := srv.Bindings[protocol]
	if b == nil {
		return peerid.ID{}, false
	}
	return b.Peer, !b.Static
}
