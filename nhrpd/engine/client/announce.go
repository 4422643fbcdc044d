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
func (r *Registration) announce() {
	a := &r.announcement
	if a.awaiting && a.attempts < TriesPerAddr {
		return
	}
	if !r.cl.Now.Before(a.again) {
		a.refused = nil
	}
	a.sent = nil
	for _, p := range r.announced() {
		if !slices.Contains(a.refused, p) {
			a.sent = append(a.sent, p)
		}
	}
	if len(a.sent) == 0 {
		return
	}
	a.awaiting, a.attempts, a.requestID = true, 0, r.cl.NewRequestID()
	r.sendAnnouncement()
}

// announced returns the prefixes that we announce in the family of the registration.
func (r *Registration) announced() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(r.cl.Config.Announce),
		func(p netip.Prefix) bool { return p.Addr().Is4() != r.own.Is4() })
}

// sendAnnouncement sends the request with the prefixes in r.announcement.sent, and sets the timer
// that repeats it.
func (r *Registration) sendAnnouncement() {
	a := &r.announcement
	a.sentNBMA = r.cl.LocalFor(r.NBMA)
	r.cl.Timers.Set(&a.timer, r.cl.Now.Add(r.cl.retryWait(a.attempts)))
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       overlay.HopCount,
		Flags:          packet.FlagNAT,
		RequestID:      a.requestID,
		SourceNBMA:     a.sentNBMA,
		SourceProtocol: r.own,
		DestProtocol:   r.Protocol,
		Extensions:     r.cl.EmptyExtensions(overlay.NATCIE(r.Protocol, r.NBMA)),
	}
	for _, prefix := range a.sent {
		p.CIEs = append(p.CIEs, packet.CIE{
			PrefixLength: uint8(prefix.Bits()),
			MTU:          r.cl.Config.MTU,
			HoldingTime:  overlay.Seconds(r.cl.Config.HoldingTime),
			Protocol:     prefix.Addr(),
		})
	}
	r.cl.Send(r.ID(), &p)
}

// announcementDue repeats a request that the NHS has not answered, at growing intervals of up to a
// minute. Perhaps the NHS does not support the registration of prefixes. But perhaps packets were
// lost, and then the NHS sends no traffic to the networks behind us, so the attempts go on.
func (r *Registration) announcementDue() {
	a := &r.announcement
	a.attempts++
	if !r.Usable() || !r.cl.LocalFor(r.NBMA).IsValid() {
		r.stopAnnouncing()
		return
	}
	if a.attempts == TriesPerAddr && len(a.held) == 0 {
		r.reportNotAnnounced(a.sent,
			"the NHS does not answer the registration of our prefixes: it may know none; trying on")
	}
	r.sendAnnouncement()
	r.answered()
}

// announcementAnswered handles the reply of an NHS, which has a code for each prefix.
func (r *Registration) announcementAnswered(m *overlay.Message) {
	a := &r.announcement
	r.stopAnnouncing()
	defer r.answered()
	before, reported := a.held, a.err
	a.held, a.err, a.refresh = nil, "", r.cl.Now.Add(r.cl.Config.HoldingTime/4)
	refused := make(map[packet.Code][]netip.Prefix)
	for i := range m.CIEs {
		cie := &m.CIEs[i]
		r.cl.CountRegistration(cie.Code)
		prefix, ok := cie.PrefixOf(m.ClientOf(cie))
		switch {
		case !ok || !slices.Contains(a.sent, prefix):
			r.cl.Drop(overlay.DropUnsolicited)
		case cie.Code == packet.CodeSuccess:
			a.held = append(a.held, prefix)
			if !slices.Contains(before, prefix) {
				r.cl.Notice(output.Notice{Kind: output.NoticeAnnounced, Prefix: prefix,
					NextHop: r.Protocol, Peer: r.ID()})
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
			r.reportNotAnnounced(refused[code], reason)
		case packet.CodeNoBinding:
			a.err = reported
			r.reportNotAnnounced(refused[code], reason)
			r.registerAgainSoon()
			return
		default:
			r.announcementRefused(refused[code], reason)
		}
	}
	a.unknown = 0
}

// registerAgainSoon registers our address again with an NHS that accepted the address, and later
// replied that it does not know us: our binding there has ended meanwhile.
func (r *Registration) registerAgainSoon() {
	r.registerIn(r.cl.retryWait(r.announcement.unknown))
	r.announcement.unknown++
}

// announcementRefused leaves prefixes out of the requests to an NHS until AnnounceAgain has passed.
func (r *Registration) announcementRefused(prefixes []netip.Prefix, reason string) {
	a := &r.announcement
	a.again = r.cl.Now.Add(AnnounceAgain)
	a.refused = append(a.refused, prefixes...)
	r.reportNotAnnounced(prefixes, reason)
}

// reportNotAnnounced reports that an NHS does not have some of our prefixes. It reports the same
// reason only once in a row.
func (r *Registration) reportNotAnnounced(prefixes []netip.Prefix, reason string) {
	err := reason + " " + prefixes[0].String()
	if r.announcement.err == err {
		return
	}
	r.announcement.err = err
	for _, p := range prefixes {
		r.cl.Notice(
			output.Notice{Kind: output.NoticeRefused, Prefix: p, NextHop: r.Protocol, Peer: r.ID(),
				Reason: reason},
		)
	}
}

// stopAnnouncing ends the wait for a reply, which has come or is not needed any more.
func (r *Registration) stopAnnouncing() {
	r.announcement.awaiting = false
	r.cl.Timers.Stop(&r.announcement.timer)
}

// forgetAnnouncement forgets which prefixes an NHS accepted and refused: the NHS may have forgotten
// our prefixes, or another router may be the NHS now.
func (r *Registration) forgetAnnouncement() {
	r.stopAnnouncing()
	a := &r.announcement
	a.held, a.refused, a.again, a.err = nil, nil, time.Time{}, ""
}

// AnnounceAnew applies changed prefixes in the configuration to an NHS: it takes back those that
// are not configured any more, and registers the others.
func (r *Registration) AnnounceAnew() {
	a := &r.announcement
	gone := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(r.cl.Config.Announce, p) })
	kept := slices.DeleteFunc(slices.Clone(a.held),
		func(p netip.Prefix) bool { return slices.Contains(gone, p) })
	if len(gone) > 0 && r.Usable() && r.cl.LocalFor(r.NBMA).IsValid() {
		r.cl.Purges.SendUnconfirmed(&purge.Request{
			ID:       a.requestID,
			Dest:     r.Protocol,
			Peer:     r.ID(),
			Prefixes: gone,
		})
	}
	r.forgetAnnouncement()
	a.held = kept
	if r.Usable() && r.cl.LocalFor(r.NBMA).IsValid() {
		r.announce()
	}
}
