package client

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
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
	Refused   []netip.Prefix // the NHS refused them: not asked for again before again
	again     time.Time
	refresh   time.Time      // when held has to be refreshed
	Awaiting  bool           // a request waits for its reply
	Sent      []netip.Prefix // the prefixes in the last request
	RequestID uint32
	sentNBMA  netip.Addr // source address of the last request
	attempts  int        // unanswered requests in a row
	unknown   int        // answers in a row that the NHS does not know us
	err       string
	timer     timers.Timer
}

// AnnounceAgain is how long we do not ask an NHS again for prefixes that it refused.
const AnnounceAgain = 10 * time.Minute

// announce registers our prefixes with an NHS, or refreshes their registration.
func (cl *Client) announce(n *NHS) {
	a := &n.Announcement
	if a.Awaiting && a.attempts < TriesPerAddr {
		return
	}
	if !cl.Now.Before(a.again) {
		a.Refused = nil
	}
	a.Sent = nil
	for _, p := range cl.Config.Announce {
		if !slices.Contains(a.Refused, p) {
			a.Sent = append(a.Sent, p)
		}
	}
	if len(a.Sent) == 0 {
		return
	}
	a.Awaiting, a.attempts, a.RequestID = true, 0, cl.NewRequestID()
	cl.sendAnnouncement(n)
}

// sendAnnouncement sends the request with the prefixes in announcement.sent, and sets the timer
// that repeats it.
func (cl *Client) sendAnnouncement(n *NHS) {
	a := &n.Announcement
	a.sentNBMA = cl.Local
	cl.Timers.Set(&a.timer, cl.Now.Add(cl.retryWait(a.attempts)))
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       overlay.HopCount,
		Flags:          packet.FlagNAT,
		RequestID:      a.RequestID,
		SourceNBMA:     cl.Local,
		SourceProtocol: cl.Address(),
		DestProtocol:   n.Protocol,
		Extensions:     cl.EmptyExtensions(overlay.NATCIE(n.Protocol, n.NBMA)),
	}
	for _, prefix := range a.Sent {
		p.CIEs = append(p.CIEs, packet.CIE{
			PrefixLength: uint8(prefix.Bits()),
			MTU:          cl.Config.MTU,
			HoldingTime:  overlay.Seconds(cl.Config.HoldingTime),
			Protocol:     prefix.Addr(),
		})
	}
	cl.Send(n.NBMA, &p)
}

// announceDue repeats a request that the NHS has not answered, at growing intervals of up to a
// minute. Silence may mean that the NHS does not support the registration of prefixes, but packets
// may also have been lost, and then the NHS sends nobody to the networks behind us. One attempt a
// minute is not too often to find out.
func (cl *Client) announceDue(n *NHS) {
	a := &n.Announcement
	a.attempts++
	if !n.Usable() || !cl.Local.IsValid() {
		cl.StopAnnouncing(n)
		return
	}
	if a.attempts == TriesPerAddr && len(a.held) == 0 {
		cl.announcementUnheard(n, a.Sent,
			"the NHS does not answer the registration of our prefixes: it may know none; trying on")
	}
	cl.sendAnnouncement(n)
}

// announcementAnswered takes the reply of an NHS, which has a code for each prefix.
func (cl *Client) announcementAnswered(n *NHS, m *overlay.Message) {
	a := &n.Announcement
	cl.StopAnnouncing(n)
	before, told := a.held, a.err
	a.held, a.err, a.refresh = nil, "", cl.Now.Add(cl.Config.HoldingTime/4)
	refused := make(map[packet.Code][]netip.Prefix)
	for i := range m.CIEs {
		cie := &m.CIEs[i]
		prefix, ok := cie.PrefixOf(m.ClientOf(cie))
		switch {
		case !ok || !slices.Contains(a.Sent, prefix):
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
			a.err = told
			cl.announcementUnheard(n, refused[code], reason)
		case packet.CodeNoBinding:
			a.err = told
			cl.announcementUnheard(n, refused[code], reason)
			cl.registerUnknown(n)
			return
		default:
			cl.AnnouncementRefused(n, refused[code], reason)
		}
	}
	a.unknown = 0
}

// registerUnknown registers our address again soon, with an NHS that accepted the address and then
// answered that it does not know us: our binding there has ended meanwhile.
func (cl *Client) registerUnknown(n *NHS) {
	cl.registerIn(n, cl.retryWait(n.Announcement.unknown))
	n.Announcement.unknown++
}

// AnnouncementRefused asks an NHS no more for prefixes until announceAgain has passed.
func (cl *Client) AnnouncementRefused(n *NHS, prefixes []netip.Prefix, reason string) {
	a := &n.Announcement
	a.again = cl.Now.Add(AnnounceAgain)
	a.Refused = append(a.Refused, prefixes...)
	cl.announcementUnheard(n, prefixes, reason)
}

// announcementUnheard reports that an NHS does not have some of our prefixes. It reports the same
// reason only once.
func (cl *Client) announcementUnheard(n *NHS, prefixes []netip.Prefix, reason string) {
	err := reason + " " + prefixes[0].String()
	if n.Announcement.err == err {
		return
	}
	n.Announcement.err = err
	for _, p := range prefixes {
		cl.Notice(
			output.Notice{Kind: output.NoticeRefused, Prefix: p, NextHop: n.Protocol, NBMA: n.NBMA,
				Reason: reason},
		)
	}
}

// StopAnnouncing ends the wait for a reply, which has come or is not wanted any more.
func (cl *Client) StopAnnouncing(n *NHS) {
	n.Announcement.Awaiting = false
	cl.Timers.Stop(&n.Announcement.timer)
}

// forgetAnnouncement forgets which prefixes an NHS accepted and refused: the NHS may have forgotten
// our prefixes, or another router may be the NHS now.
func (cl *Client) forgetAnnouncement(n *NHS) {
	cl.StopAnnouncing(n)
	a := &n.Announcement
	a.held, a.Refused, a.again, a.err = nil, nil, time.Time{}, ""
}

// AnnounceAnew applies changed prefixes in the configuration: it takes back those that are
// configured no longer, and registers the others.
func (cl *Client) AnnounceAnew(n *NHS) {
	a := &n.Announcement
	gone := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(cl.Config.Announce, p) })
	kept := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(gone, p) })
	if len(gone) > 0 && n.Usable() && cl.Local.IsValid() {
		cl.Purges.SendPurgeRequest(n.Protocol, n.NBMA, a.RequestID, packet.PurgeNoReply, gone...)
	}
	cl.forgetAnnouncement(n)
	a.held = kept
	if n.Usable() && cl.Local.IsValid() {
		cl.announce(n)
	}
}
