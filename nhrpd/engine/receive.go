package engine

import (
	"errors"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// receivedFrom handles a packet from a peer. The packets of a sender without an SA are held: see
// heldPacket.
func (ifc *iface) receivedFrom(from peerid.ID, data []byte) {
	switch {
	case ifc.Leaving:
		ifc.farewell(from, data)
	case ifc.Left || !ifc.Local.IsValid() || !from.IsValid():
		ifc.Drop(overlay.DropInactive)
	case ifc.peers.Separations.Separating(from):
		ifc.Drop(overlay.DropSeparating)
	case !ifc.peers.HeardFrom(from):
		ifc.NoteHeld()
		ifc.peers.Held.Add(from, data)
	default:
		ifc.receive(from, data)
	}
}

// receive handles a packet of a secured sender: it parses the packet, and drops what no handler may
// see.
func (ifc *iface) receive(from peerid.ID, data []byte) {
	m, err := ifc.Parse(from, data)
	if err != nil {
		ifc.malformed(&m, err)
		return
	}
	if m.ImpossibleNBMA() {
		ifc.Drop(overlay.DropMalformed)
		return
	}
	ifc.CountReceived(m.Type)
	if !ifc.Authentic(&m) {
		ifc.Drop(overlay.DropAuthentication)
		ifc.tellForeignPassword(&m)
		ifc.SendError(&m, packet.ErrorAuthentication, m.PasswordOffset())
		return
	}
	ifc.mismatches.Clear(from, report.MismatchPassword)
	if !ifc.server.Takes(ifc.Now, &m) {
		ifc.Drop(overlay.DropRateLimit)
		return
	}
	if m.Type != packet.RegistrationRequest && m.Type != packet.ResolutionRequest &&
		ifc.peers.ObjectTo(from).Raised() {
		ifc.Drop(
			overlay.DropProhibited,
		) // the handlers of the two requests refuse those with a reply
		return
	}
	if m.Type == packet.ErrorIndication {
		ifc.errorIndication(&m)
		return
	}
	if !ifc.HasFamily(m.SourceProtocol) ||
		m.DestProtocol.IsValid() && !ifc.HasFamily(m.DestProtocol) {
		ifc.Drop(overlay.DropWrongFamily)
		if m.Type == packet.RegistrationRequest && len(m.CIEs) <= overlay.MaxEntries {
			ifc.server.RefuseFamily(&m)
		}
		return
	}
	if !m.Type.IsReply() && ifc.IsOwn(m.SourceProtocol) {
		ifc.Drop(overlay.DropOwnPacket)
		return
	}
	ifc.dispatch(&m)
}

// dispatch hands a message to the handler for its type, or forwards it if it is for another router.
func (ifc *iface) dispatch(m *overlay.Message) {
	if m.Type == packet.TrafficIndication {
		ifc.Requester.TrafficIndication(m)
		return
	}
	if !m.DestProtocol.IsValid() {
		ifc.Drop(overlay.DropWrongFamily)
		return
	}
	if m.Type.IsRequest() && len(m.CIEs) > overlay.MaxEntries {
		ifc.Drop(overlay.DropTooMany)
		ifc.SendError(m, packet.ErrorProtocol, 0)
		return
	}
	switch m.Type {
	case packet.RegistrationRequest:
		ifc.server.Registration(m)
	case packet.RegistrationReply:
		ifc.client.RegistrationReply(m)
	case packet.ResolutionRequest:
		if proof.IsProbe(m.Packet) {
			ifc.proofs.Probe(m)
			return
		}
		ifc.Responder.ResolutionRequest(m)
	case packet.ResolutionReply:
		if ifc.IsOwn(m.SourceProtocol) && ifc.proofs.PingAnswered(m) {
			return
		}
		if proof.IsAnswer(m.Packet) && ifc.IsOwn(m.SourceProtocol) {
			ifc.proofs.Answered(m)
			return
		}
		if ifc.IsOwn(m.SourceProtocol) {
			ifc.Requester.ResolutionReply(m)
			return
		}
		ifc.Transit.Forward(m, m.SourceProtocol, packet.ExtensionReverseTransit)
	case packet.PurgeRequest:
		if ifc.IsOwn(m.DestProtocol) || m.DestProtocol == m.SourceProtocol {
			ifc.purgeRequest(m)
			return
		}
		ifc.Transit.Forward(m, m.DestProtocol, packet.ExtensionForwardTransit)
	case packet.PurgeReply:
		if ifc.IsOwn(m.SourceProtocol) {
			ifc.purges.PurgeReply(m)
			return
		}
		ifc.Transit.Forward(m, m.SourceProtocol, packet.ExtensionReverseTransit)
	}
}

// malformed drops a packet that cannot be parsed. It sends an Error Indication if the parser found
// a fault that may be answered.
func (ifc *iface) malformed(m *overlay.Message, err error) {
	ifc.Drop(overlay.DropMalformed)
	var fault *packet.ParseError
	if errors.As(err, &fault) && fault.Answerable() {
		ifc.SendError(m, fault.Code, fault.Offset)
	}
}

// tellForeignPassword reports a sender whose password differs from this router's. The report names
// the sender and never contains a password.
func (ifc *iface) tellForeignPassword(m *overlay.Message) {
	reason := "its NHRP password is not ours (authentication)"
	switch {
	case ifc.Config.Authentication == "":
		reason = "it has an NHRP password, and none is configured here (authentication)"
	case m.Extension(packet.ExtensionAuthentication) == nil:
		reason = "it has no NHRP password, and one is configured here (authentication)"
	}
	ifc.mismatches.Record(
		report.MismatchPassword,
		m.From,
		m.SourceProtocol,
		ifc.peers.Identity(m.From),
		reason,
	)
	if !ifc.Limiters.Refusals.Allow(ifc.Now, m.From) {
		return
	}
	ifc.Notice(output.Notice{
		Kind:     output.NoticeRejected,
		NextHop:  m.SourceProtocol,
		Peer:     m.From,
		Identity: ifc.peers.Identity(m.From),
		Reason:   m.Type.String() + " dropped: " + reason,
	})
}
