package engine

import (
	"maps"
	"net/netip"
	"slices"
)

// A name is the mark of a router's SA, and a strongSwan that was restarted gives out the same marks
// again, to other routers. So whoever has a name that it does not list loses it at once: what is to
// outlast the restart waits under a name that is nobody's mark, and that the kernel leads nowhere,
// until the router is back (reunite).

// retiredNames is where those names are. Marks end below; see xfrm.MarkedNBMA.
var retiredNames = netip.MustParsePrefix("0.255.0.0/16")

// retired reports whether a name is nobody's mark.
func retired(name netip.Addr) bool { return retiredNames.Contains(name) }

// retireNames has nothing rest on names that strongSwan does not list.
func (e *Engine) retireNames(ifc *iface, listed map[netip.Addr]bool) {
	gone := func(a netip.Addr) bool { return inThisNetwork(a) && !retired(a) && !listed[a] }
	losers, heirs := make(map[netip.Addr]*peer), make(map[netip.Addr]*peer)
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

// retire has bindings and answers wait for a router under another name than its last one. All else
// that rested on its SA ends: nothing can be sent to it, and a hub has another way.
func (e *Engine) retire(p *peer, heirs map[netip.Addr]*peer) {
	for _, c := range slices.Clone(p.refs) {
		c.owner.markGone(e, p, heirs)
	}
	e.timers.Stop(&p.lost)
	e.reviseSecurity(p)
}

// retireAnswer drops an answer of one whose SA went before: it does not use the answer any more.
func (e *Engine) retireAnswer(a *answer, loser *peer, heirs map[netip.Addr]*peer) {
	a.waiting = nil // who asked will ask again
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

// heir is the peer in whose name waits what a router had; nil: there is no name left.
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

// freeName gives a name that is nobody's.
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
