package engine

import (
	"cmp"
	"net/netip"

	"cygnet/nhrpd/packet"
)

// leave says goodbye: tells those who rely on us, then withdraws everything that is wanted.
func (e *Engine) leave(ifc *iface) {
	if ifc.left {
		return
	}
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		if e.now.Before(a.expires) && ifc.local.IsValid() {
			e.sendPurgeOf(ifc, a.answerKey, a.nbma, e.newRequestID(), packet.PurgeNoReply)
		}
	}
	for _, n := range ifc.nhs {
		if n.usable() && ifc.local.IsValid() {
			e.purgeRegistration(n)
		}
		n.registered = false
	}
	e.withdrawAll(ifc)
	ifc.left = true
	e.deadlines.stop(&ifc.poll)
	e.deadlines.stop(&ifc.grace)
}

// withdrawAll wants nothing any more: routes first, then neighbours, then SAs.
func (e *Engine) withdrawAll(ifc *iface) {
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		e.endShortcut(s, "we leave the DMVPN")
	}
	e.dropRelaysBy(ifc, netip.Addr{})
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		e.dropAnswer(a)
	}
	for _, p := range inOrder(ifc.purges, cmp.Compare) {
		e.endPurge(p)
	}
	for _, b := range inOrder(ifc.bindings, byAddr) {
		e.dropBinding(b)
	}
	for _, n := range ifc.nhs {
		e.dropNHS(n)
	}
	for from, h := range ifc.held {
		e.deadlines.stop(&h.timeout)
		delete(ifc.held, from)
	}
	clear(ifc.unresolved)
	for _, p := range inOrder(ifc.peers, byAddr) {
		if p.secured {
			e.closePeer(p, "we leave the DMVPN")
		}
	}
}
