package server

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/peers"
)

// uncertain holds, by overlay address, the bindings whose clients registered from an address that
// several routers shared. Without marks, nothing tells which of the routers registered.
type uncertain map[netip.Addr]*Binding

// update adds a binding if several identities may have registered it last, and removes it
// otherwise.
func (u uncertain) update(b *Binding) {
	b.asked = nil
	if len(b.sharers) > 0 {
		u[b.Protocol] = b
	} else {
		delete(u, b.Protocol)
	}
}

// ConfirmWhereItIs has the router at p register again if it left a shared address and may own a
// binding there. Otherwise the hub would send the router's packets to the routers that stayed until
// the router's next refresh, which may be minutes away. The hub closes the router's SA, since a
// router registers at once through a new one. It does so once for each router and registration,
// since the binding may belong to a router that stayed.
func (srv *Server) ConfirmWhereItIs(p *peers.Peer) {
	left := func(b *Binding) bool {
		return b.mayHaveLeftFor(p) && !slices.Contains(b.asked, p.IKE.Identity)
	}
	for _, b := range ordered.ValuesIf(srv.uncertain, ordered.ByAddr, left) {
		b.asked = append(b.asked, p.IKE.Identity)
		srv.Peers.HaveRegisterAgain(p, "to have it register again: it left the address "+
			srv.Peers.Outer(b.Peer).String()+", which it shared with others")
		return
	}
}

// mayHaveLeftFor reports whether the binding's client may be the router at p, which is no longer at
// the binding's address.
func (b *Binding) mayHaveLeftFor(p *peers.Peer) bool {
	at := b.Ref.Peer
	return at != p && b.MayBe(p.IKE) && (!at.Secured || !at.IKE.IsOneOf(p.IKE.Identity))
}
