package client

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// sendRegistration sends a Registration Request in the form that Cisco's routers use: the CIE has
// no addresses, and the addresses of the header hold for it.
func (cl *Client) sendRegistration(r *Registration) {
	own := r.own
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       overlay.HopCount,
		Flags:          packet.FlagNAT,
		RequestID:      r.requestID,
		SourceNBMA:     cl.LocalFor(r.NBMA),
		SourceProtocol: own,
		DestProtocol:   r.Protocol,
	}
	cie := packet.CIE{
		PrefixLength: uint8(own.BitLen()),
		MTU:          cl.Config.MTU,
		HoldingTime:  overlay.Seconds(cl.Config.HoldingTime),
	}
	if cl.Config.Unique {
		p.Flags |= packet.RegistrationUnique
		cie.PrefixLength = 255
	}
	nhsCIE := overlay.NATCIE(r.Protocol, r.NBMA)
	if !r.Protocol.IsValid() {
		p.DestProtocol = cl.unknownDestination(own, r.silent)
		nhsCIE = overlay.NATCIE(overlay.Unspecified(own), r.NBMA)
	}
	p.CIEs = []packet.CIE{cie}
	p.Extensions = cl.EmptyExtensions(nhsCIE)
	if other := cl.OtherNBMA(p.SourceNBMA); other.IsValid() {
		p.Extensions = append(p.Extensions,
			packet.VendorExtension(packet.VendorRequester, other))
	}
	cl.Send(r.ID(), &p)
}

// RegistrationReply handles a Registration Reply from an NHS, about our address or our prefixes.
// The NHS has to send it to us directly (RFC 2332 §5.2.4).
func (cl *Client) RegistrationReply(m *overlay.Message) {
	if !cl.IsOwn(m.SourceProtocol) {
		cl.Drop(overlay.DropNotForUs)
		return
	}
	for r := range cl.registrations() {
		if r.awaiting && r.requestID == m.RequestID &&
			r.ID() == m.From && r.sentNBMA == m.SourceNBMA {
			cl.registrationAnswered(r, m)
			return
		}
		if a := &r.announcement; a.awaiting && a.requestID == m.RequestID &&
			r.ID() == m.From && a.sentNBMA == m.SourceNBMA {
			r.announcementAnswered(m)
			return
		}
	}
	cl.Drop(overlay.DropUnsolicited)
}

// registrationAnswered handles the reply to the registration of our address.
func (cl *Client) registrationAnswered(r *Registration, m *overlay.Message) {
	if len(m.CIEs) == 0 {
		cl.Drop(overlay.DropMalformed)
		return
	}
	r.awaiting, r.silent, r.quiet, r.takenBack = false, 0, 0, false
	if !r.repeated { // otherwise nobody knows which of the requests was answered
		r.roundTrip = cl.Now.Sub(r.asked)
	}
	for i := range m.CIEs {
		cl.CountRegistration(m.CIEs[i].Code)
	}
	if cie := &m.CIEs[0]; cie.Code != packet.CodeSuccess {
		cl.registrationRefused(r, cie.Code, r.whyRefused(m, cie.Code))
		return
	}
	first, before := !r.Registered, r.Protocol
	holding := cl.Config.HoldingTime
	if s := m.CIEs[0].HoldingTime; s > 0 {
		holding = min(holding, time.Duration(s)*time.Second)
	}
	r.Registered, r.refused, r.attempts, r.err = true, false, 0, ""
	r.since, r.expires = cl.Now, cl.Now.Add(holding)
	r.registerIn(cl.Jittered(cl.refreshWait(holding), refreshJitter))
	cl.startLooking()
	cl.nhsUnusable(r, cl.learnNHS(r, m))
	if o := cl.objectToNHS(r); o.Raised() {
		r.Protocol = r.configured()
		r.denyNHS(o)
		return
	}
	if r.Protocol.IsValid() {
		cl.Timers.Stop(&r.grace)
		cl.Neighbors.Want(&r.neighbor, neighbors.RankNHS, r.Protocol, r.ID())
		r.takeNeighborOver()
		cl.Parts.EndSearchFor(r.Protocol)
	}
	if first || r.Protocol != before {
		cl.StateChanged()
	}
	if first {
		cl.Purges.Repeat()
		cl.Notice(
			output.Notice{Kind: output.NoticeRegistered, Prefix: r.ownPrefix(),
				NextHop: r.Protocol, Peer: r.ID(), Again: r.wasLost},
		)
		r.wasLost = false
	}
	cl.learnPublic(r, overlay.NATAddress(m.Packet, r.own))
	if first {
		cl.Parts.HaveAllVouched()
	}
	if r.Protocol.IsValid() && !r.announcedRecently(cl.Now) {
		r.announce()
	}
	r.answered()
}

// registrationRefused handles a negative reply: the NHS has no binding for us. We register again,
// at growing intervals.
//
// An NHS that refuses the refresh of a registration because it has no room asks us away. Our
// registration then holds until it expires. We use it until we are registered with another NHS:
// see goAway.
func (cl *Client) registrationRefused(r *Registration, code packet.Code, why string) {
	reason := "the NHS refuses our registration: " + why
	if r.err != reason {
		r.err = reason
		cl.Notice(
			output.Notice{Kind: output.NoticeRefused, Prefix: r.ownPrefix(),
				NextHop: r.Protocol, Peer: r.ID(), Reason: reason},
		)
	}
	r.refused = true
	if code != packet.CodeInsufficientResources || !cl.Now.Before(r.expires) {
		r.Registered = false
		r.forgetAnnouncement()
	}
	r.attempts++
	r.registerIn(cl.retryWait(r.attempts))
	r.fail()
}

// nhsUnusable records and reports why no packet can be sent to an NHS that registered us. An empty
// reason means that packets can be sent to it.
func (cl *Client) nhsUnusable(r *Registration, why string) {
	r.err = why
	if why != "" && r.unusable != why {
		cl.Notice(output.Notice{Kind: output.NoticeUnusable, Peer: r.ID(), Reason: why})
	}
	r.unusable = why
}

// learnNHS learns the overlay address of an NHS if the configuration has none. The address is the
// destination in the reply, or where that is our own address, the one in the Responder extension.
// If that cannot be the NHS's address, learnNHS returns why.
func (cl *Client) learnNHS(r *Registration, m *overlay.Message) string {
	if r.configured().IsValid() {
		return ""
	}
	protocol := m.DestProtocol
	if protocol == r.own {
		protocol = netip.Addr{}
		if ext := m.Extension(packet.ExtensionResponder); ext != nil && len(ext.CIEs) > 0 {
			protocol = ext.CIEs[0].Protocol
		}
	}
	switch o := cl.outsideOverlay(protocol); {
	case o != "":
		return o
	case !cl.ClientAddress(protocol) || protocol.Is4() != r.own.Is4():
		return ""
	}
	if o := cl.Prefixes.ObjectToHostRoute(protocol, r.ID()); o.Raised() {
		return fmt.Sprintf("its overlay address %s cannot be reached: %s", protocol, o.Text)
	}
	r.Protocol = protocol
	return ""
}

// learnPublic records the NBMA address at which the NHS sees us, as its reply to one registration
// says. Behind NAT that differs from ours. A reply that says nothing of NAT counts only if the last
// reply to the registration of the other family said nothing either.
func (cl *Client) learnPublic(r *Registration, public netip.Addr) {
	if public == cl.LocalFor(r.NBMA) {
		public = netip.Addr{}
	}
	r.translated = public.IsValid()
	if public == r.Public || r.siblings(func(o *Registration) bool { return o.translated }) &&
		!public.IsValid() {
		return
	}
	moved := r.Public.IsValid()
	r.NHS.Public = public
	if moved {
		cl.Parts.EndDirectPaths()
		cl.registerWithOthers(r.NHS)
		cl.Parts.ConfirmShortcuts()
	}
	if public.IsValid() {
		cl.Notice(output.Notice{Kind: output.NoticeNAT, NextHop: r.Protocol,
			Peer: peerid.At(public), Reason: "the NHS sees us at another address than our own: we are behind NAT"})
	}
}

// registerWithOthers registers again with the other NHSs when one of them has seen that our NAT
// address changed. They then learn the new address, and their replies report it back. Until then we
// might name the address that they reported before to the routers that we ask or answer.
func (cl *Client) registerWithOthers(moved *NHS) {
	for _, n := range cl.NHS {
		if n != moved && n.Usable() && n.Public.IsValid() && n.Public != moved.Public {
			cl.RegisterAnew(n)
		}
	}
}

// outsideOverlay returns a text that says that the overlay address of an NHS is not in our overlay.
// The text is empty if the address is in it, or if nobody knows the overlay's range.
func (cl *Client) outsideOverlay(protocol netip.Addr) string {
	r := cl.OverlayRange(protocol)
	if !r.IsValid() || r.Contains(protocol) {
		return ""
	}
	return fmt.Sprintf(
		"its overlay address %s is outside our overlay %s: compare address and overlay of both routers",
		protocol,
		r,
	)
}

// whyRefused returns the text of a reply's code, and what else the reply shows about the cause.
func (r *Registration) whyRefused(m *overlay.Message, code packet.Code) string {
	own := r.own
	switch {
	case code == packet.CodeInsufficientResources:
		return fmt.Sprintf("%s: it takes no further clients", code)
	case code == packet.CodeUniqueRegistered:
		return fmt.Sprintf("%s: another router has our overlay address %s there", code, own)
	case code == packet.CodeProhibited && m.DestProtocol != own:
		if o := r.cl.outsideOverlay(m.DestProtocol); o != "" {
			return fmt.Sprintf("%s: %s", code, o)
		}
	}
	if r.siblings((*Registration).Usable) {
		return fmt.Sprintf("%s: this is about %s only, and the NHS has registered our other "+
			"address: it may have no overlay address of this family, or no rule that gives us one",
			code, own)
	}
	return code.String()
}

// RegistrationFailed applies an Error Indication to the registration of our address or prefixes
// that has the request ID id. It reports whether there is one, and the error comes from its NHS.
func (cl *Client) RegistrationFailed(m *overlay.Message, id uint32, reason string) bool {
	for r := range cl.registrations() {
		switch a := &r.announcement; {
		case !r.reported(m):
		case r.awaiting && r.requestID == id:
			r.err, r.errorReported = reason, true
			return true
		case a.awaiting && a.requestID == id:
			r.stopAnnouncing()
			r.announcementRefused(a.sent, "the NHS does not take our prefixes: "+reason)
			return true
		}
	}
	return false
}

// reported reports whether an Error Indication about a registration comes from the NHS to which the
// registration went. Only that NHS answers registrations. Their IDs count up and can be guessed, so
// an error that the NHS passed on for another router may be forged.
//
// Some routers report an error with the requester's own overlay address as the source. An NHS
// passes such an error on for no other router.
func (r *Registration) reported(m *overlay.Message) bool {
	switch {
	case r.ID() != m.From:
		return false
	case m.SourceProtocol == r.own:
		return true
	case r.Protocol.IsValid():
		return m.SourceProtocol == r.Protocol
	}
	return r.cl.Direct(m)
}
