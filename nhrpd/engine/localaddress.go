package engine

import (
	"cmp"
	"net/netip"
)

// localAddress takes the address that the tunnel sends from. All registrations name it, so they are made anew; and so do the answers
// that we gave.
func (e *Engine) localAddress(ifc *iface, nbma netip.Addr) {
	if ifc.local == nbma {
		return
	}
	ifc.local = nbma
	moved := nbma.IsValid() && ifc.known.IsValid() && ifc.known != nbma
	if nbma.IsValid() {
		ifc.known = nbma
	}
	for _, n := range ifc.nhs {
		n.public = netip.Addr{}
		before := n.nbma
		if !ifc.left {
			e.useResolved(n)
		}
		if n.nbma == before {
			e.registerAnew(n)
		}
	}
	if moved {
		e.takeAllBack(ifc)
	}
}

// takeAllBack takes all answers back once we are at another address: who has one sends to where we are no more, until its dead peer
// detection tells it so. It falls back to the hub at once, and asks again.
func (e *Engine) takeAllBack(ifc *iface) {
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		e.takeBack(a)
	}
}

// repeatPurges sends again what is under way: there is a way to the hub now.
func (e *Engine) repeatPurges(ifc *iface) {
	for _, p := range inOrder(ifc.purges, cmp.Compare) {
		e.sendPurge(p)
	}
}
