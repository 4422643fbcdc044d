package engine

import (
	"bytes"
	"testing"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// The copy of a packet for those who watch has no password: not its own, not one that it quotes,
// and not this router's. It is a valid packet of the same length.
func TestWithoutPassword(t *testing.T) {
	const ours, theirs = "s3cret99", "another7"
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Authentication = ours })
	request := requestFrom("192.0.2.11", "10.255.0.11", host2)
	request.Extensions = append(request.Extensions, packet.PasswordExtension(theirs))
	fault := packet.Packet{Type: packet.ErrorIndication, HopCount: 255,
		SourceNBMA: addr("192.0.2.11"), SourceProtocol: addr("10.255.0.11"),
		DestProtocol: addr("10.255.0.1"), ErrorCode: packet.ErrorAuthentication,
		Quoted:     encode(t, request),
		Extensions: []packet.Extension{packet.PasswordExtension(ours)}}
	for _, p := range []packet.Packet{request, fault} {
		data := encode(t, p)
		copied := hub.engine.WithoutPassword("gre1", data)
		var parsed packet.Packet
		if err := parsed.Parse(copied); err != nil || len(copied) != len(data) {
			t.Errorf("%s: %v, %d bytes of %d", p.Type, err, len(copied), len(data))
		}
		if bytes.Contains(copied, []byte(ours)) || bytes.Contains(copied, []byte(theirs)) {
			t.Errorf("%s: a password is in %q", p.Type, copied)
		}
		if !bytes.Contains(data, []byte(theirs)) {
			t.Errorf("%s: the packet itself changed", p.Type)
		}
	}
	broken := append([]byte("no packet, "), ours...)
	if copied := hub.engine.WithoutPassword("gre1", broken); bytes.Contains(copied, []byte(ours)) {
		t.Errorf("a password is in %q", copied)
	}
}

// The verdict on a packet is that of the last call.
func TestMade(t *testing.T) {
	hub := hubAlone(t)
	spoke := hub.from("192.0.2.11", "spoke1")
	spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	if made := hub.engine.Made(); made != "accepted" {
		t.Errorf("a registration: %s", made)
	}
	spoke.saysBytes([]byte{1, 2, 3})
	if made := hub.engine.Made(); made != "dropped: malformed" {
		t.Errorf("three bytes: %s", made)
	}
	hub.engine.Receive(hub.w.now, "gre1", peerAt("192.0.2.77"),
		encode(t, registrationFrom("192.0.2.77", "10.255.0.77")), &hub.out)
	if made := hub.engine.Made(); made != "held until its sender has an SA" {
		t.Errorf("a stranger: %s", made)
	}
}
