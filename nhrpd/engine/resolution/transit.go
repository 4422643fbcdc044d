package resolution

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// Transit passes on packets that are for other routers (RFC 2332 §5.3.3).
type Transit struct {
	Needs

	authority *authority
	responder *Responder
}

// newTransit returns the transit of an interface.
func newTransit(n Needs, az *authority, rs *Responder) Transit {
	return Transit{Needs: n, authority: az, responder: rs}
}

// Forward passes a message on along the route to an overlay address, as a transit NHS does (RFC
// 2332 §5.3). It adds this router's record to the extension of type record, unless the packet has a
// compulsory extension that this router does not know. A message that cannot go on is refused with
// a NAK if it is a Resolution Request without a binding, else with an Error Indication.
func (tr *Transit) Forward(m *overlay.Message, to netip.Addr, record packet.ExtensionType) {
	p, err := tr.Neighbors.PathTo(to)
	if err == neighbors.PathOK && p.ByNHS && p.Peer == m.From {
		err = neighbors.PathNoBinding // the NHS that sent the message here knows no way either
	}
	switch {
	case err == neighbors.PathNoRoute || err == neighbors.PathElsewhere:
		tr.rejectUnreachable(m, overlay.DropUnreachable)
	case err == neighbors.PathNoBinding && m.Type == packet.ResolutionRequest:
		tr.Drop(overlay.DropNoBinding)
		if tr.Understood(m) {
			tr.responder.refuse(m, packet.CodeNoBinding)
		}
	case err == neighbors.PathNoBinding:
		tr.rejectUnreachable(m, overlay.DropNoBinding)
	default:
		tr.forwardBy(p, m, record)
	}
}

// forwardBy sends a message on by path p, unless the message has come through here before, its hop
// count is used up, or it is forged.
func (tr *Transit) forwardBy(p neighbors.Path, m *overlay.Message, record packet.ExtensionType) {
	if m.HopCount <= 1 {
		tr.reject(m, overlay.DropHopCount, packet.ErrorHopCount, overlay.HopCountOffset)
		return
	}
	if offset, passed := tr.passedBefore(m, record); passed || p.Peer == m.From {
		tr.reject(m, overlay.DropLoop, packet.ErrorLoop, offset)
		return
	}
	known := m.UnknownCompulsory() == nil
	if known {
		tr.fillNAT(m)
	}
	if tr.rejectForged(m) {
		return
	}
	m.HopCount--
	if ext := m.Extension(record); known && ext != nil {
		ext.CIEs = tr.CIEList(ext.CIEs, tr.OwnCIE(m.SourceProtocol, m.SourceNBMA))
	}
	switch why, ok := tr.TrySend(p.Peer, m.Packet); {
	case ok:
		tr.note(p, m)
	case why == overlay.DropTooLong:
		tr.reject(m, why, packet.ErrorSDUSizeExceeded, 0)
	default:
		tr.Drop(why)
	}
}

// note remembers that another router's question, or the reply to one, goes on by path p.
func (tr *Transit) note(p neighbors.Path, m *overlay.Message) {
	switch m.Type {
	case packet.ResolutionRequest:
		tr.responder.requester.Questions.notePassed(m, p.Peer, p.NextHop)
	case packet.ResolutionReply:
		tr.responder.requester.Questions.noteReplied(p.Peer, m)
	}
}

// fillNAT adds to a message what this router knows about the NAT that one of its clients is behind.
func (tr *Transit) fillNAT(m *overlay.Message) {
	switch m.Type {
	case packet.ResolutionRequest:
		tr.Server.FillNAT(m, m.SourceProtocol)
	case packet.ResolutionReply:
		if len(m.CIEs) > 0 {
			tr.Server.FillNAT(m, m.CIEs[0].Protocol)
		}
	}
}

// passedBefore reports whether the packet came through this router before. If so, it also returns
// the offset of the extension that has this router's record. In a reply, the Responder extension
// counts too (RFC 2332 §5.3.1).
func (tr *Transit) passedBefore(m *overlay.Message, record packet.ExtensionType) (uint16, bool) {
	for i := range m.Extensions {
		ext := &m.Extensions[i]
		if ext.Type != record && (ext.Type != packet.ExtensionResponder || !m.Type.IsReply()) {
			continue
		}
		if slices.ContainsFunc(ext.CIEs, func(c packet.CIE) bool { return tr.IsOwn(c.Protocol) }) {
			return ext.Offset(), true
		}
	}
	return 0, false
}

// rejectUnreachable drops a message for an overlay address that cannot be reached from here. It
// sends an Error Indication to the source.
func (tr *Transit) rejectUnreachable(m *overlay.Message, why overlay.DropReason) {
	tr.reject(m, why, packet.ErrorProtocolUnreachable, m.AddressOffset())
}

// reject drops a message that cannot go on. It sends an Error Indication to the source,
// unless the message is itself one. The error goes along the route to the source, and not back the
// way that the message came: in a loop, that way leads through this router again.
func (tr *Transit) reject(
	m *overlay.Message,
	why overlay.DropReason,
	code packet.ErrorCode,
	offset uint16,
) {
	tr.Drop(why)
	if m.Type == packet.ErrorIndication {
		return
	}
	to := m.From
	if p, err := tr.Neighbors.PathTo(m.Origin()); err == neighbors.PathOK {
		to = p.Peer
	}
	tr.SendErrorTo(to, m, code, offset)
}

// rejectForged reports whether a packet must not go on because it names a router that did not send
// it. If so, it refuses a Resolution Request, and drops any other packet. In a Purge Reply, the
// named router is the one to which the purge was sent. Other replies always go on: they need a
// request ID that only the routers on the requester's path know.
func (tr *Transit) rejectForged(m *overlay.Message) bool {
	forged := false
	switch m.Type {
	case packet.ResolutionRequest:
		if tr.authority.divertsAnswer(m, tr.authority.answerGoesTo(m)) {
			tr.responder.prohibit(m, sourceOfOther)
			return true
		}
	case packet.PurgeRequest:
		forged = tr.authority.belongsToOther(m, m.SourceProtocol)
	case packet.PurgeReply:
		forged = tr.authority.belongsToOther(m, m.DestProtocol)
	case packet.ErrorIndication:
		// An error with our NBMA address as its source is forged, whatever overlay address it
		// names: our own do not come in from outside.
		forged = tr.authority.belongsToOther(m, m.SourceProtocol) ||
			m.SourceNBMA == tr.LocalFor(m.SourceNBMA)
	}
	if forged {
		tr.Drop(overlay.DropNotOwner)
	}
	return forged
}
