package engine

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/packet"
)

// sendRegistration sends a Registration Request in the form that Cisco's routers use: the CIE has
// no addresses, and the addresses of the header hold for it.
func (e *Engine) sendRegistration(n *nhs) {
	ifc, own := n.ifc, n.ifc.overlay()
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       hopCount,
		Flags:          packet.FlagNAT,
		RequestID:      n.requestID,
		SourceNBMA:     ifc.local,
		SourceProtocol: own,
		DestProtocol:   n.protocol,
	}
	cie := packet.CIE{
		PrefixLength: uint8(own.BitLen()),
		MTU:          ifc.cfg.MTU,
		HoldingTime:  seconds(ifc.cfg.HoldingTime),
	}
	if ifc.cfg.Unique {
		p.Flags |= packet.RegistrationUnique
		cie.PrefixLength = 255
	}
	nhsCIE := natCIE(n.protocol, n.nbma)
	if !n.protocol.IsValid() {
		p.DestProtocol = ifc.unknownNHS(n.silent)
		nhsCIE = natCIE(unspecified(own), n.nbma)
	}
	p.CIEs = []packet.CIE{cie}
	p.Extensions = ifc.emptyExtensions(nhsCIE)
	e.send(ifc, n.nbma, &p)
}

// unspecified returns the all-zero address of the same IP version as a.
func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// registrationReply takes a Registration Reply from an NHS, about our address or our prefixes. The
// NHS has to send it to us directly (RFC 2332 §5.2.4).
func (e *Engine) registrationReply(m *message) {
	if m.SourceProtocol != m.ifc.overlay() {
		e.drop(dropNotForUs)
		return
	}
	for _, n := range m.ifc.nhs {
		if n.awaiting && n.requestID == m.RequestID &&
			n.nbma == m.from && n.sentNBMA == m.SourceNBMA {
			e.registrationAnswered(n, m)
			return
		}
		if a := &n.announcement; a.awaiting && a.requestID == m.RequestID &&
			n.nbma == m.from && a.sentNBMA == m.SourceNBMA {
			e.announcementAnswered(n, m)
			return
		}
	}
	e.drop(dropUnsolicited)
}

// registrationAnswered takes the reply to the registration of our address.
func (e *Engine) registrationAnswered(n *nhs, m *message) {
	if len(m.CIEs) == 0 {
		e.drop(dropMalformed)
		return
	}
	n.awaiting, n.silent, n.quiet = false, 0, 0
	if cie := &m.CIEs[0]; cie.Code != packet.CodeSuccess {
		e.registrationRefused(n, cie.Code, n.whyRefused(m, cie.Code))
		return
	}
	first := !n.registered
	holding := n.ifc.cfg.HoldingTime
	if s := m.CIEs[0].HoldingTime; s > 0 {
		holding = min(holding, time.Duration(s)*time.Second)
	}
	n.registered, n.refused, n.attempts, n.err = true, false, 0, ""
	n.since, n.expires = e.now, e.now.Add(holding)
	e.registerIn(n, e.jittered(n.ifc.refreshWait(holding), refreshJitter))
	e.nhsUnusable(n, e.learnNHS(n, m))
	if o := e.objectToNHS(n); o.Raised() {
		n.protocol = n.cfg.Protocol
		e.denyNHS(n, o)
		return
	}
	if n.protocol.IsValid() {
		e.wantNeighbor(&n.neighbor, n.ifc, rankNHS, n.protocol, n.nbma)
		e.endSearchForNHS(n)
	}
	if first {
		e.repeatPurges(n.ifc)
		e.notice(n.ifc, Notice{Kind: NoticeRegistered, Prefix: hostPrefix(n.ifc.overlay()),
			NextHop: n.protocol, NBMA: n.nbma})
	}
	e.learnPublic(n, natAddress(m.Packet, n.ifc.overlay()))
	if first {
		for _, s := range inOrder(n.ifc.shortcuts, byPrefix) {
			e.haveVouched(s)
		}
	}
	if n.protocol.IsValid() && !n.announcedLately(e.now) {
		e.announce(n)
	}
}

// endSearchForNHS ends the shortcut or relay to the overlay address of an NHS. The engine may have
// begun one because the kernel missed that neighbour before the engine knew that the address is the
// NHS's.
func (e *Engine) endSearchForNHS(n *nhs) {
	if s := n.ifc.shortcuts[hostPrefix(n.protocol)]; s != nil {
		e.removeShortcut(s)
	}
	if r := n.ifc.relays[n.protocol]; r != nil {
		e.dropRelay(r)
	}
}

// registrationRefused takes a NAK: the NHS has no binding for us. We register again, at growing
// intervals.
func (e *Engine) registrationRefused(n *nhs, code packet.Code, why string) {
	reason := "the NHS refuses our registration: " + why
	if n.err != reason {
		n.err = reason
		e.notice(n.ifc, Notice{Kind: NoticeRefused, Prefix: hostPrefix(n.ifc.overlay()),
			NextHop: n.protocol, NBMA: n.nbma, Reason: reason})
	}
	n.registered, n.refused = false, true
	e.forgetAnnouncement(n)
	n.attempts++
	e.registerIn(n, e.retryWait(n.ifc, n.attempts))
}

// nhsUnusable records and reports why no packet can be sent to an NHS that registered us. An empty
// reason means that packets can be sent to it.
func (e *Engine) nhsUnusable(n *nhs, why string) {
	n.err = why
	if why != "" && n.unusable != why {
		e.notice(n.ifc, Notice{Kind: NoticeUnusable, NBMA: n.nbma, Reason: why})
	}
	n.unusable = why
}

// learnNHS learns the overlay address of an NHS if the configuration has none. The address is the
// destination in the reply, or where that is our own address, the one in the Responder extension.
// If that cannot be the NHS's address, learnNHS returns why.
func (e *Engine) learnNHS(n *nhs, m *message) string {
	if n.cfg.Protocol.IsValid() {
		return ""
	}
	protocol := m.DestProtocol
	if protocol == n.ifc.overlay() {
		protocol = netip.Addr{}
		if ext := m.Extension(packet.ExtensionResponder); ext != nil && len(ext.CIEs) > 0 {
			protocol = ext.CIEs[0].Protocol
		}
	}
	switch o := n.ifc.outsideOverlay(protocol); {
	case o != "":
		return o
	case !n.ifc.clientAddress(protocol):
		return ""
	}
	if o := e.objectToHostRoute(n.ifc, protocol, n.nbma); o.Raised() {
		return fmt.Sprintf("its overlay address %s cannot be reached: %s", protocol, o.Text)
	}
	n.protocol = protocol
	return ""
}

// learnPublic takes the NBMA address at which the NHS sees us, which differs from ours behind NAT.
func (e *Engine) learnPublic(n *nhs, public netip.Addr) {
	if public == n.ifc.local {
		public = netip.Addr{}
	}
	if public == n.public {
		return
	}
	moved := n.public.IsValid()
	n.public = public
	if moved {
		e.endDirectPaths(n.ifc)
		e.registerElsewhere(n)
		e.confirmShortcuts(n.ifc)
	}
	if public.IsValid() {
		e.notice(n.ifc, Notice{Kind: NoticeNAT, NextHop: n.protocol, NBMA: public,
			Reason: "the NHS sees us at another address than our own: we are behind NAT"})
	}
}

// registerElsewhere registers again with the other NHSs when one of them has seen that our NAT
// address changed. They then learn the new address, and their replies report it back. Until then we
// might name the address that they reported before to the routers that we ask or answer.
func (e *Engine) registerElsewhere(moved *nhs) {
	for _, n := range moved.ifc.nhs {
		if n != moved && n.usable() && n.public.IsValid() && n.public != moved.public {
			e.registerAnew(n)
		}
	}
}

// confirmShortcuts asks again for each shortcut in use: its next hop takes data only from the NBMA
// address that an NHS vouched for.
func (e *Engine) confirmShortcuts(ifc *iface) {
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		if s.state == ShortcutUp && !s.asking {
			e.askFor(s)
		}
	}
}

// outsideOverlay returns a text that says that the overlay address of an NHS is not in our overlay.
// The text is empty if the address is in it, or if nobody knows the overlay's range.
func (ifc *iface) outsideOverlay(protocol netip.Addr) string {
	r := ifc.overlayRange()
	if !ifc.onOverlay(protocol) || !r.IsValid() || r.Contains(protocol) {
		return ""
	}
	return fmt.Sprintf(
		"its overlay address %s is outside our overlay %s: compare address and overlay of both routers",
		protocol, r)
}

// whyRefused returns the text of a reply's code, and what else the reply shows about the cause.
func (n *nhs) whyRefused(m *message, code packet.Code) string {
	own := n.ifc.overlay()
	switch {
	case code == packet.CodeUniqueRegistered:
		return fmt.Sprintf("%s: another router has our overlay address %s there", code, own)
	case code == packet.CodeProhibited && m.DestProtocol != own:
		if o := n.ifc.outsideOverlay(m.DestProtocol); o != "" {
			return fmt.Sprintf("%s: %s", code, o)
		}
	}
	return code.String()
}
