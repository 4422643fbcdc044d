package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/packet"
)

// ResolutionRequest handles a resolution request (RFC 2332 §5.3.1). If packets to its destination
// leave the DMVPN at this router, this router answers the request. Otherwise it forwards the
// request.
func (rs *Responder) ResolutionRequest(m *overlay.Message) {
	if !m.SourceNBMA.IsValid() {
		rs.Drop(overlay.DropWrongFamily)
		return
	}
	if !m.DestProtocol.IsGlobalUnicast() {
		rs.transit.rejectUnreachable(m, overlay.DropUnreachable)
		return
	}
	if o := rs.objectToResolving(m); o.Raised() {
		rs.prohibit(m, o)
		return
	}
	if prefix, ours := rs.Neighbors.Egress(m.DestProtocol); ours {
		rs.respond(m, prefix)
		return
	}
	if b := rs.Server.Bindings[m.DestProtocol]; b != nil && b.Static &&
		m.Flags&packet.ResolutionAuthoritative == 0 && rs.Peers.Secured(b.NBMA) {
		rs.answerFromMap(m, b)
		return
	}
	rs.transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
}

// objectToResolving objects to a request if its sender may not have an answer that leads to a
// direct path. The sender may not be authorized at all, or it may have no direct path; or the
// router that the request would go on to may have none.
func (rs *Responder) objectToResolving(m *overlay.Message) objection.Objection {
	if o := rs.Peers.ObjectTo(m.From); o.Raised() {
		return o
	}
	if o := rs.Peers.ObjectToDirect(m.From); o.Raised() {
		return o
	}
	if p, err := rs.Neighbors.PathTo(m.DestProtocol); err == neighbors.PathOK {
		return rs.Peers.ObjectToDirect(p.NBMA)
	}
	return objection.Objection{}
}

// prohibit refuses a resolution request that the rules or blocks do not allow, or that names
// another router's overlay address as its source.
func (rs *Responder) prohibit(m *overlay.Message, o objection.Objection) {
	rs.Drop(overlay.DropProhibited)
	if rs.Limiters.Refusals.Allow(rs.Now, m.From) {
		rs.Notice(output.Notice{
			Kind:     output.NoticeRejected,
			Prefix:   overlay.HostPrefix(m.DestProtocol),
			NextHop:  m.SourceProtocol,
			NBMA:     m.From,
			Identity: rs.Peers.Identity(m.From),
			Reason:   "resolution refused: " + o.Text,
		})
	}
	if rs.Understood(m) {
		rs.refuse(m, o.Code())
	}
}

// respond answers a request whose destination leaves the DMVPN at this router. It answers at once,
// or when the SA with the requester is up.
func (rs *Responder) respond(m *overlay.Message, prefix netip.Prefix) {
	if !rs.Understood(m) {
		return
	}
	if m.Flags&packet.ResolutionUnique != 0 {
		prefix = overlay.HostPrefix(m.DestProtocol) // RFC 2332 §5.2.1: the host's length
	}
	nbma, nat := rs.requesterOf(m)
	if !rs.Client.PeerAddress(nbma) || rs.Server.BehindClient(nbma) {
		rs.Drop(overlay.DropWrongFamily)
		rs.refuse(m, packet.CodeProhibited)
		return
	}
	if rs.authority.divertsAnswer(m, nbma) {
		rs.prohibit(m, sourceOfOther)
		return
	}
	if o := rs.Peers.ObjectToPath(nbma, m.SourceProtocol); o.Raised() {
		rs.prohibit(m, o)
		return
	}
	a := rs.answerFor(m, prefix, nbma, netip.Addr{})
	if a == nil {
		rs.Drop(overlay.DropTableFull)
		rs.refuseForResources(m)
		return
	}
	a.unclear = nbma != m.From && rs.Neighbors.Ambiguous(m.SourceProtocol, nbma)
	if rs.Peers.Vouches(m.From) {
		rs.admitAsker(a, admission.As{Shared: nbma != m.From})
	}
	rs.giveOrWait(a, m, nat)
}

// giveOrWait gives the answer to a request at once, if the requester has an SA or has to make it.
// Otherwise the request waits for the SA. The requester is behind NAT if nat is true.
func (rs *Responder) giveOrWait(a *Answer, m *overlay.Message, nat bool) {
	switch {
	case rs.Config.Protected && rs.Peers.Secured(a.NBMA) && !a.unclear:
		rs.give(a, m, a.NBMA)
	case !rs.Config.Protected && !nat:
		rs.give(a, m, a.NBMA)
	case nat:
		// The requester is behind NAT, so it has to dial, and it needs the answer to do so. If this
		// router is behind NAT too, it dials as well: the two NATs may let that pass.
		dial := rs.Client.BehindNAT() && !a.unclear
		rs.Peers.Refer(&a.Ref, rs.Peers.At(a.NBMA), peers.ForAnswer, dial)
		rs.give(a, m, m.From)
		rs.Peers.AdmitVisitors(a.NBMA)
	default:
		rs.keepWaiting(a, m)
	}
}

// requesterOf returns the NBMA address at which the requester can be reached, and whether the
// requester is behind NAT.
func (rs *Responder) requesterOf(m *overlay.Message) (netip.Addr, bool) {
	ext := m.Extension(packet.ExtensionForwardTransit)
	direct := ext != nil && len(ext.CIEs) == 0 && !rs.Peers.IsNHS(m.From)
	nbma := overlay.NATAddress(m.Packet, m.SourceProtocol)
	switch {
	case direct && (!nbma.IsValid() || nbma == rs.Peers.Outer(m.From)):
		return m.From, !rs.Direct(m)
	case nbma.IsValid():
		return rs.Neighbors.PeerIDOf(m.SourceProtocol, nbma), nbma != m.SourceNBMA
	}
	return m.SourceNBMA, false
}

// sendAnswer turns the request into the reply (RFC 2332 §5.2.2) and sends the reply.
func (rs *Responder) sendAnswer(m *overlay.Message, prefix netip.Prefix, to netip.Addr) {
	cie := rs.OwnCIE()
	cie.PrefixLength = uint8(prefix.Bits())
	nat := m.Extension(packet.ExtensionNATAddress)
	switch public := rs.Client.Public(); {
	case nat != nil:
		nat.CIEs = rs.Client.PublicCIE()
	case public.IsValid():
		cie.NBMA = public
	}
	m.Flags |= packet.ResolutionAuthoritative | packet.ResolutionDestStable
	rs.reply(m, cie, to)
}

// answerFromMap answers for a router that has a static map and does not register. The answer is
// remembered, so that it can be taken back when the map changes.
func (rs *Responder) answerFromMap(m *overlay.Message, b *server.Binding) {
	if !rs.Understood(m) {
		return
	}
	nbma, _ := rs.requesterOf(m)
	if rs.authority.divertsAnswer(m, nbma) {
		rs.prohibit(m, sourceOfOther)
		return
	}
	a := rs.answerFor(m, overlay.HostPrefix(b.Protocol), nbma, b.NBMA)
	if a == nil {
		rs.Drop(overlay.DropTableFull)
		rs.refuseForResources(m)
		return
	}
	rs.renew(a)
	rs.Timers.Set(&a.Expiry, a.Expires)
	cie := packet.CIE{
		PrefixLength: uint8(b.Protocol.BitLen()),
		HoldingTime:  overlay.Seconds(rs.Config.HoldingTime),
		NBMA:         b.NBMA,
		Protocol:     b.Protocol,
	}
	if ext := m.Extension(packet.ExtensionNATAddress); ext != nil {
		ext.CIEs = nil
	}
	m.Flags &^= packet.ResolutionAuthoritative | packet.ResolutionDestStable
	rs.reply(m, cie, m.From)
}

// refuse answers a resolution request with a NAK. The NAK goes to the router that the request came
// from.
func (rs *Responder) refuse(m *overlay.Message, code packet.Code) {
	if ext := m.Extension(packet.ExtensionNATAddress); ext != nil {
		ext.CIEs = nil
	}
	m.Flags &^= packet.ResolutionDestStable
	rs.reply(m, packet.CIE{Code: code}, m.From)
}

// reply turns the request into a reply with one CIE and sends the reply to an NBMA address.
func (rs *Responder) reply(m *overlay.Message, cie packet.CIE, to netip.Addr) {
	m.Type = packet.ResolutionReply
	m.HopCount = overlay.HopCount
	m.CIEs = rs.CIEList(nil, cie)
	rs.FillResponder(m)
	if ext := m.Extension(packet.ExtensionReverseTransit); ext != nil {
		ext.CIEs = nil
	}
	rs.Send(to, m.Packet)
}
