package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// resolution handles a resolution request. If packets to its destination leave the DMVPN at this
// router, this router answers the request. Otherwise it forwards the request.
func (e *Engine) resolution(m *message) {
	if !m.SourceNBMA.IsValid() {
		e.drop(dropWrongFamily)
		return
	}
	if !m.DestProtocol.IsGlobalUnicast() {
		e.refuseTransit(m, dropUnreachable, packet.ErrorProtocolUnreachable, m.addressOffset())
		return
	}
	ifc := m.ifc
	if o := e.objectToResolving(m); o.Raised() {
		e.prohibit(m, o)
		return
	}
	if prefix, ours := e.egress(ifc, m.DestProtocol); ours {
		e.respond(m, prefix)
		return
	}
	if b := ifc.bindings[m.DestProtocol]; b != nil && b.static &&
		m.Flags&packet.ResolutionAuthoritative == 0 && ifc.secured(b.nbma) {
		e.answerFromMap(m, b)
		return
	}
	e.forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
}

// objectToResolving objects to a request if its sender may not have an answer that leads to a
// direct path. The sender may not be authorized at all, or it may have no direct path; or the
// router that the request would go on to may have none.
func (e *Engine) objectToResolving(m *message) objection.Objection {
	ifc := m.ifc
	if o := ifc.objectTo(m.from); o.Raised() {
		return o
	}
	if o := ifc.objectToDirect(m.from); o.Raised() {
		return o
	}
	if p, err := e.pathTo(ifc, m.DestProtocol); err == pathOK {
		return ifc.objectToDirect(p.nbma)
	}
	return objection.Objection{}
}

// prohibit refuses a resolution request that the rules or blocks do not allow, or that names
// another router's overlay address as its source.
func (e *Engine) prohibit(m *message, o objection.Objection) {
	e.drop(dropProhibited)
	if m.ifc.limits.refusals.Allow(e.now, m.from) {
		e.notice(m.ifc, Notice{
			Kind:     NoticeRejected,
			Prefix:   hostPrefix(m.DestProtocol),
			NextHop:  m.SourceProtocol,
			NBMA:     m.from,
			Identity: m.identity(),
			Reason:   "resolution refused: " + o.Text,
		})
	}
	if e.understood(m) {
		e.refuse(m, o.Code())
	}
}

// egress reports whether packets to dest leave the DMVPN at this router. It returns the prefix that
// may be answered for dest: that of the route, narrowed so that it hides no other route (RFC 2332
// §6.3).
func (e *Engine) egress(ifc *iface, dest netip.Addr) (netip.Prefix, bool) {
	host := hostPrefix(dest)
	if dest == ifc.overlay() {
		return host, true
	}
	t := e.table(ifc)
	_, err := e.pathTo(ifc, dest)
	if err != pathElsewhere {
		return host, t.IsLocal(dest)
	}
	return t.Answerable(dest), true
}

// respond answers a request whose destination leaves the DMVPN at this router. It answers at once,
// or when the SA with the requester is up.
func (e *Engine) respond(m *message, prefix netip.Prefix) {
	if !e.understood(m) {
		return
	}
	ifc := m.ifc
	if m.Flags&packet.ResolutionUnique != 0 {
		prefix = hostPrefix(m.DestProtocol) // RFC 2332 §5.2.1: with U set, the host's length
	}
	nbma, nat := m.requester()
	if !ifc.peerAddress(nbma) || e.behindClient(ifc, nbma) {
		e.drop(dropWrongFamily)
		e.refuse(m, packet.CodeProhibited)
		return
	}
	if e.misleads(m, nbma) {
		e.prohibit(m, anothersName)
		return
	}
	if o := ifc.objectToPath(nbma, m.SourceProtocol); o.Raised() {
		e.prohibit(m, o)
		return
	}
	a := e.answerFor(m, prefix, nbma)
	if a == nil {
		e.drop(dropTableFull)
		e.refuse(m, packet.CodeInsufficientResources)
		return
	}
	unclear := nbma != m.from && ifc.ambiguous(m.SourceProtocol, nbma)
	a.unclear = unclear
	if ifc.vouches(m.from) {
		e.admitAsker(a, admittedAs{shared: nbma != m.from})
	}
	switch {
	case ifc.cfg.Protected && ifc.secured(nbma) && !unclear:
		e.give(a, m, nbma)
	case !ifc.cfg.Protected && !nat:
		e.give(a, m, nbma)
	case nat:
		// The requester is behind NAT, so it has to dial, and it needs the answer to do so. If this
		// router is behind NAT too, it dials as well: the two NATs may let that pass.
		e.refer(&a.ref, e.peerAt(ifc, nbma), reasonAnswer, ifc.behindNAT() && !unclear)
		e.give(a, m, m.from)
		e.admitVisitors(ifc, nbma)
	default:
		e.keepWaiting(a, m)
	}
}

// requester returns the NBMA address at which the requester can be reached, and whether the
// requester is behind NAT.
func (m *message) requester() (netip.Addr, bool) {
	ext := m.Extension(packet.ExtensionForwardTransit)
	straight := ext != nil && len(ext.CIEs) == 0 && !m.ifc.isNHS(m.from)
	nbma := natAddress(m.Packet, m.SourceProtocol)
	switch {
	case straight && (!nbma.IsValid() || nbma == m.ifc.real(m.from)):
		return m.from, !m.direct()
	case nbma.IsValid():
		return m.ifc.nameOf(m.SourceProtocol, nbma), nbma != m.SourceNBMA
	}
	return m.SourceNBMA, false
}

// peerAddress reports whether an NBMA address can be another router's.
func (ifc *iface) peerAddress(nbma netip.Addr) bool {
	nbma = ifc.real(nbma)
	return !inThisNetwork(nbma) && nbma.IsValid() && nbma.Is4() == ifc.local.Is4() &&
		nbma != ifc.local && nbma != ifc.public() &&
		!nbma.IsUnspecified() && !nbma.IsMulticast() && !nbma.IsLoopback()
}

// sendAnswer turns the request into the reply (RFC 2332 §5.2.2) and sends the reply.
func (e *Engine) sendAnswer(m *message, prefix netip.Prefix, to netip.Addr) {
	ifc := m.ifc
	cie := ifc.ownCIE()
	cie.PrefixLength = uint8(prefix.Bits())
	nat := m.Extension(packet.ExtensionNATAddress)
	switch public := ifc.public(); {
	case nat != nil:
		nat.CIEs = ifc.publicCIE()
	case public.IsValid():
		cie.NBMA = public
	}
	m.Flags |= packet.ResolutionAuthoritative | packet.ResolutionDestStable
	e.reply(m, cie, to)
}

// answerFromMap answers for a router that has a static map and does not register. The answer is
// remembered, so that it can be taken back when the map changes.
func (e *Engine) answerFromMap(m *message, b *binding) {
	if !e.understood(m) {
		return
	}
	nbma, _ := m.requester()
	if e.misleads(m, nbma) {
		e.prohibit(m, anothersName)
		return
	}
	a := e.answerFor(m, hostPrefix(b.protocol), nbma)
	if a == nil {
		e.drop(dropTableFull)
		e.refuse(m, packet.CodeInsufficientResources)
		return
	}
	a.mapped = b.nbma
	a.expires = e.now.Add(m.ifc.cfg.HoldingTime)
	e.timers.Set(&a.expiry, a.expires)
	cie := packet.CIE{
		PrefixLength: uint8(b.protocol.BitLen()),
		HoldingTime:  seconds(m.ifc.cfg.HoldingTime),
		NBMA:         b.nbma,
		Protocol:     b.protocol,
	}
	if ext := m.Extension(packet.ExtensionNATAddress); ext != nil {
		ext.CIEs = nil
	}
	m.Flags &^= packet.ResolutionAuthoritative | packet.ResolutionDestStable
	e.reply(m, cie, m.from)
}

// refuse answers a resolution request with a NAK. The NAK goes to the router that the request came
// from.
func (e *Engine) refuse(m *message, code packet.Code) {
	if ext := m.Extension(packet.ExtensionNATAddress); ext != nil {
		ext.CIEs = nil
	}
	m.Flags &^= packet.ResolutionDestStable
	e.reply(m, packet.CIE{Code: code}, m.from)
}

// reply turns the request into a reply with one CIE and sends the reply to an NBMA address.
func (e *Engine) reply(m *message, cie packet.CIE, to netip.Addr) {
	m.Type = packet.ResolutionReply
	m.HopCount = hopCount
	m.CIEs = e.cieList(nil, cie)
	e.fillResponder(m)
	if ext := m.Extension(packet.ExtensionReverseTransit); ext != nil {
		ext.CIEs = nil
	}
	e.send(m.ifc, to, m.Packet)
}
