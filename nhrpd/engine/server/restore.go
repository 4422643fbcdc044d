package server

import (
	"net/netip"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// SaveBindings returns copies of the clients' bindings, in the order of their overlay addresses.
func (srv *Server) SaveBindings() []report.SavedBinding {
	list := make([]report.SavedBinding, 0, len(srv.Bindings))
	for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
		if !b.Static {
			list = append(list, b.Saved())
		}
	}
	return list
}

// RestoreBinding restores a client's binding with its prefixes, if the configuration, the rules and
// the limits still allow it.
func (srv *Server) RestoreBinding(st *report.SavedBinding) {
	left := srv.Remaining(st.Expires)
	if left <= 0 || !srv.ClientAddress(st.Protocol) || srv.Bindings[st.Protocol] != nil ||
		len(srv.Bindings) >= srv.Config.Limits.Bindings {
		return
	}
	who := srv.Peers.Rules.Of(st.Identity, srv.Blocks)
	if srv.Config.Protected && who.ToAddress(st.Protocol).Raised() {
		return
	}
	if !srv.Peers.RestoreOuter(st.Peer, st.Outer) {
		return
	}
	b := srv.NewBinding(st.Protocol)
	b.ClientNBMA, b.Identity, b.Unique, b.MTU = st.ClientNBMA, st.Identity, st.Unique, st.MTU
	b.sharers = st.Sharers
	srv.uncertain.update(b)
	b.SetHolder(overlay.HolderOf(st.Identity, st.Peer))
	b.Restored = srv.Config.Protected
	b.Expires = srv.Now.Add(left)
	srv.Timers.Set(&b.Expiry, b.Expires)
	srv.Bind(b, st.Peer)
	for _, p := range st.Prefixes {
		b.restorePrefix(p)
	}
}

// restorePrefix restores a prefix that the client announced. The prefix expires with the binding
// unless the client refreshes it.
func (b *Binding) restorePrefix(prefix netip.Prefix) {
	srv := b.Server
	if !prefix.IsValid() || prefix != prefix.Masked() || b.announced(prefix) != nil {
		return
	}
	if srv.Announced.ObjectToAnnouncing(b, prefix).Raised() {
		return
	}
	a := srv.Announced.New(b, prefix)
	a.Expires = b.Expires
	srv.Timers.Set(&a.Expiry, a.Expires)
}

// RestoreReserve restores the prefixes that a client had in reserve, once the bindings with the
// others are there.
func (srv *Server) RestoreReserve(protocol netip.Addr, list []netip.Prefix) {
	if b := srv.Bindings[protocol]; b != nil {
		for _, p := range list {
			b.restorePrefix(p)
		}
	}
}

// UnlistRestored marks the peers of the restored bindings whose SAs strongSwan does not list. It
// reports whether there are any.
func (srv *Server) UnlistRestored() (found bool) {
	for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
		if b.Restored && !b.Ref.Peer.Secured {
			found = true
			srv.Peers.Unlist(b.Ref.Peer)
		}
	}
	return found
}

// EndUnconfirmed ends the restored bindings whose clients have had no SA since the restart.
func (srv *Server) EndUnconfirmed() {
	for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
		if b.Restored {
			srv.Owners.ReserveForOwner(b)
			srv.Unbind(b, "no SA with the client after the restart")
		}
	}
}
