package engine

import (
	"net/netip"
	"slices"
)

// uncertain are the bindings whose client registered from an address where several routers were, by
// overlay address: without marks nothing tells which of them it was.
type uncertain map[netip.Addr]*binding

// note takes a binding in or out, by whether several identities may have registered it last.
func (u uncertain) note(b *binding) {
	b.asked = nil
	if len(b.sharers) > 0 {
		u[b.protocol] = b
	} else {
		delete(u, b.protocol)
	}
}

// confirmWhereItIs has a router register again if it left an address that it shared and a binding
// there may be its own: otherwise the hub would send its packets to the routers that stayed until
// the router's next refresh, which may be minutes away. A new SA makes it register at once. Each
// router is asked once for a registration, since the binding may belong to one that stayed.
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

// mayHaveLeftFor reports whether the binding's client may be the router at p, which is not at the
// binding's address any more.
func (b *binding) mayHaveLeftFor(p *peer) bool {
	at := b.ref.peer
	return at != p && b.mayBe(p.ike) && (!at.secured || !at.ike.isOneOf(p.ike.Identity))
}
