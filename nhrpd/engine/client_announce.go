package engine

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// announcement is our registration of the prefixes in InterfaceConfig.Announce, the networks behind
// us, with one NHS. The prefixes have a Registration Request of their own, because a request with
// the U flag may have only one CIE (RFC 2332 §5.2.0.1). We send it after each registration of our
// address that the NHS accepts. Whatever the NHS answers about the prefixes, the registration of
// the address stands.
type announcement struct {
	held      []netip.Prefix // the NHS accepted them
	refused   []netip.Prefix // the NHS refused them: not asked for again before again
	again     time.Time
	refresh   time.Time      // when held has to be refreshed
	awaiting  bool           // a request waits for its reply
	sent      []netip.Prefix // the prefixes in the last request
	requestID uint32
	sentNBMA  netip.Addr // source address of the last request
	attempts  int        // unanswered requests in a row
	unknown   int        // answers in a row that the NHS does not know us
	err       string
	timer     timers.Timer
}

// announceAgain is how long we do not ask an NHS again for prefixes that it refused.
const announceAgain = 10 * time.Minute

// announce registers our prefixes with an NHS, or refreshes their registration.
func (e *Engine) announce(n *nhs) {
	a := &n.announcement
	if a.awaiting && a.attempts < triesPerAddr {
		return
	}
	if !e.now.Before(a.again) {
		a.refused = nil
	}
	a.sent = nil
	for _, p := range n.ifc.cfg.Announce {
		if !slices.Contains(a.refused, p) {
			a.sent = append(a.sent, p)
		}
	}
	if len(a.sent) == 0 {
		return
	}
	a.awaiting, a.attempts, a.requestID = true, 0, e.newRequestID()
	e.sendAnnouncement(n)
}

// sendAnnouncement sends the request with the prefixes in announcement.sent, and sets the timer
// that repeats it.
func (e *Engine) sendAnnouncement(n *nhs) {
	ifc, a := n.ifc, &n.announcement
	a.sentNBMA = ifc.local
	e.timers.Set(&a.timer, e.now.Add(e.retryWait(ifc, a.attempts)))
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       hopCount,
		Flags:          packet.FlagNAT,
		RequestID:      a.requestID,
		SourceNBMA:     ifc.local,
		SourceProtocol: ifc.overlay(),
		DestProtocol:   n.protocol,
		Extensions:     ifc.emptyExtensions(natCIE(n.protocol, n.nbma)),
	}
	for _, prefix := range a.sent {
		p.CIEs = append(p.CIEs, packet.CIE{
			PrefixLength: uint8(prefix.Bits()),
			MTU:          ifc.cfg.MTU,
			HoldingTime:  seconds(ifc.cfg.HoldingTime),
			Protocol:     prefix.Addr(),
		})
	}
	e.send(ifc, n.nbma, &p)
}

// announceDue repeats a request that the NHS has not answered, at growing intervals of up to a
// minute. Silence may mean that the NHS does not support the registration of prefixes, but packets
// may also have been lost, and then the NHS sends nobody to the networks behind us. One attempt a
// minute is not too often to find out.
func (e *Engine) announceDue(n *nhs) {
	a := &n.announcement
	a.attempts++
	if !n.usable() || !n.ifc.local.IsValid() {
		e.stopAnnouncing(n)
		return
	}
	if a.attempts == triesPerAddr && len(a.held) == 0 {
		e.announcementUnheard(n, a.sent,
			"the NHS does not answer the registration of our prefixes: it may know none; trying on")
	}
	e.sendAnnouncement(n)
}

// announcementAnswered takes the reply of an NHS, which has a code for each prefix.
func (e *Engine) announcementAnswered(n *nhs, m *message) {
	a := &n.announcement
	e.stopAnnouncing(n)
	before, told := a.held, a.err
	a.held, a.err, a.refresh = nil, "", e.now.Add(n.ifc.cfg.HoldingTime/4)
	refused := make(map[packet.Code][]netip.Prefix)
	for i := range m.CIEs {
		cie := &m.CIEs[i]
		prefix, ok := cie.PrefixOf(m.clientOf(cie))
		switch {
		case !ok || !slices.Contains(a.sent, prefix):
			e.drop(dropUnsolicited)
		case cie.Code == packet.CodeSuccess:
			a.held = append(a.held, prefix)
			if !slices.Contains(before, prefix) {
				e.notice(n.ifc, Notice{Kind: NoticeAnnounced, Prefix: prefix,
					NextHop: n.protocol, NBMA: n.nbma})
			}
		default:
			refused[cie.Code] = append(refused[cie.Code], prefix)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(refused)) {
		reason := "the NHS refuses our prefix: " + code.String()
		switch code {
		case packet.CodeUniqueRegistered:
			// For example, the network moved here and the NHS has not received the other router's
			// goodbye. The other registration expires, so the next refresh asks again.
			a.err = told
			e.announcementUnheard(n, refused[code], reason)
		case packet.CodeNoBinding:
			a.err = told
			e.announcementUnheard(n, refused[code], reason)
			e.registerUnknown(n)
			return
		default:
			e.announcementRefused(n, refused[code], reason)
		}
	}
	a.unknown = 0
}

// registerUnknown registers our address again soon, with an NHS that accepted the address and then
// answered that it does not know us: our binding there has ended meanwhile.
func (e *Engine) registerUnknown(n *nhs) {
	e.registerIn(n, e.retryWait(n.ifc, n.announcement.unknown))
	n.announcement.unknown++
}

// announcementRefused asks an NHS no more for prefixes until announceAgain has passed.
func (e *Engine) announcementRefused(n *nhs, prefixes []netip.Prefix, reason string) {
	a := &n.announcement
	a.again = e.now.Add(announceAgain)
	a.refused = append(a.refused, prefixes...)
	e.announcementUnheard(n, prefixes, reason)
}

// announcementUnheard reports that an NHS does not have some of our prefixes. It reports the same
// reason only once.
func (e *Engine) announcementUnheard(n *nhs, prefixes []netip.Prefix, reason string) {
	err := reason + " " + prefixes[0].String()
	if n.announcement.err == err {
		return
	}
	n.announcement.err = err
	for _, p := range prefixes {
		e.notice(n.ifc, Notice{Kind: NoticeRefused, Prefix: p, NextHop: n.protocol, NBMA: n.nbma,
			Reason: reason})
	}
}

// stopAnnouncing ends the wait for a reply, which has come or is not wanted any more.
func (e *Engine) stopAnnouncing(n *nhs) {
	n.announcement.awaiting = false
	e.timers.Stop(&n.announcement.timer)
}

// forgetAnnouncement forgets which prefixes an NHS accepted and refused: the NHS may have forgotten
// our prefixes, or another router may be the NHS now.
func (e *Engine) forgetAnnouncement(n *nhs) {
	e.stopAnnouncing(n)
	a := &n.announcement
	a.held, a.refused, a.again, a.err = nil, nil, time.Time{}, ""
}

// announceAnew applies changed prefixes in the configuration: it takes back those that are
// configured no longer, and registers the others.
func (e *Engine) announceAnew(n *nhs) {
	a := &n.announcement
	gone := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(n.ifc.cfg.Announce, p) })
	kept := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(gone, p) })
	if len(gone) > 0 && n.usable() && n.ifc.local.IsValid() {
		e.sendPurgeRequest(n.ifc, n.protocol, n.nbma, a.requestID, packet.PurgeNoReply, gone...)
	}
	e.forgetAnnouncement(n)
	a.held = kept
	if n.usable() && n.ifc.local.IsValid() {
		e.announce(n)
	}
}
