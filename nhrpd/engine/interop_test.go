package engine

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// The packets of other implementations are written out by hand in these tests. wire reads one from
// hex with comments, and sets its size and checksum.
func wire(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	b[10], b[11] = byte(len(b)>>8), byte(len(b))
	fixChecksum(b)
	return b
}

// dynamicMapRegistration is the first registration of an OpenNHRP spoke with a dynamic-map. The
// spoke does not know its hub's overlay address: the hop count is 0, and the destination is the
// overlay's broadcast address.
const dynamicMapRegistration = `
	0001 0800 0000000000 00 0000 0000 0034 01 03 04 00
	04 04 8002 00000001 c000020b 0aff000b 0aff00ff
	00 ff 0000 05d4 1c20 00 00 00 00
	8003 0000 8004 0000 8005 0000
	0009 0014  00 20 0000 0000 0000 04 00 04 00 c0000201 0aff00ff
	8000 0000`

// A registration that names the overlay's broadcast address is for the router that receives it.
func TestRegistrationAtTheBroadcastAddress(t *testing.T) {
	hub := hubAlone(t)
	got := only(t, hub.from("192.0.2.11", "spoke1").saysBytes(wire(t, dynamicMapRegistration)))
	if got.Type != packet.RegistrationReply || got.CIEs[0].Code != packet.CodeSuccess ||
		got.DestProtocol != addr("10.255.0.1") {
		t.Errorf("%s %s, naming %s as the NHS", got.Type, got.CIEs[0].Code, got.DestProtocol)
	}
	if hub.neighbors[addr("10.255.0.11")] != peerAt("192.0.2.11") {
		t.Errorf("neighbours %v", hub.neighbors)
	}
	p := registrationFrom("192.0.2.12", "10.255.0.12")
	p.DestProtocol = addr("10.255.0.254")
	if got := only(
		t, hub.from("192.0.2.12", "spoke2").says(p),
	); got.CIEs[0].Code != packet.CodeProhibited {
		t.Errorf("a registration with another NHS: %s", got.CIEs[0].Code)
	}
}

// registrations returns the destinations of the registrations that the node sent to an NBMA
// address.
func (n *node) registrations(nbma string) (dests []netip.Addr) {
	for i, p := range n.sentSince(0) {
		if p.Type == packet.RegistrationRequest && n.sent[i].to == peerAt(nbma) {
			dests = append(dests, p.DestProtocol)
		}
	}
	return dests
}

// A spoke that does not know its hub's overlay address names its own in its registration. After
// three tries without an answer it names the broadcast address every other time, since an OpenNHRP
// hub answers only that.
func TestUnknownNHSIsTriedAtTheBroadcastAddress(t *testing.T) {
	own, all := addr("10.255.0.11"), addr("10.255.0.255")
	n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	n.w.run(40 * time.Second)
	if got, want := n.registrations("192.0.2.1"), []netip.Addr{
		own, own, own, all, own, all,
	}; !slices.Equal(got[:6], want) {
		t.Fatalf("registered at %v, want %v", got[:6], want)
	}
	for n.lastTo(hub).DestProtocol != all {
		n.w.run(time.Second)
	}
	hub.says(acceptance(n.lastTo(hub)))
	if st := n.status().NHS[0]; st.State != report.NHSRegistered ||
		st.Protocol != addr("10.255.0.1") {
		t.Fatalf("after the answer: %+v", st)
	}
	if got := n.registersWith(t, hub); got.DestProtocol != addr("10.255.0.1") {
		t.Errorf("it goes on at %s", got.DestProtocol)
	}
}

// If the NHS has several NBMA addresses, each of them is asked in both ways.
func TestEachAddressOfAnUnknownNHSIsTriedBothWays(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	cfg.Protected = false
	cfg.NHS = []overlay.NHSConfig{{Name: "hub.example.net"}}
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
	n.handle(event.NHSResolved{
		Interface: "gre1",
		Name:      "hub.example.net",
		NBMA:      []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")},
	})
	n.w.run(2 * time.Minute)
	for _, nbma := range []string{"192.0.2.1", "192.0.2.2"} {
		got := n.registrations(nbma)
		if !slices.Contains(got, addr("10.255.0.11")) ||
			!slices.Contains(got, addr("10.255.0.255")) {
			t.Errorf("%s: registered at %v", nbma, got)
		}
	}
}

// A hub indicates a shorter way only where it would pass the question on. Each row is tried as a
// packet that turned in the tunnel, and as the resolution request that an indication would bring.
func TestNoIndicationWhereTheAnswerIsNo(t *testing.T) {
	for _, tt := range []struct {
		rule     string
		dest     string
		setup    func(hub *node)
		reason   overlay.DropReason
		indicate bool
	}{
		{rule: "behind a client", dest: host2, indicate: true},
		{rule: "behind a client that is not registered", dest: "172.16.3.10",
			reason: overlay.DropNoBinding,
			setup:  func(hub *node) { hub.addRoutes(viaTunnel("172.16.3.0/24", "10.255.0.13")) }},
		{rule: "a router that is not registered", dest: "10.255.0.77",
			reason: overlay.DropNoBinding},
		{rule: "behind the sender itself", dest: "172.16.1.10", reason: overlay.DropLoop},
		{rule: "nowhere", dest: "203.0.113.1", reason: overlay.DropUnreachable},
		{rule: "to many", dest: "224.0.0.5", reason: overlay.DropUnreachable,
			setup: func(hub *node) { hub.addRoutes(viaTunnel("224.0.0.0/4", "10.255.0.12")) }},
		{rule: "here", dest: "172.16.0.10", reason: overlay.DropUnreachable},
	} {
		hub := hubAlone(t)
		for i, s := range []string{"spoke1", "spoke2"} {
			nbma, address := "192.0.2.1"+string(rune('1'+i)), "10.255.0.1"+string(rune('1'+i))
			hub.from(nbma, s).says(registrationFrom(nbma, address))
		}
		if tt.setup != nil {
			tt.setup(hub)
		}
		before, counted := len(hub.sent), dropped(hub, tt.reason)
		hub.handle(event.Redirected{
			Interface: "gre1",
			From:      peerAt("192.0.2.11"),
			Packet:    ipv4(addr(host1), addr(tt.dest)),
		})
		sent := hub.sentSince(before)
		if tt.indicate {
			only(t, sent)
		} else if len(sent) != 0 || dropped(hub, tt.reason) != counted+1 {
			t.Errorf("%s: sent %v, dropped %v", tt.rule, typesOf(sent), hub.engine.Stats().Dropped)
		}
		if tt.dest == "172.16.0.10" {
			continue // the hub would answer with itself, and the packet goes through it anyway
		}
		answer := only(
			t, sender{t, hub, "192.0.2.11"}.says(requestFrom("192.0.2.11", "10.255.0.11", tt.dest)),
		)
		if passed := answer.Type == packet.ResolutionRequest; passed != tt.indicate {
			t.Errorf("%s: the question is answered with a %s", tt.rule, answer.Type)
		}
	}
}

// A hub below another hub sends no indication for a packet that the upper hub sent down and would
// get back.
func TestNoIndicationOfWhatComesFromTheNHS(t *testing.T) {
	n, hub := spokeAlone(t, func(c *overlay.InterfaceConfig) { c.Redirect, c.Server = true, true })
	for dest, reason := range map[string]overlay.DropReason{
		"172.16.9.9":  overlay.DropLoop,
		"10.255.0.77": overlay.DropNoBinding,
	} {
		before := len(n.sent)
		n.handle(event.Redirected{
			Interface: "gre1",
			From:      peerAt(hub.nbma),
			Packet:    ipv4(addr("172.16.3.10"), addr(dest)),
		})
		if got := n.sentSince(before); len(got) != 0 || dropped(n, reason) != 1 {
			t.Errorf("%s: sent %v, dropped %v", dest, typesOf(got), n.engine.Stats().Dropped)
		}
	}
}

// OpenNHRP's Error Indication has 16 zero bytes after End. The reason that it gives still counts.
func TestErrorIndicationOfOpenNHRP(t *testing.T) {
	n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	request := n.sent[0].data
	b := wire(t, `0001 0800 0000000000 ff 0000 0000 0000 01 07 04 00
		04 04 0000 000b 0000 c0000201 0aff0001 0aff000b`+hex.EncodeToString(request)+`
		8000 0000
		00000000 00000000 00000000 00000000`)
	b[14], b[15] = 0, byte(0x28+len(request))
	fixChecksum(b)
	hub.saysBytes(b)
	if st := n.status().NHS[0]; !strings.Contains(st.Error, "its NHRP password is not ours") ||
		dropped(n, overlay.DropMalformed) != 0 {
		t.Errorf("status %+v, dropped %v", st, n.engine.Stats().Dropped)
	}
}

// frrAuthenticationError returns FRR's report that it does not accept this router's password. Its
// hop count is 0, and its source is not FRR but the router that sent the refused packet.
func frrAuthenticationError(t testing.TB, request []byte) []byte {
	return wire(t, `0001 0800 0000000000 00 0000 0000 0000 01 07 04 00
		04 04 0002 000b 0000 c000020b 0aff000b 0aff000b`+hex.EncodeToString(request))
}

// FRR's Error Indication names this router as its source. It counts if an NHS sends it about a
// request that is out, whether the NHS's overlay address is known or not; the status then does not
// show the NHS as registered. Every other packet with this router's own source is one of its own
// packets that came back.
func TestErrorIndicationOfFRR(t *testing.T) {
	password := func(c *overlay.InterfaceConfig) { c.Authentication = "secret" }
	accept := func(n *node, hub sender) {
		t.Helper()
		hub.says(acceptance(n.lastTo(hub)))
		if !n.registered() {
			t.Fatalf("not registered: %+v", n.status().NHS[0])
		}
	}
	refuse := func(n *node, hub sender) {
		t.Helper()
		hub.saysBytes(frrAuthenticationError(t, n.sent[len(n.sent)-1].data))
		if st := n.status().NHS[0]; st.State != report.NHSRefused ||
			!strings.Contains(st.Error, "its NHRP password is not ours") {
			t.Errorf("after the error: %+v\ndropped %v", st, n.engine.Stats().Dropped)
		}
	}
	cfg := spokeConfig("10.255.0.11/24")
	password(&cfg)
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
	hub := n.from("192.0.2.1", "hub")
	refuse(n, hub) // the first registration
	n.w.run(3 * time.Second)
	accept(n, hub) // the password was corrected

	n.registersWith(t, hub)
	refuse(n, hub) // a refresh: the hub's password was changed
	n.w.run(2 * time.Minute)
	accept(n, hub)

	ask := indicationOf(host1, host2)
	ask.Extensions = append(ask.Extensions, packet.PasswordExtension("secret"))
	hub.says(ask)
	if n.lastTo(hub).Type != packet.ResolutionRequest {
		t.Fatalf("asked with a %s", n.lastTo(hub).Type)
	}
	refuse(n, hub) // a question
	if len(n.status().Shortcuts) != 0 {
		t.Errorf("the question is still out: %+v", n.status().Shortcuts)
	}
	before := len(n.sent)
	n.w.run(2 * time.Minute)
	if n.lastTo(hub).Type != packet.RegistrationRequest || len(n.sent) == before {
		t.Error("it does not try to register again")
	}
	accept(n, hub)

	n.registersWith(t, hub)
	request := n.sent[len(n.sent)-1].data
	other := slices.Clone(request)
	other[27]++ // the request id
	for rule, from := range map[string]struct {
		nbma string
		data []byte
	}{
		"from another router": {
			"192.0.2.12", request,
		}, "about no request of ours": {"192.0.2.1", other}, "about nothing": {"192.0.2.1", nil},
	} {
		counted := dropped(n, overlay.DropOwnPacket)
		n.from(from.nbma, "hub").saysBytes(frrAuthenticationError(t, from.data))
		if st := n.status().NHS[0]; st.State != report.NHSRegistered ||
			dropped(n, overlay.DropOwnPacket) != counted+1 {
			t.Errorf("%s: %+v, dropped %v", rule, st, n.engine.Stats().Dropped)
		}
	}
}

// A password error from a router behind the NHS is not the NHS's own word about the password.
func TestPasswordErrorFromBehindTheNHS(t *testing.T) {
	n, hub := spokeAlone(t)
	request := only(t, hub.says(indicationOf(host1, host2)))
	data, _ := request.Append(nil)
	hub.says(packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       255,
		SourceNBMA:     addr("192.0.2.12"),
		SourceProtocol: addr("10.255.0.12"),
		DestProtocol:   addr("10.255.0.11"),
		ErrorCode:      packet.ErrorAuthentication,
		Quoted:         data,
	})
	if !n.registered() || len(n.status().Shortcuts) != 0 {
		t.Errorf("%+v", n.status())
	}
}

// If the tunnel of FRR's hub has addresses of both families, the hub names itself by the IPv4 one
// in the Responder extension of an IPv6 reply. The registration still counts.
func TestIPv6ReplyOfFRR(t *testing.T) {
	cfg := spokeConfig("2001:db8:ff::b/64")
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "")
	hub := n.from("192.0.2.1", "hub")
	request := only(t, n.sentSince(0))
	b := wire(t, `0001 86dd 0000000000 40 0000 0000 004c 01 04 04 00
		10 10 0002 00000000 c000020b
		20010db800ff0000000000000000000b
		20010db800ff00000000000000000001
		00 80 0000 0000 0258 00 00 00 00
		8003 0014  00 00 0000 0578 0258 04 00 04 00 c0000201 0aff0001
		8004 0000 8005 0000 0009 0000 8000 0000`)
	b[24], b[25], b[26], b[27] = byte(request.RequestID>>24), byte(request.RequestID>>16),
		byte(request.RequestID>>8), byte(request.RequestID)
	fixChecksum(b)
	if got := hub.saysBytes(b); len(got) != 0 {
		t.Errorf("answered with %v", typesOf(got))
	}
	if st := n.status().NHS[0]; st.State != report.NHSRegistered ||
		st.Protocol != addr("2001:db8:ff::1") {
		t.Errorf("%+v, dropped %v", st, n.engine.Stats().Dropped)
	}
}

// A hub adds the NAT address extension to the question of a spoke behind NAT that lacks it, and to
// the answer of such a spoke, if the NAT flag says that the receiver understands it.
func TestHubAddsTheNATExtension(t *testing.T) {
	public := []packet.CIE{
		{PrefixLength: 32, NBMA: addr("198.51.100.7"), Protocol: addr("10.255.0.11")},
	}
	bare := func(p packet.Packet, flags packet.Flags) packet.Packet {
		p.Flags = p.Flags&^packet.FlagNAT | flags
		p.Extensions = p.Extensions[:3]
		return p
	}
	for _, tt := range []struct {
		rule  string
		from  string
		flags packet.Flags
		want  []packet.CIE
	}{
		{"behind NAT", "198.51.100.7", packet.FlagNAT, public},
		{"behind NAT, without the flag", "198.51.100.7", 0, nil},
		{"at its own address", "192.168.1.11", packet.FlagNAT, nil},
	} {
		hub := hubAlone(t)
		spoke1 := hub.from(tt.from, "spoke1")
		spoke1.says(registrationFrom("192.168.1.11", "10.255.0.11"))
		spoke2 := hub.from("192.0.2.12", "spoke2")
		spoke2.says(registrationFrom("192.0.2.12", "10.255.0.12"))
		check := func(what string, got packet.Packet) {
			t.Helper()
			ext := got.Extension(packet.ExtensionNATAddress)
			switch {
			case ext == nil && tt.want != nil, ext != nil && tt.want == nil:
				t.Errorf("%s of a spoke %s: extension %+v, want %+v", what, tt.rule, ext, tt.want)
			case ext != nil &&
				overlay.NATAddress(&got, addr("10.255.0.11")) != addr("198.51.100.7"):
				t.Errorf("%s of a spoke %s: %+v", what, tt.rule, ext.CIEs)
			}
		}
		check(
			"a question",
			only(t, spoke1.says(bare(requestFrom("192.168.1.11", "10.255.0.11", host2), tt.flags))),
		)
		reply := answerTo(
			bare(requestFrom("192.0.2.12", "10.255.0.12", host1), tt.flags), 24, "10.255.0.11",
			"192.168.1.11",
		)
		check("an answer", only(t, spoke1.says(reply)))
	}
}

// An Error Indication quotes the whole packet without its padding, as far as the tunnel's MTU
// allows.
func TestErrorQuotesTheWholePacket(t *testing.T) {
	request := requestFrom("192.0.2.11", "10.255.0.11", "203.0.113.1")
	request.Extensions = append(request.Extensions, packet.Extension{
		Type: packet.ExtensionVendor,
		Data: make([]byte, 400),
	})
	data := encode(t, request)
	for _, tt := range []struct {
		rule string
		mtu  uint16
		sent []byte
		want int
	}{
		{"whole", 1400, data, len(data)},
		{"without padding", 1400, append(slices.Clone(data), 1, 2, 3), len(data)},
		{"as much as the MTU allows", 500, data, 500 - 40},
		{"whole where no MTU is known", 0, data, len(data)},
	} {
		hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.MTU = tt.mtu })
		got := only(t, hub.from("192.0.2.11", "spoke1").saysBytes(tt.sent))
		if got.ErrorCode != packet.ErrorProtocolUnreachable ||
			!slices.Equal(got.Quoted, data[:tt.want]) {
			t.Errorf(
				"%s: %s quotes %d bytes, want %d", tt.rule, got.ErrorCode, len(got.Quoted), tt.want,
			)
		}
	}
}

// An answer does not repeat an MTU that is larger than the tunnel's: Cisco's routers claim 17,916.
func TestAnswerClampsTheClaimedMTU(t *testing.T) {
	for claimed, want := range map[uint16]uint16{17916: 1400, 1400: 1400, 1300: 1300, 0: 0} {
		hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
			c.Accept, c.Limits.Prefixes = []netip.Prefix{mustPrefix("172.20.0.0/16")}, 10
		})
		spoke1 := hub.from("192.0.2.11", "spoke1")
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		p.CIEs[0].MTU = claimed
		announced := registrationFrom("192.0.2.11", "10.255.0.11")
		announced.CIEs = []packet.CIE{
			{PrefixLength: 24, MTU: claimed, HoldingTime: 600, Protocol: addr("172.20.1.0")},
		}
		for _, p := range []packet.Packet{p, announced} {
			if got := only(t, spoke1.says(p)).CIEs[0]; got.Code != packet.CodeSuccess ||
				got.MTU != want {
				t.Errorf(
					"%s with MTU %d: answered %s with %d, want %d",
					p.CIEs[0].Protocol, claimed, got.Code, got.MTU, want,
				)
			}
		}
	}
}

// RFC 2332 §5.2.3: without IPsec, a router that registered with U set is refused from another NBMA
// address until that registration has expired. Without U it moves at once.
func TestMovedRouterWithU(t *testing.T) {
	for _, unique := range []bool{true, false} {
		hub := hubAlone(t, noIPsec)
		register := func(nbma string) packet.Code {
			t.Helper()
			p := registrationFrom(nbma, "10.255.0.11")
			if unique {
				p.Flags |= packet.RegistrationUnique
			}
			return only(t, sender{t, hub, nbma}.says(p)).CIEs[0].Code
		}
		if code := register("192.0.2.11"); code != packet.CodeSuccess {
			t.Fatalf("first: %s", code)
		}
		want := packet.CodeSuccess
		if unique {
			want = packet.CodeUniqueRegistered
		}
		if code := register("192.0.2.111"); code != want {
			t.Errorf("moved, U %v: %s, want %s", unique, code, want)
		}
		hub.w.run(600 * time.Second)
		if code := register("192.0.2.111"); code != packet.CodeSuccess {
			t.Errorf("after the holding time, U %v: %s", unique, code)
		}
	}
}
