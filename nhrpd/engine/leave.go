package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"cygnet/nhrpd/packet"
)

// leave says goodbye: takes back what others rely on, withdraws everything that is wanted, and
// closes the SAs when everybody has said that it heard the goodbye, or did not after three tries.
//
// The NHSs are told last: the replies of those who were told before may come along an NHS, and it
// leads them here only while it has us registered.
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

// leaveOn takes the next step of leaving as soon as nobody's reply is awaited any more.
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

// leaveAtOnce is leave without waiting for anybody.
func (e *Engine) leaveAtOnce(ifc *iface) {
	e.leave(ifc)
	if ifc.leaving {
		for _, p := range ifc.deregistrations {
			e.sendPurgeOnce(p, packet.PurgeNoReply)
		}
		e.leaveNow(ifc)
	}
}

// goodbyes are the purges of all that we answered, and of all that we registered. Without an
// address nobody can be told.
func (e *Engine) goodbyes(ifc *iface) (list, deregistrations []*purge) {
	if !ifc.local.IsValid() {
		return nil, nil
	}
	for _, a := range inOrder(ifc.answers, answerKey.compare) {
		if !e.now.Before(a.expires) {
			continue
		}
		p := &purge{ifc: ifc, id: e.newRequestID(), dest: a.requester, nbma: a.nbma, prefixes: []netip.Prefix{a.prefix}}
		if way, err := e.pathPastShortcuts(ifc, a.requester); err == pathOK {
			p.via = way.nbma // there is none once everything is withdrawn
		}
		if ifc.secured(a.nbma) || p.via.IsValid() {
			list = append(list, p)
		}
	}
	for _, n := range ifc.nhs {
		if n.usable() {
			deregistrations = append(deregistrations, n.registrationPurges()...)
		}
		n.registered = false // dropNHS has nothing to say
	}
	return list, deregistrations
}

// leaveNow closes the SAs, and whoever waits for our leaving need not any longer.
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

// farewell hears, while we leave, whether our goodbyes arrived, and nothing else.
func (e *Engine) farewell(ifc *iface, from netip.Addr, data []byte) {
	m := message{Packet: &e.in, ifc: ifc, from: from, raw: data}
	e.cies = e.cies[:0]
	if !ifc.secured(from) || m.Parse(data) != nil || m.Type != packet.PurgeReply || m.SourceProtocol != ifc.overlay() || !e.authentic(&m) {
		e.drop(dropInactive)
		return
	}
	e.stats.received[m.Type]++
	e.purgeReply(&m)
}

// withdrawAll wants nothing any more, and leaves the SAs that are there.
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
