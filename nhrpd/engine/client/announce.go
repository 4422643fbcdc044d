package client

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/purge"
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
	refused   []netip.Prefix // the NHS refused them: they are left out of requests until again
	again     time.Time
	refresh   time.Time      // when held has to be refreshed
	awaiting  bool           // a request waits for its reply
	sent      []netip.Prefix // the prefixes in the last request
	requestID uint32         // of the last request
	sentNBMA  netip.Addr     // source address of the last request
	attempts  int            // unanswered requests in a row
	unknown   int            // replies in a row that say that the NHS does not know us
	err       string         // why the NHS does not have some prefixes; empty: it has all
	timer     timers.Timer   // repeats the request that waits
}

// AnnounceAgain is how long prefixes that an NHS refused are left out of the requests to it.
const AnnounceAgain = 10 * time.Minute

// announce registers our prefixes with an NHS, or refreshes their registration. It does nothing
// while an earlier request waits for its reply.
func (cl *Client) announce(n *NHS) {
	a := &n.announcement
	if a.awaiting && a.attempts < TriesPerAddr {
		return
	}
	if !cl.Now.Before(a.again) {
		a.refused = nil
	}
	a.sent = nil
	for _, p := range cl.Config.Announce {
		if !slices.Contains(a.refused, p) {
			a.sent = append(a.sent, p)
		}
	}
	if len(a.sent) == 0 {
		return
	}
	a.awaiting, a.attempts, a.requestID = true, 0, cl.NewRequestID()
	cl.sendAnnouncement(n)
}

// sendAnnouncement sends the request with the prefixes in n.announcement.sent, and sets the timer
// that repeats it.
func (cl *Client) sendAnnouncement(n *NHS) {
	a := &n.announcement
	a.sentNBMA = cl.Local
	cl.Timers.Set(&a.timer, cl.Now.Add(cl.retryWait(a.attempts)))
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       overlay.HopCount,
		Flags:          packet.FlagNAT,
		RequestID:      a.requestID,
		SourceNBMA:     cl.Local,
		SourceProtocol: cl.Address(),
		DestProtocol:   n.Protocol,
		Extensions:     cl.EmptyExtensions(overlay.NATCIE(n.Protocol, n.NBMA)),
	}
	for _, prefix := range a.sent {
		p.CIEs = append(p.CIEs, packet.CIE{
			PrefixLength: uint8(prefix.Bits()),
			MTU:          cl.Config.MTU,
			HoldingTime:  overlay.Seconds(cl.Config.HoldingTime),
			Protocol:     prefix.Addr(),
		})
	}
	cl.Send(n.NBMA, &p)
}

// announcementDue repeats a request that the NHS has not answered, at growing intervals of up to a
// minute. Perhaps the NHS does not support the registration of prefixes. But perhaps packets were
// lost, and then the NHS sends no traffic to the networks behind us, so the attempts go on.
func (cl *Client) announcementDue(n *NHS) {
	a := &n.announcement
	a.attempts++
	if !n.Usable() || !cl.Local.IsValid() {
		cl.stopAnnouncing(n)
		return
	}
	if a.attempts == TriesPerAddr && len(a.held) == 0 {
		cl.reportNotAnnounced(n, a.sent,
			"the NHS does not answer the registration of our prefixes: it may know none; trying on")
	}
	cl.sendAnnouncement(n)
}

// announcementAnswered handles the reply of an NHS, which has a code for each prefix.
func (cl *Client) announcementAnswered(n *NHS, m *overlay.Message) {
	a := &n.announcement
	cl.stopAnnouncing(n)
	before, reported := a.held, a.err
	a.held, a.err, a.refresh = nil, "", cl.Now.Add(cl.Config.HoldingTime/4)
	refused := make(map[packet.Code][]netip.Prefix)
	for i := range m.CIEs {
		cie := &m.CIEs[i]
		prefix, ok := cie.PrefixOf(m.ClientOf(cie))
		switch {
		case !ok || !slices.Contains(a.sent, prefix):
			cl.Drop(overlay.DropUnsolicited)
		case cie.Code == packet.CodeSuccess:
			a.held = append(a.held, prefix)
			if !slices.Contains(before, prefix) {
				cl.Notice(output.Notice{Kind: output.NoticeAnnounced, Prefix: prefix,
					NextHop: n.Protocol, NBMA: n.NBMA})
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
			a.err = reported
			cl.reportNotAnnounced(n, refused[code], reason)
		case packet.CodeNoBinding:
			a.err = reported
			cl.reportNotAnnounced(n, refused[code], reason)
			cl.registerAgainSoon(n)
			return
		default:
			cl.announcementRefused(n, refused[code], reason)
		}
	}
	a.unknown = 0
}

// registerAgainSoon registers our address again with an NHS that accepted the address, and later
// replied that it does not know us: our binding there has ended meanwhile.
func (cl *Client) registerAgainSoon(n *NHS) {
	cl.registerIn(n, cl.retryWait(n.announcement.unknown))
	n.announcement.unknown++
}

// announcementRefused leaves prefixes out of the requests to an NHS until AnnounceAgain has passed.
func (cl *Client) announcementRefused(n *NHS, prefixes []netip.Prefix, reason string) {
	a := &n.announcement
	a.again = cl.Now.Add(AnnounceAgain)
	a.refused = append(a.refused, prefixes...)
	cl.reportNotAnnounced(n, prefixes, reason)
}

// reportNotAnnounced reports that an NHS does not have some of our prefixes. It reports the same
// reason only once in a row.
func (cl *Client) reportNotAnnounced(n *NHS, prefixes []netip.Prefix, reason string) {
	err := reason + " " + prefixes[0].String()
	if n.announcement.err == err {
		return
	}
	n.announcement.err = err
	for _, p := range prefixes {
		cl.Notice(
			output.Notice{Kind: output.NoticeRefused, Prefix: p, NextHop: n.Protocol, NBMA: n.NBMA,
				Reason: reason},
		)
	}
}

// stopAnnouncing ends the wait for a reply, which has come or is not needed any more.
func (cl *Client) stopAnnouncing(n *NHS) {
	n.announcement.awaiting = false
	cl.Timers.Stop(&n.announcement.timer)
}

// forgetAnnouncement forgets which prefixes an NHS accepted and refused: the NHS may have forgotten
// our prefixes, or another router may be the NHS now.
func (cl *Client) forgetAnnouncement(n *NHS) {
	cl.stopAnnouncing(n)
	a := &n.announcement
	a.held, a.refused, a.again, a.err = nil, nil, time.Time{}, ""
}

// AnnounceAnew applies changed prefixes in the configuration to an NHS: it takes back those that
// are not configured any more, and registers the others.
func (cl *Client) AnnounceAnew(n *NHS) {
	a := &n.announcement
	gone := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(cl.Config.Announce, p) })
	kept := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(gone, p) })
	if len(gone) > 0 && n.Usable() && cl.Local.IsValid() {
		cl.Purges.SendUnconfirmed(&purge.Request{
			ID:       a.requestID,
			Dest:     n.Protocol,
			NBMA:     n.NBMA,
			Prefixes: gone,
		})
	}
	cl.forgetAnnouncement(n)
	a.held = kept
	if n.Usable() && cl.Local.IsValid() {
		cl.announce(n)
	}
}
