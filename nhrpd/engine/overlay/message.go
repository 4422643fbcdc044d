package overlay

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// Message is a received packet, with where it came from.
type Message struct {
	*packet.Packet
	From peerid.ID // the sender
	Raw  []byte    // the packet as received
}

// Parse parses a packet that came from a peer. It reads into memory that the next call uses again,
// so the message is valid until then. If the packet is malformed, Parse returns as much of the
// message as it could read, and the error of the parser.
func (r *Router) Parse(from peerid.ID, data []byte) (Message, error) {
	m := Message{Packet: &r.received, From: from, Raw: data}
	r.cies = r.cies[:0]
	err := m.Packet.Parse(data)
	return m, err
}

// Direct reports whether the packet came straight from the router that its header names as the
// source, and no NAT changed that router's address.
func (ifc *Interface) Direct(m *Message) bool { return ifc.Peers.Outer(m.From) == m.SourceNBMA }

// Origin returns the overlay address of the router that sent the packet. In a reply, the source in
// the header is the requester instead (RFC 2332 §5.2.0.1), so Origin looks elsewhere. It returns
// the zero address if the packet does not show who sent it.
func (m *Message) Origin() netip.Addr {
	if !m.Type.IsReply() {
		return m.SourceProtocol
	}
	if ext := m.Extension(packet.ExtensionResponder); ext != nil &&
		len(ext.CIEs) > 0 && ext.CIEs[0].Protocol.IsValid() {
		return ext.CIEs[0].Protocol
	}
	if m.Type != packet.ResolutionReply {
		return m.DestProtocol
	}
	if len(m.CIEs) > 0 {
		return m.CIEs[0].Protocol
	}
	return netip.Addr{}
}

// Cost returns as how many requests a packet counts. Each CIE of a registration or purge counts as
// one: it costs a search, and may change a route and write a line to the log.
func (m *Message) Cost() int {
	switch m.Type {
	case packet.RegistrationRequest, packet.PurgeRequest:
		return max(1, len(m.CIEs))
	}
	return 1
}

// PassedOn reports whether a transit NHS has left its record in a request.
func (m *Message) PassedOn() bool {
	ext := m.Extension(packet.ExtensionForwardTransit)
	return ext != nil && len(ext.CIEs) > 0
}

// ImpossibleNBMA reports whether a packet gives an NBMA address in 0.0.0.0/8: see InThisNetwork.
func (m *Message) ImpossibleNBMA() bool {
	return InThisNetwork(m.SourceNBMA) ||
		slices.ContainsFunc(m.CIEs, func(c packet.CIE) bool { return InThisNetwork(c.NBMA) })
}

// ClientOf returns the overlay address that a CIE of a registration or purge is about.
func (m *Message) ClientOf(cie *packet.CIE) netip.Addr {
	if cie.Protocol.IsValid() {
		return cie.Protocol
	}
	return m.SourceProtocol
}
