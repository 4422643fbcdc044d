package engine

import (
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// errorIndication takes an Error Indication. One about a request of ours counts as a reply to that
// request. One for another router is forwarded.
func (ifc *iface) errorIndication(m *overlay.Message) {
	if m.SourceProtocol == ifc.Address() && !ifc.peers.IsNHS(m.From) {
		ifc.Drop(overlay.DropOwnPacket) // RFC 2332 §5.2.7: without an error about it
		return
	}
	if m.DestProtocol.IsValid() && m.DestProtocol != ifc.Address() {
		if !ifc.SameFamily(m.DestProtocol) {
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
	switch {
	case ifc.failedRequest(m, quoted.Type, quoted.RequestID, reason):
	case m.SourceProtocol == ifc.Address():
		ifc.Drop(overlay.DropOwnPacket)
		return
	default:
		ifc.Drop(overlay.DropForeignError)
		return
	}
	if m.ErrorCode == packet.ErrorAuthentication {
		ifc.client.PasswordRefused(m, reason)
	}
	ifc.Notice(output.Notice{Kind: output.NoticeError, NextHop: m.SourceProtocol, NBMA: m.From,
		Reason: m.ErrorCode.String()})
}

// failedRequest applies an Error Indication to the request of ours that it is about. It returns
// false if there is no such request, or if the error comes from a router to which that request did
// not go. An error about a Resolution Request may also come through one of our NHSs.
func (ifc *iface) failedRequest(m *overlay.Message, t packet.Type, id uint32, reason string) bool {
	switch t {
	case packet.RegistrationRequest:
		return ifc.client.RegistrationFailed(m, id, reason)
	case packet.ResolutionRequest:
		if s := ifc.Requester.Requests[id]; s != nil &&
			(m.From == s.Via || ifc.peers.IsNHS(m.From)) {
			ifc.Requester.Unresolve(s, reason)
			return true
		}
	}
	return false
}
