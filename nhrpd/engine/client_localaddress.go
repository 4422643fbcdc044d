package engine

import (
	"cmp"
	"net/netip"
)

// localAddress sets the address that the tunnel sends from. All our registrations name that
// address, so localAddress registers with every NHS again. If we had another address before, it
// also ends the direct paths from and to that one.
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

// endDirectPaths ends the direct paths between us and other routers when our NBMA address has
// changed. It takes back our answers, which name the old address. Without IPsec it also ends our
// own shortcuts: no next hop takes what we send from the new address before we ask it again. With
// IPsec, the SAs of those shortcuts ended together with the old address.
func (e *Engine) endDirectPaths(ifc *iface) {
	e.takeAllBack(ifc)
	if ifc.cfg.Protected {
		return
	}
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		if s.state == ShortcutUp {
			e.endShortcut(s,
				"our NBMA address changed, and its next hop takes data from the old one only")
		}
	}
}

// takeAllBack takes back all our answers when our NBMA address has changed. A router that uses one
// sends to the old address, until its dead peer detection notices. Once the answer is taken back,
// the router falls back to the hub at once, and asks again.
func (e *Engine) takeAllBack(ifc *iface) {
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		e.takeBack(a)
	}
}

// repeatPurges sends all purges again that still wait for a reply. It is called when a hub has
// registered us, and so there is a way to that hub now.
func (e *Engine) repeatPurges(ifc *iface) {
	for _, p := range inOrder(ifc.purges, cmp.Compare) {
		e.sendPurge(p)
	}
}
