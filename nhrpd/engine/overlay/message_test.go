package overlay

import (
	"net/netip"
	"testing"

	"cygnet/nhrpd/packet"
)

// In a reply, the source in the header is the requester. The router that sent the reply is named by
// the Responder extension, or else by the CIE of a Resolution Reply or the destination of another.
func TestOrigin(t *testing.T) {
	responder := packet.Extension{Type: packet.ExtensionResponder,
		CIEs: []packet.CIE{{Protocol: addr("10.255.0.3")}}}
	for _, tt := range []struct {
		name string
		p    packet.Packet
		want netip.Addr
	}{
		{"a request", packet.Packet{Type: packet.PurgeRequest}, addr("10.255.0.1")},
		{
			"a reply with a Responder extension",
			packet.Packet{Type: packet.ResolutionReply,
				Extensions: []packet.Extension{responder},
				CIEs:       []packet.CIE{{Protocol: addr("10.255.0.4")}}},
			addr("10.255.0.3"),
		},
		{
			"a Resolution Reply",
			packet.Packet{Type: packet.ResolutionReply,
				CIEs: []packet.CIE{{Protocol: addr("10.255.0.4")}}},
			addr("10.255.0.4"),
		},
		{"an empty Resolution Reply", packet.Packet{Type: packet.ResolutionReply}, netip.Addr{}},
		{"a Registration Reply", packet.Packet{Type: packet.RegistrationReply}, addr("10.255.0.2")},
	} {
		tt.p.SourceProtocol, tt.p.DestProtocol = addr("10.255.0.1"), addr("10.255.0.2")
		if got := (&Message{Packet: &tt.p}).Origin(); got != tt.want {
			t.Errorf("%s: want origin %s, have %s", tt.name, tt.want, got)
		}
	}
}

// Each entry of a registration or purge counts as a request; other packets count as one.
func TestCost(t *testing.T) {
	three := make([]packet.CIE, 3)
	for _, tt := range []struct {
		of   packet.Type
		cies []packet.CIE
		want int
	}{
		{packet.RegistrationRequest, three, 3},
		{packet.PurgeRequest, three, 3},
		{packet.PurgeRequest, nil, 1},
		{packet.ResolutionRequest, three, 1},
	} {
		m := Message{Packet: &packet.Packet{Type: tt.of, CIEs: tt.cies}}
		if got := m.Cost(); got != tt.want {
			t.Errorf("%s with %d entries: want cost %d, have %d",
				tt.of, len(tt.cies), tt.want, got)
		}
	}
}

// A packet is taken only if it has the password that is configured here, or both have none. Errors
// need none.
func TestAuthentic(t *testing.T) {
	for _, tt := range []struct {
		of           packet.Type
		theirs, ours string
		want         bool
	}{
		{packet.ResolutionRequest, "", "", true},
		{packet.ResolutionRequest, "secret", "secret", true},
		{packet.ResolutionRequest, "secre", "secret", false},
		{packet.ResolutionRequest, "", "secret", false},
		{packet.ResolutionRequest, "secret", "", false},
		{packet.ErrorIndication, "", "secret", true},
		{packet.ErrorIndication, "other", "secret", true},
	} {
		ifc := hub(func(c *InterfaceConfig) { c.Authentication = tt.ours })
		p := packet.Packet{Type: tt.of}
		if tt.theirs != "" {
			p.Extensions = []packet.Extension{packet.PasswordExtension(tt.theirs)}
		}
		if got := ifc.Authentic(&Message{Packet: &p}); got != tt.want {
			t.Errorf("%s with %q where %q is configured: taken %t, want %t",
				tt.of, tt.theirs, tt.ours, got, tt.want)
		}
	}
}

// A packet of ours has our password, in place of that of the router that it came from.
func TestAuthenticate(t *testing.T) {
	ifc := hub(func(c *InterfaceConfig) { c.Authentication = "ours" })
	for _, extensions := range [][]packet.Extension{
		nil, {packet.PasswordExtension("theirs")},
	} {
		p := packet.Packet{Type: packet.PurgeRequest, Extensions: extensions}
		ifc.Authenticate(&p)
		if got, err := packet.Password(p.Extensions[0]); err != nil || got != "ours" ||
			len(p.Extensions) != 1 {
			t.Errorf("want the password \"ours\" alone, have %q of %d (%v)",
				got, len(p.Extensions), err)
		}
	}
	p := packet.Packet{Type: packet.ErrorIndication}
	if ifc.Authenticate(&p); len(p.Extensions) != 0 {
		t.Error("an Error Indication has a password")
	}
}

// The NAT address extension counts only with a usable entry for the very overlay address.
func TestNATAddress(t *testing.T) {
	for nbma, want := range map[string]string{
		"198.51.100.7": "198.51.100.7",
		"0.0.0.0":      "invalid IP",
		"0.0.0.1":      "invalid IP",
	} {
		p := packet.Packet{Extensions: []packet.Extension{{Type: packet.ExtensionNATAddress,
			CIEs: []packet.CIE{NATCIE(addr("10.255.0.11"), addr(nbma))}}}}
		if got := NATAddress(&p, addr("10.255.0.11")); got.String() != want {
			t.Errorf("entry %s: want %s, have %s", nbma, want, got)
		}
		if got := NATAddress(&p, addr("10.255.0.12")); got.IsValid() {
			t.Errorf("entry %s counts for another router: %s", nbma, got)
		}
	}
}
