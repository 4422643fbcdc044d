package engine

import (
	"maps"
	"net/netip"
	"slices"
)

// A name stands for the mark of a router's SA. A restarted strongSwan gives out the same marks
// again, to other routers. So a peer loses its name at once if strongSwan does not list the name's
// SA. Bindings and answers outlast the restart: they wait for the router under a retired name, one
// that is no SA's mark and that the kernel sends nothing for, until the router is back (reunite).

// retiredNames is the range of the retired names. All marks lie below it; see xfrm.MarkedNBMA.
var retiredNames = netip.MustParsePrefix("0.255.0.0/16")

// retired reports whether a name is a retired one.
func retired(name netip.Addr) bool { return retiredNames.Contains(name) }

// retireNames releases every binding, shortcut, answer, admission and held packet that uses a name
// whose SA strongSwan does not list.
func (e *Engine) retireNames(ifc *iface, listed map[netip.Addr]bool) {
	gone := func(a netip.Addr) bool { return inThisNetwork(a) && !retired(a) && !listed[a] }
	losers, heirs := make(map[netip.Addr]*peer), make(map[netip.Addr]*peer) // both by the lost name
	for _, p := range inOrder(ifc.peers, byAddr) {
		if gone(p.nbma) {
			losers[p.nbma] = p
			e.retire(p, heirs)
		}
	}
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		if gone(a.nbma) {
			e.retireAnswer(a, losers[a.nbma], heirs)
		}
	}
	for _, at := range inOrder(ifc.admitted, byAddr) {
		if gone(at.nbma) {
			e.endAdmission(ifc, at.nbma)
		}
	}
	for _, from := range slices.SortedFunc(maps.Keys(ifc.held), byAddr) {
		if gone(from) {
			e.dropHeld(ifc, from, dropUnsecured)
		}
	}
}

// retire lets the bindings and answers of a peer wait for it under a retired name. Everything else
// that depended on its SA ends: nothing can be sent to the router, and a hub has another way to it.
func (e *Engine) retire(p *peer, heirs map[netip.Addr]*peer) {
	for _, c := range slices.Clone(p.refs) {
		c.owner.markGone(e, p, heirs)
	}
	e.timers.Stop(&p.lost)
	e.reviseSecurity(p)
}

// retireAnswer moves an answer to its requester's retired name. It drops the answer if the
// requester's SA went before: that requester does not use the answer any more.
func (e *Engine) retireAnswer(a *answer, loser *peer, heirs map[netip.Addr]*peer) {
	a.waiting = nil // the requester will ask again
	var to *peer
	if loser != nil && e.now.Before(a.expires) {
		to = e.heir(loser, heirs)
	}
	if to == nil {
		e.dropAnswer(a)
		return
	}
	e.moveAnswer(a, to.nbma)
	e.refer(&a.ref, to, reasonAnswer, false)
	e.timers.Set(&a.expiry, a.expires)
}

// heir returns the peer with the retired name under which the bindings and answers of p wait; it
// makes that peer once for each p. It returns nil if no retired name is free.
func (e *Engine) heir(p *peer, heirs map[netip.Addr]*peer) *peer {
	if to := heirs[p.nbma]; to != nil {
		return to
	}
	name := p.ifc.freeName()
	if !name.IsValid() {
		return nil
	}
	to := e.peerAt(p.ifc, name)
	to.ike = p.ike
	to.seenAt(p.real)
	e.awaitReturn(to, resyncGrace)
	heirs[p.nbma] = to
	return to
}

// freeName returns a retired name that is not in use, or the zero address if all are.
func (ifc *iface) freeName() netip.Addr {
	for range 1 << 16 {
		ifc.retirements++
		name := netip.AddrFrom4([4]byte{0, 255, byte(ifc.retirements >> 8), byte(ifc.retirements)})
		if ifc.peers[name] == nil {
			return name
		}
	}
	return netip.Addr{}
}
