package engine

import (
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/packet"
)

// errorIndication takes an Error Indication. One about a request of ours counts as a reply to that
// request. One for another router is forwarded.
func (ifc *iface) errorIndication(m *overlay.Message) {
	if ifc.IsOwn(m.SourceProtocol) && !ifc.peers.IsNHS(m.From) {
		ifc.Drop(overlay.DropOwnPacket) // RFC 2332 §5.2.7: without an error about it
		return
	}
	if m.DestProtocol.IsValid() && !ifc.IsOwn(m.DestProtocol) {
		if !ifc.HasFamily(m.DestProtocol) {
			ifc.Drop(overlay.DropWrongFamily)
			return
		}
		ifc.Transit.Forward(m, m.DestProtocol, packet.ExtensionReverseTransit)
		return
	}
	reason := "it reports: " + m.ErrorCode.String()
	if m.ErrorCode == packet.ErrorAuthentication {
		reason += ": its NHRP password is not ours (authentication)"
	}
	var quoted packet.Packet
	// ParseQuoted reads type and ID first; it does not matter if the addresses are cut off.
	_ = quoted.ParseQuoted(m.Quoted)
	question := ifc.failedQuestion(m, &quoted)
	switch {
	case question != nil && ifc.Requester.StaysDespite(question, m):
		return
	case question != nil:
		ifc.Requester.Unresolve(question, report.OutcomeError, reason)
	case quoted.Type == packet.RegistrationRequest &&
		ifc.client.RegistrationFailed(m, quoted.RequestID, reason):
	case ifc.IsOwn(m.SourceProtocol):
		ifc.Drop(overlay.DropOwnPacket)
		return
	default:
		ifc.Drop(overlay.DropForeignError)
		return
	}
	if m.ErrorCode == packet.ErrorAuthentication {
		ifc.client.PasswordRefused(m, reason)
	}
	ifc.Notice(output.Notice{Kind: output.NoticeError, NextHop: m.SourceProtocol, Peer: m.From,
		Reason: m.ErrorCode.String()})
}

// failedQuestion returns the shortcut whose Resolution Request an Error Indication is about. It
// returns nil if there is none, or if the error comes neither from the router that the request went
// to nor through one of our NHSs.
func (ifc *iface) failedQuestion(m *overlay.Message, quoted *packet.Packet) *resolution.Shortcut {
	if quoted.Type != packet.ResolutionRequest {
		return nil
	}
	s := ifc.Requester.Requests.ByID[quoted.RequestID]
	if s == nil || m.From != s.Via && !ifc.peers.IsNHS(m.From) {
		return nil
	}
	return s
}
