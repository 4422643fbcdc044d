package engine

import (
	"net/netip"
	"slices"
)

// uncertain holds, by overlay address, the bindings whose clients registered from an address that
// several routers shared. Without marks, nothing tells which of the routers registered.
type uncertain map[netip.Addr]*binding

// note puts a binding in if several identities may have registered it last, and takes it out
// otherwise.
func (u uncertain) note(b *binding) {
	b.asked = nil
	if len(b.sharers) > 0 {
		u[b.protocol] = b
	} else {
		delete(u, b.protocol)
	}
}

// confirmWhereItIs makes a router register again if it left a shared address and may own a binding
// there. Otherwise the hub would send the router's packets to the routers that stayed until the
// router's next refresh, which may be minutes away. The hub closes the router's SA, since a router
// registers at once through a new one. It does so once for each router and registration, since the
// binding may belong to a router that stayed.
func (e *Engine) confirmWhereItIs(p *peer) {
	left := func(b *binding) bool {
		return b.mayHaveLeftFor(p) && !slices.Contains(b.asked, p.ike.Identity)
	}
	for _, b := range inOrderIf(p.ifc.uncertain, byAddr, left) {
		b.asked = append(b.asked, p.ike.Identity)
		e.unsecure(p, "to have it register again: it left the address "+p.ifc.real(b.nbma).String()+
			", which it shared with others", lostGrace)
		e.out.Closed = append(e.out.Closed, PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma})
		return
	}
}

// mayHaveLeftFor reports whether the binding's client may be the router at p, which is no longer at
// the binding's address.
func (b *binding) mayHaveLeftFor(p *peer) bool {
	at := b.ref.peer
	return at != p && b.mayBe(p.ike) && (!at.secured || !at.ike.isOneOf(p.ike.Identity))
}
