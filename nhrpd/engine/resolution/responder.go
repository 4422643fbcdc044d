package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
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
		m.Flags&packet.ResolutionAuthoritative == 0 && rs.Peers.Secured(b.Peer) {
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
		return rs.Peers.ObjectToDirect(p.Peer)
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
			Peer:     m.From,
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
	peer, nat := rs.requesterOf(m)
	if other := rs.otherVersion(m); other.IsValid() {
		peer, nat = rs.Neighbors.PeerIDOf(m.SourceProtocol, other), true
	}
	if !rs.Client.PeerAddress(peer) || rs.Server.Announced.BehindClient(peer) {
		rs.Drop(overlay.DropWrongFamily)
		rs.refuse(m, packet.CodeProhibited)
		return
	}
	if rs.authority.divertsAnswer(m, peer) {
		rs.prohibit(m, sourceOfOther)
		return
	}
	if o := rs.Peers.ObjectToPath(peer, m.SourceProtocol); o.Raised() {
		rs.prohibit(m, o)
		return
	}
	a := rs.answerFor(m, prefix, peer, netip.Addr{})
	if a == nil {
		rs.Drop(overlay.DropTableFull)
		rs.refuseForResources(m)
		return
	}
	a.unclear = peer != m.From && rs.Neighbors.Ambiguous(m.SourceProtocol, peer)
	if rs.Peers.Vouches(m.From) {
		rs.admitAsker(a, admission.As{Shared: peer != m.From})
	}
	rs.giveOrWait(a, m, nat)
}

// giveOrWait gives the answer to a request at once, if the requester has an SA or has to make it.
// Otherwise the request waits for the SA. The requester is behind NAT if nat is true.
func (rs *Responder) giveOrWait(a *Answer, m *overlay.Message, nat bool) {
	switch {
	case rs.Config.Protected && rs.Peers.Secured(a.Peer) && !a.unclear:
		rs.give(a, m, a.Peer)
	case !rs.Config.Protected && !nat:
		rs.give(a, m, a.Peer)
	case nat:
		// The requester is behind NAT, so it has to dial, and it needs the answer to do so. If this
		// router is behind NAT too, it dials as well: the two NATs may let that pass.
		dial := rs.Client.BehindNAT(rs.Peers.Outer(a.Peer)) && !a.unclear
		rs.Peers.Refer(&a.Ref, rs.Peers.At(a.Peer), peers.ForAnswer, dial)
		rs.give(a, m, m.From)
		rs.Peers.AdmitVisitors(a.Peer)
	default:
		rs.keepWaiting(a, m)
	}
}

// otherVersion returns the NBMA address at which this router can reach a requester that named
// itself by an address of an IP version that this router lacks, or that does not work here. It is
// zero if the requester has none, or can be reached as it named itself. No NHS has seen the
// requester at that address, so NAT may be in front of it: the requester dials, as one behind NAT
// does. Only a router that is trusted to pass packets on vouches for the requester that has this
// address.
func (rs *Responder) otherVersion(m *overlay.Message) netip.Addr {
	other := m.OtherNBMA()
	if !rs.Config.Protected || !other.IsValid() || overlay.InThisNetwork(other) ||
		rs.LocalFor(m.SourceNBMA).IsValid() && !rs.Client.VersionFails(m.SourceNBMA) ||
		!rs.LocalFor(other).IsValid() ||
		!rs.authority.trustsRelay(m.From) {
		return netip.Addr{}
	}
	return other
}

// requesterOf returns the peer that the requester is, and whether the requester is behind NAT.
func (rs *Responder) requesterOf(m *overlay.Message) (peerid.ID, bool) {
	ext := m.Extension(packet.ExtensionForwardTransit)
	direct := ext != nil && len(ext.CIEs) == 0 && !rs.Peers.IsNHS(m.From)
	nbma := overlay.NATAddress(m.Packet, m.SourceProtocol)
	switch {
	case direct && (!nbma.IsValid() || nbma == rs.Peers.Outer(m.From)):
		return m.From, !rs.Direct(m)
	case nbma.IsValid():
		return rs.Neighbors.PeerIDOf(m.SourceProtocol, nbma), nbma != m.SourceNBMA
	}
	return peerid.At(m.SourceNBMA), false
}

// sendAnswer turns the request into the reply (RFC 2332 §5.2.2) and sends the reply to a peer. If
// the answer is for an address of the requester's of the other IP version than those in the packet,
// the reply names this router by its own address of that version only.
func (rs *Responder) sendAnswer(a *Answer, m *overlay.Message, to peerid.ID) {
	cie := rs.OwnCIE(m.SourceProtocol, m.SourceNBMA)
	cie.PrefixLength = uint8(a.Prefix.Bits())
	if outer := rs.Peers.Outer(a.Peer); outer.IsValid() && outer.Is4() != m.SourceNBMA.Is4() {
		cie.NBMA = netip.Addr{}
	}
	nat := m.Extension(packet.ExtensionNATAddress)
	switch public := rs.Client.Public(m.SourceNBMA); {
	case nat != nil:
		nat.CIEs = rs.Client.PublicCIE(m.SourceProtocol, m.SourceNBMA)
	case public.IsValid():
		cie.NBMA = public
	}
	m.Flags |= packet.ResolutionAuthoritative | packet.ResolutionDestStable
	rs.answerVendor(m)
	rs.reply(m, cie, to)
}

// answerVendor answers our vendor-private extension in a request: this router answers probes if the
// requester would send some, and has an address of the other IP version.
func (rs *Responder) answerVendor(m *overlay.Message) {
	ext, kind := m.Vendor()
	switch kind {
	case packet.VendorOffer:
		kind = packet.VendorAccept
	case packet.VendorRequester:
		kind = packet.VendorResponder
	default:
		return
	}
	ext.Data = packet.VendorData(kind, rs.Client.OtherNBMA(m.SourceNBMA))
}

// answerFromMap answers for a router that has a static map and does not register. The answer is
// remembered, so that it can be taken back when the map changes.
func (rs *Responder) answerFromMap(m *overlay.Message, b *server.Binding) {
	if !rs.Understood(m) {
		return
	}
	peer, _ := rs.requesterOf(m)
	if rs.authority.divertsAnswer(m, peer) {
		rs.prohibit(m, sourceOfOther)
		return
	}
	mapped := rs.Peers.Outer(b.Peer)
	a := rs.answerFor(m, overlay.HostPrefix(b.Protocol), peer, mapped)
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
		NBMA:         mapped,
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

// reply turns the request into a reply with one CIE and sends the reply to a peer.
func (rs *Responder) reply(m *overlay.Message, cie packet.CIE, to peerid.ID) {
	m.Type = packet.ResolutionReply
	m.HopCount = overlay.HopCount
	m.CIEs = rs.CIEList(nil, cie)
	rs.FillResponder(m)
	rs.requester.Questions.noteReplied(to, m)
	if ext := m.Extension(packet.ExtensionReverseTransit); ext != nil {
		ext.CIEs = nil
	}
	rs.Send(to, m.Packet)
}
