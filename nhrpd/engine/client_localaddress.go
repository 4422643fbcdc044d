package engine

import (
	"cmp"
	"net/netip"
)

// localAddress takes the address that the tunnel sends from. All registrations name it, so they are
// made anew; and so do the answers that we gave.
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
		e.endDirectPaths(ifc)
	}
}

// endDirectPaths ends what others and we send to each other directly, once we are at another
// address: with IPsec, the SAs of our own shortcuts went with the old one; without it, nobody would
// take what we send from the new one before he was asked again.
func (e *Engine) endDirectPaths(ifc *iface) {
	e.takeAllBack(ifc)
	if ifc.cfg.Protected {
		return
	}
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		if s.state == ShortcutUp {
			e.endShortcut(s, "our NBMA address changed, and its next hop takes data from the old one only")
		}
	}
}

// takeAllBack takes all answers back once we are at another address: who has one sends to where we
// are no more, until its dead peer detection tells it so. It falls back to the hub at once, and
// asks again.
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
