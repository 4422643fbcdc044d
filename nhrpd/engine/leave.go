package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"cygnet/nhrpd/packet"
)

// leave says goodbye on an interface. It takes back what other routers learned from us, withdraws
// everything that the interface wants, and closes the SAs once all of them have replied to the
// goodbye, or have not replied to three attempts.
//
// The NHSs get their goodbye last. The other routers' replies may come through an NHS, and the NHS
// forwards them to us only while we are registered there.
func (e *Engine) leave(ifc *iface) {
	if ifc.left {
		if !ifc.leaving {
			e.out.Left = append(e.out.Left, ifc.cfg.Name)
		}
		return
	}
	goodbyes, deregistrations := e.goodbyes(ifc)
	e.withdrawAll(ifc)
	e.endRevocations(ifc)
	e.tellQuiet(ifc)
	ifc.left, ifc.leaving = true, true
	e.timers.Stop(&ifc.poll)
	e.timers.Stop(&ifc.grace)
	ifc.deregistrations = deregistrations
	for _, p := range goodbyes {
		e.startPurge(p)
	}
	e.leaveOn(ifc)
}

// leaveOn takes the next step of leaving, if no goodbye waits for its reply any more: first the
// goodbyes to the NHSs, then the end of the SAs.
func (e *Engine) leaveOn(ifc *iface) {
	if !ifc.leaving || len(ifc.purges) > 0 {
		return
	}
	last := ifc.deregistrations
	ifc.deregistrations = nil
	for _, p := range last {
		e.startPurge(p)
	}
	if len(last) == 0 {
		e.leaveNow(ifc)
	}
}

// leaveAtOnce does what leave does, but sends each goodbye once and waits for no reply.
func (e *Engine) leaveAtOnce(ifc *iface) {
	e.leave(ifc)
	if ifc.leaving {
		for _, p := range ifc.deregistrations {
			e.sendPurgeOnce(p, packet.PurgeNoReply)
		}
		e.leaveNow(ifc)
	}
}

// goodbyes returns the purges that take back all our answers, and separately those that take back
// our registrations. It returns none if we have no local address to send from.
func (e *Engine) goodbyes(ifc *iface) (list, deregistrations []*purge) {
	if !ifc.local.IsValid() {
		return nil, nil
	}
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		if !e.now.Before(a.expires) {
			continue
		}
		p := &purge{ifc: ifc, id: e.newRequestID(), dest: a.requester, nbma: a.nbma,
			prefixes: []netip.Prefix{a.prefix}}
		if way, err := e.pathPastShortcuts(ifc, a.requester); err == pathOK {
			p.via = way.nbma // there is no path any more once everything is withdrawn
		}
		if ifc.secured(a.nbma) || p.via.IsValid() {
			list = append(list, p)
		}
	}
	for _, n := range ifc.nhs {
		if n.usable() {
			deregistrations = append(deregistrations, n.registrationPurges()...)
		}
		n.registered = false // so that dropNHS sends no purge of its own
	}
	return list, deregistrations
}

// leaveNow completes the leaving of an interface. It waits for no more replies, closes the SAs, and
// reports in Output.Left that the interface has left.
func (e *Engine) leaveNow(ifc *iface) {
	ifc.leaving, ifc.deregistrations = false, nil
	for _, p := range inOrder(ifc.purges, cmp.Compare) {
		e.endPurge(p)
	}
	for _, p := range inOrder(ifc.peers, byAddr) {
		if p.secured {
			e.closePeer(p, "we leave the DMVPN")
		}
	}
	e.endAdmissions(ifc)
	e.out.Left = append(e.out.Left, ifc.cfg.Name)
}

// farewell handles a packet that arrives while the interface leaves. It takes only replies to our
// goodbyes.
func (e *Engine) farewell(ifc *iface, from netip.Addr, data []byte) {
	m := message{Packet: &e.in, ifc: ifc, from: from, raw: data}
	e.cies = e.cies[:0]
	if !ifc.secured(from) || m.Parse(data) != nil || m.Type != packet.PurgeReply ||
		m.SourceProtocol != ifc.overlay() || !e.authentic(&m) {
		e.drop(dropInactive)
		return
	}
	e.stats.received[m.Type]++
	e.purgeReply(&m)
}

// withdrawAll withdraws everything that the interface wants. It leaves existing SAs alone.
func (e *Engine) withdrawAll(ifc *iface) {
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		e.endShortcut(s, "we leave the DMVPN")
	}
	e.dropRelaysBy(ifc, netip.Addr{})
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		e.dropAnswer(a)
	}
	for _, b := range inOrder(ifc.bindings, byAddr) {
		e.dropBinding(b)
	}
	for _, a := range slices.SortedFunc(maps.Keys(ifc.owners), byAddr) {
		e.endOwner(ifc, a)
	}
	for _, a := range slices.Collect(maps.Values(ifc.away)) {
		e.endAway(ifc, a.who)
	}
	for _, n := range ifc.nhs {
		e.dropNHS(n)
	}
	for from, h := range ifc.held {
		e.timers.Stop(&h.timeout)
		delete(ifc.held, from)
	}
	clear(ifc.unresolved)
}
