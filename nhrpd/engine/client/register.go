package client

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// sendRegistration sends a Registration Request in the form that Cisco's routers use: the CIE has
// no addresses, and the addresses of the header hold for it.
func (cl *Client) sendRegistration(n *NHS) {
	own := cl.Address()
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       overlay.HopCount,
		Flags:          packet.FlagNAT,
		RequestID:      n.requestID,
		SourceNBMA:     cl.Local,
		SourceProtocol: own,
		DestProtocol:   n.Protocol,
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
	nhsCIE := overlay.NATCIE(n.Protocol, n.NBMA)
	if !n.Protocol.IsValid() {
		p.DestProtocol = cl.unknownDestination(n.silent)
		nhsCIE = overlay.NATCIE(overlay.Unspecified(own), n.NBMA)
	}
	p.CIEs = []packet.CIE{cie}
	p.Extensions = cl.EmptyExtensions(nhsCIE)
	cl.Send(n.NBMA, &p)
}

// RegistrationReply handles a Registration Reply from an NHS, about our address or our prefixes.
// The NHS has to send it to us directly (RFC 2332 §5.2.4).
func (cl *Client) RegistrationReply(m *overlay.Message) {
	if m.SourceProtocol != cl.Address() {
		cl.Drop(overlay.DropNotForUs)
		return
	}
	for _, n := range cl.NHS {
		if n.awaiting && n.requestID == m.RequestID &&
			n.NBMA == m.From && n.sentNBMA == m.SourceNBMA {
			cl.registrationAnswered(n, m)
			return
		}
		if a := &n.announcement; a.awaiting && a.requestID == m.RequestID &&
			n.NBMA == m.From && a.sentNBMA == m.SourceNBMA {
			cl.announcementAnswered(n, m)
			return
		}
	}
	cl.Drop(overlay.DropUnsolicited)
}

// registrationAnswered handles the reply to the registration of our address.
func (cl *Client) registrationAnswered(n *NHS, m *overlay.Message) {
	if len(m.CIEs) == 0 {
		cl.Drop(overlay.DropMalformed)
		return
	}
	n.awaiting, n.silent, n.quiet = false, 0, 0
	if cie := &m.CIEs[0]; cie.Code != packet.CodeSuccess {
		cl.registrationRefused(n, cie.Code, n.whyRefused(m, cie.Code))
		return
	}
	first, before := !n.Registered, n.Protocol
	holding := cl.Config.HoldingTime
	if s := m.CIEs[0].HoldingTime; s > 0 {
		holding = min(holding, time.Duration(s)*time.Second)
	}
	n.Registered, n.refused, n.attempts, n.err = true, false, 0, ""
	n.since, n.expires = cl.Now, cl.Now.Add(holding)
	cl.registerIn(n, cl.Jittered(cl.refreshWait(holding), refreshJitter))
	cl.nhsUnusable(n, cl.learnNHS(n, m))
	if o := cl.objectToNHS(n); o.Raised() {
		n.Protocol = n.Config.Protocol
		cl.denyNHS(n, o)
		return
	}
	if n.Protocol.IsValid() {
		cl.Neighbors.Want(&n.neighbor, neighbors.RankNHS, n.Protocol, n.NBMA)
		cl.Parts.EndSearchFor(n.Protocol)
	}
	if first || n.Protocol != before {
		cl.StateChanged()
	}
	if first {
		cl.Purges.Repeat()
		cl.Notice(
			output.Notice{Kind: output.NoticeRegistered, Prefix: overlay.HostPrefix(cl.Address()),
				NextHop: n.Protocol, NBMA: n.NBMA},
		)
	}
	cl.learnPublic(n, overlay.NATAddress(m.Packet, cl.Address()))
	if first {
		cl.Parts.HaveAllVouched()
	}
	if n.Protocol.IsValid() && !n.announcedRecently(cl.Now) {
		cl.announce(n)
	}
}

// registrationRefused handles a negative reply: the NHS has no binding for us. We register again,
// at growing intervals.
func (cl *Client) registrationRefused(n *NHS, code packet.Code, why string) {
	reason := "the NHS refuses our registration: " + why
	if n.err != reason {
		n.err = reason
		cl.Notice(
			output.Notice{Kind: output.NoticeRefused, Prefix: overlay.HostPrefix(cl.Address()),
				NextHop: n.Protocol, NBMA: n.NBMA, Reason: reason},
		)
	}
	n.Registered, n.refused = false, true
	cl.forgetAnnouncement(n)
	n.attempts++
	cl.registerIn(n, cl.retryWait(n.attempts))
}

// nhsUnusable records and reports why no packet can be sent to an NHS that registered us. An empty
// reason means that packets can be sent to it.
func (cl *Client) nhsUnusable(n *NHS, why string) {
	n.err = why
	if why != "" && n.unusable != why {
		cl.Notice(output.Notice{Kind: output.NoticeUnusable, NBMA: n.NBMA, Reason: why})
	}
	n.unusable = why
}

// learnNHS learns the overlay address of an NHS if the configuration has none. The address is the
// destination in the reply, or where that is our own address, the one in the Responder extension.
// If that cannot be the NHS's address, learnNHS returns why.
func (cl *Client) learnNHS(n *NHS, m *overlay.Message) string {
	if n.Config.Protocol.IsValid() {
		return ""
	}
	protocol := m.DestProtocol
	if protocol == cl.Address() {
		protocol = netip.Addr{}
		if ext := m.Extension(packet.ExtensionResponder); ext != nil && len(ext.CIEs) > 0 {
			protocol = ext.CIEs[0].Protocol
		}
	}
	switch o := cl.outsideOverlay(protocol); {
	case o != "":
		return o
	case !cl.ClientAddress(protocol):
		return ""
	}
	if o := cl.Prefixes.ObjectToHostRoute(protocol, n.NBMA); o.Raised() {
		return fmt.Sprintf("its overlay address %s cannot be reached: %s", protocol, o.Text)
	}
	n.Protocol = protocol
	return ""
}

// learnPublic records the NBMA address at which the NHS sees us. Behind NAT it differs from ours.
func (cl *Client) learnPublic(n *NHS, public netip.Addr) {
	if public == cl.Local {
		public = netip.Addr{}
	}
	if public == n.Public {
		return
	}
	moved := n.Public.IsValid()
	n.Public = public
	if moved {
		cl.Parts.EndDirectPaths()
		cl.registerWithOthers(n)
		cl.Parts.ConfirmShortcuts()
	}
	if public.IsValid() {
		cl.Notice(output.Notice{Kind: output.NoticeNAT, NextHop: n.Protocol, NBMA: public,
			Reason: "the NHS sees us at another address than our own: we are behind NAT"})
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
	r := cl.OverlayRange()
	if !cl.SameFamily(protocol) || !r.IsValid() || r.Contains(protocol) {
		return ""
	}
	return fmt.Sprintf(
		"its overlay address %s is outside our overlay %s: compare address and overlay of both routers",
		protocol,
		r,
	)
}

// whyRefused returns the text of a reply's code, and what else the reply shows about the cause.
func (n *NHS) whyRefused(m *overlay.Message, code packet.Code) string {
	own := n.cl.Address()
	switch {
	case code == packet.CodeUniqueRegistered:
		return fmt.Sprintf("%s: another router has our overlay address %s there", code, own)
	case code == packet.CodeProhibited && m.DestProtocol != own:
		if o := n.cl.outsideOverlay(m.DestProtocol); o != "" {
			return fmt.Sprintf("%s: %s", code, o)
		}
	}
	return code.String()
}

// RegistrationFailed applies an Error Indication to the registration of our address or prefixes
// that has the request ID id. It reports whether there is one, and the error comes from its NHS.
func (cl *Client) RegistrationFailed(m *overlay.Message, id uint32, reason string) bool {
	for _, n := range cl.NHS {
		switch a := &n.announcement; {
		case !n.reported(m):
		case n.awaiting && n.requestID == id:
			n.err, n.errorReported = reason, true
			return true
		case a.awaiting && a.requestID == id:
			cl.stopAnnouncing(n)
			cl.announcementRefused(n, a.sent, "the NHS does not take our prefixes: "+reason)
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
func (n *NHS) reported(m *overlay.Message) bool {
	switch {
	case n.NBMA != m.From:
		return false
	case m.SourceProtocol == n.cl.Address():
		return true
	case n.Protocol.IsValid():
		return m.SourceProtocol == n.Protocol
	}
	return n.cl.Direct(m)
}
