package engine

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/packet"
)

// wire.md's form of a registration: one CIE without addresses, the extensions in their customary order, the NHS in the NAT extension.
func TestRegistrationRequest(t *testing.T) {
	base := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       255,
		Flags:          packet.FlagNAT,
		SourceNBMA:     addr("192.0.2.11"),
		SourceProtocol: addr("10.255.0.11"),
		DestProtocol:   addr("10.255.0.11"),
		CIEs:           []packet.CIE{{PrefixLength: 32, MTU: 1400, HoldingTime: 600}},
		Extensions: []packet.Extension{
			{Type: packet.ExtensionResponder, Compulsory: true},
			{Type: packet.ExtensionForwardTransit, Compulsory: true},
			{Type: packet.ExtensionReverseTransit, Compulsory: true},
			{Type: packet.ExtensionNATAddress, CIEs: []packet.CIE{{PrefixLength: 32, NBMA: addr("192.0.2.1"), Protocol: addr("0.0.0.0")}}},
		},
	}
	tests := []struct {
		rule   string
		change func(*InterfaceConfig)
		want   func(*packet.Packet)
	}{
		{"an unknown NHS is asked at our own address", func(*InterfaceConfig) {}, func(*packet.Packet) {}},
		{"a known NHS is asked at its address", func(c *InterfaceConfig) { c.NHS[0].Protocol = addr("10.255.0.1") }, func(p *packet.Packet) {
			p.DestProtocol = addr("10.255.0.1")
			p.Extensions[3].CIEs[0].Protocol = addr("10.255.0.1")
		}},
		{"U goes with prefix length 255", func(c *InterfaceConfig) { c.Unique = true }, func(p *packet.Packet) {
			p.Flags |= packet.RegistrationUnique
			p.CIEs[0].PrefixLength = 255
		}},
		{"a password stands before the NAT extension", func(c *InterfaceConfig) { c.Authentication = "secret" }, func(p *packet.Packet) {
			p.Extensions = []packet.Extension{p.Extensions[0], p.Extensions[1], p.Extensions[2], packet.PasswordExtension("secret"), p.Extensions[3]}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			cfg := spokeConfig("10.255.0.11/24")
			tt.change(&cfg)
			n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
			if len(n.sent) != 0 {
				t.Fatal("registered before there was an SA")
			}
			n.from("192.0.2.1", "hub")
			got := only(t, n.sentSince(0))
			want := clone(base)
			tt.want(&want)
			want.RequestID = got.RequestID
			samePacket(t, got, want)
		})
	}
}

func clone(p packet.Packet) packet.Packet {
	data, _ := p.Append(nil)
	var c packet.Packet
	if err := c.Parse(data); err != nil {
		panic(err)
	}
	return c
}

// RFC 2332 §5.2.4 and wire.md: the reply is the request with code, our address, the Responder and what we see of the client's NAT.
func TestRegistrationReply(t *testing.T) {
	tests := []struct {
		rule string
		from string
		nat  []packet.CIE
	}{
		{"of a client at its own address", "192.0.2.11", nil},
		{"of a client behind NAT", "198.51.100.7", []packet.CIE{{PrefixLength: 32, NBMA: addr("198.51.100.7"), Protocol: addr("10.255.0.11")}}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub := hubAlone(t)
			request := registrationFrom("192.0.2.11", "10.255.0.11")
			got := only(t, hub.from(tt.from, "spoke1").says(request))
			want := request
			want.Type = packet.RegistrationReply
			want.DestProtocol = addr("10.255.0.1")
			want.Extensions[0].CIEs = []packet.CIE{{MTU: 1400, HoldingTime: 600, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")}}
			want.Extensions[3].CIEs = append(want.Extensions[3].CIEs, tt.nat...)
			samePacket(t, got, want)
			if got := hub.neighbors[addr("10.255.0.11")]; got != addr(tt.from) {
				t.Errorf("neighbour at %s, want where the packets come from", got)
			}
		})
	}
}

func TestRefusedRegistrations(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*packet.Packet)
		code   packet.Code
	}{
		{"our own address", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.1") }, packet.CodeProhibited},
		{"an address outside the overlay", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.254.0.9") }, packet.CodeProhibited},
		{"the network's address", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.0") }, packet.CodeProhibited},
		{"the broadcast address", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.255") }, packet.CodeProhibited},
		{"a static map's address", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.99") }, packet.CodeProhibited},
		{"a prefix", func(p *packet.Packet) { p.CIEs[0].PrefixLength = 28 }, packet.CodeProhibited},
		{"somebody else's NBMA address", func(p *packet.Packet) { p.CIEs[0].NBMA = addr("192.0.2.77") }, packet.CodeProhibited},
		{"another NHS", func(p *packet.Packet) { p.DestProtocol = addr("10.255.0.2") }, packet.CodeProhibited},
		{"an address that another identity has", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.12") }, packet.CodeUniqueRegistered},
		{"more clients than allowed", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.14") }, packet.CodeInsufficientResources},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub := hubAlone(t, func(c *InterfaceConfig) {
				c.Maps = []Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
				c.Limits.Bindings = 2
			})
			hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
			request := registrationFrom("192.0.2.11", "10.255.0.11")
			tt.change(&request)
			before := len(hub.status().Bindings)
			got := only(t, hub.from("192.0.2.11", "spoke1").says(request))
			if got.Type != packet.RegistrationReply || got.CIEs[0].Code != tt.code || got.CIEs[0].HoldingTime != 0 {
				t.Errorf("answered %s %+v, want code %s and holding time 0", got.Type, got.CIEs, tt.code)
			}
			if hub.has(NoticeRejected) != 1 {
				t.Error("nobody was told")
			}
			if after := len(hub.status().Bindings); after != before {
				t.Errorf("%d bindings, had %d", after, before)
			}
		})
	}
}

// RFC 2332 §5.2.3: prefix lengths that stand for the host are 0, 32 and 255.
func TestHostRegistrations(t *testing.T) {
	for _, bits := range []uint8{0, 32, 255} {
		hub := hubAlone(t)
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		p.CIEs[0].PrefixLength = bits
		if got := only(t, hub.from("192.0.2.11", "spoke1").says(p)); got.CIEs[0].Code != packet.CodeSuccess {
			t.Errorf("prefix length %d: %s", bits, got.CIEs[0].Code)
		}
	}
}

// RFC 2332 §5.2.3: U allows a single CIE.
func TestUniqueRegistrationOfTwo(t *testing.T) {
	hub := hubAlone(t)
	p := registrationFrom("192.0.2.11", "10.255.0.11")
	p.Flags |= packet.RegistrationUnique
	p.CIEs = append(p.CIEs, packet.CIE{PrefixLength: 255, HoldingTime: 600, Protocol: addr("10.255.0.13")})
	got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
	if got.Type != packet.ErrorIndication || got.ErrorCode != packet.ErrorProtocol || len(hub.status().Bindings) != 0 {
		t.Errorf("got %+v, bindings %+v", got, hub.status().Bindings)
	}
}

// lifecycle.md: the same identity may move its binding; without IPsec another NBMA address may not take over what is unique.
func TestWhoMayMoveABinding(t *testing.T) {
	tests := []struct {
		rule      string
		protected bool
		unique    bool
		identity  string // of the second
		want      packet.Code
	}{
		{"the same identity", true, true, "spoke1", packet.CodeSuccess},
		{"another identity, with U", true, true, "mallory", packet.CodeUniqueRegistered},
		{"another identity, without U", true, false, "mallory", packet.CodeUniqueRegistered},
		{"no IPsec, with U", false, true, "", packet.CodeUniqueRegistered},
		{"no IPsec, without U", false, false, "", packet.CodeSuccess},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub := hubAlone(t, func(c *InterfaceConfig) { c.Protected = tt.protected })
			first := registrationFrom("192.0.2.11", "10.255.0.11")
			if tt.unique {
				first.Flags |= packet.RegistrationUnique
			}
			hub.from("192.0.2.11", "spoke1").says(first)
			got := only(t, hub.from("192.0.2.50", tt.identity).says(registrationFrom("192.0.2.50", "10.255.0.11")))
			if got.CIEs[0].Code != tt.want {
				t.Fatalf("answered %s, want %s", got.CIEs[0].Code, tt.want)
			}
			at := addr("192.0.2.11")
			if tt.want == packet.CodeSuccess {
				at = addr("192.0.2.50")
			}
			if b := hub.status().Bindings[0]; b.NBMA != at || hub.neighbors[b.Protocol] != at {
				t.Errorf("binding at %s, neighbour at %s, want %s", b.NBMA, hub.neighbors[b.Protocol], at)
			}
		})
	}
}

// The holding time is the client's, but not below 10 s, and the reply says what it is.
func TestHoldingTime(t *testing.T) {
	for _, tt := range []struct{ asked, given uint16 }{{600, 600}, {1, 10}, {0, 10}, {65535, 65535}} {
		hub := hubAlone(t)
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		p.CIEs[0].HoldingTime = tt.asked
		if got := only(t, hub.from("192.0.2.11", "spoke1").says(p)).CIEs[0].HoldingTime; got != tt.given {
			t.Errorf("asked for %d s, got %d s, want %d s", tt.asked, got, tt.given)
		}
		hub.w.run(time.Duration(tt.given)*time.Second - time.Millisecond)
		if len(hub.neighbors) != 1 {
			t.Errorf("%d s: ended too early", tt.given)
		}
		hub.w.run(time.Millisecond)
		if len(hub.neighbors) != 0 || len(hub.status().Bindings) != 0 {
			t.Errorf("%d s: still there", tt.given)
		}
	}
}

// An SA that goes leaves bindings five seconds to find a new one.
func TestBindingOutlivesItsSA(t *testing.T) {
	for _, back := range []bool{true, false} {
		hub := hubAlone(t)
		hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
		hub.handle(PeerLost{Interface: "gre1", NBMA: addr("192.0.2.11"), Reason: "DPD"})
		hub.w.run(4900 * time.Millisecond)
		if len(hub.neighbors) != 1 {
			t.Fatal("gone at once")
		}
		if back {
			hub.from("192.0.2.11", "spoke1")
		}
		hub.w.run(time.Second)
		if got := len(hub.neighbors) == 1; got != back {
			t.Errorf("SA back %v, neighbour there %v", back, got)
		}
	}
}

// Somebody else who gets the NBMA address of a client does not get its binding.
func TestNewIdentityAtOldAddress(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.from("192.0.2.11", "mallory")
	if len(hub.neighbors) != 0 || hub.has(NoticeUnbound) != 1 {
		t.Errorf("neighbours %v", hub.neighbors)
	}
}

// A spoke retries within a second, doubling to a minute, refreshes at a third of the holding time, and counts its ids.
func TestRegistrationTimes(t *testing.T) {
	n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	n.w.run(10 * time.Minute)
	gaps := n.gaps()
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		want *= time.Second
		if gaps[i] > want || gaps[i] < want*3/4 {
			t.Errorf("retry %d after %s, want up to a quarter less than %s", i, gaps[i], want)
		}
	}
	sent := n.sentSince(0)
	if first, last := sent[0].RequestID, sent[len(sent)-1].RequestID; first != last {
		t.Errorf("a repeated request has id %d, the first %d", last, first)
	}
	if n.has(NoticeUnanswered) != 1 {
		t.Errorf("%d notices of silence, want 1", n.has(NoticeUnanswered))
	}

	before := len(n.sent)
	hub.says(acceptance(sent[0]))
	n.w.run(201 * time.Second)
	refresh := n.sentSince(before)[0]
	if refresh.RequestID == sent[0].RequestID {
		t.Error("a refresh has the id of the registration before")
	}
	if after := n.sent[before].at.Sub(n.status().NHS[0].Registered); after > 200*time.Second || after < 190*time.Second {
		t.Errorf("refreshed after %s, want a third of 10 minutes", after)
	}
}

func (n *node) gaps() []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(n.sent); i++ {
		gaps = append(gaps, n.sent[i].at.Sub(n.sent[i-1].at))
	}
	return gaps
}

// A reply must come from the NHS, with the id of the request and our addresses.
func TestRegistrationRepliesThatAreNotOurs(t *testing.T) {
	tests := map[string]func(*packet.Packet) string{
		"another id":             func(p *packet.Packet) string { p.RequestID++; return "192.0.2.1" },
		"another sender":         func(p *packet.Packet) string { return "192.0.2.66" },
		"another source NBMA":    func(p *packet.Packet) string { p.SourceNBMA = addr("192.0.2.99"); return "192.0.2.1" },
		"somebody else's answer": func(p *packet.Packet) string { p.SourceProtocol = addr("10.255.0.12"); return "192.0.2.1" },
	}
	for name, change := range tests {
		n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
		n.from("192.0.2.1", "hub")
		reply := acceptance(only(t, n.sentSince(0)))
		from := change(&reply)
		n.from(from, "hub").says(reply)
		if n.registered() {
			t.Errorf("%s: taken for an answer", name)
		}
	}
}

func TestRefusedByNHS(t *testing.T) {
	n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	reply := acceptance(only(t, n.sentSince(0)))
	reply.CIEs[0].Code, reply.CIEs[0].HoldingTime = packet.CodeUniqueRegistered, 0
	hub.says(reply)
	if st := n.status().NHS[0]; st.State != NHSRefused || st.Error == "" || n.has(NoticeRefused) != 1 {
		t.Fatalf("%+v", st)
	}
	n.w.run(2 * time.Second)
	again := n.sentSince(1)
	if len(again) == 0 || again[0].RequestID == reply.RequestID {
		t.Errorf("no new request after a refusal: %+v", again)
	}
}

// An NHS whose overlay address is not configured tells it in the reply.
func TestDynamicNHS(t *testing.T) {
	n, _ := spokeAlone(t)
	if st := n.status().NHS[0]; st.Protocol != addr("10.255.0.1") || n.neighbors[addr("10.255.0.1")] != addr("192.0.2.1") {
		t.Errorf("%+v, neighbours %v", st, n.neighbors)
	}
}

// Several addresses of one NHS are tried in turn.
func TestNextAddressOfNHS(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	cfg.NHS = []NHSConfig{{Name: "hub.example.net"}}
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
	n.handle(NHSResolved{Interface: "gre1", Name: "hub.example.net", NBMA: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")}})
	n.from("192.0.2.1", "hub")
	n.w.run(10 * time.Second) // three requests unanswered, then the SA with the second fails
	n.handle(PeerFailed{Interface: "gre1", NBMA: addr("192.0.2.2"), Reason: "no answer"})
	if got := n.status().NHS[0].NBMA; got != addr("192.0.2.1") {
		t.Errorf("at %s, want the first again", got)
	}
	if n.has(NoticePeerFailed) == 0 {
		t.Error("the failure was not told")
	}
}

// A name that cannot be resolved for a while does not end the registration.
func TestNHSNameLost(t *testing.T) {
	n, _ := spokeAlone(t)
	n.handle(NHSResolved{Interface: "gre1", Name: "192.0.2.1"})
	if !n.registered() {
		t.Error("registration gone")
	}
}

// A new local address is registered at once.
func TestLocalAddressChanges(t *testing.T) {
	n, _ := spokeAlone(t)
	before := len(n.sent)
	n.handle(LocalAddress{Interface: "gre1"})
	n.handle(LocalAddress{Interface: "gre1", NBMA: addr("192.0.2.111")})
	if got := only(t, n.sentSince(before)); got.SourceNBMA != addr("192.0.2.111") {
		t.Errorf("registered from %s", got.SourceNBMA)
	}
}

// A hub that comes back has forgotten us.
func TestRegistersWhenNHSComesBack(t *testing.T) {
	n, hub := spokeAlone(t)
	before := len(n.sent)
	n.handle(PeerLost{Interface: "gre1", NBMA: addr("192.0.2.1"), Reason: "DPD"})
	if st := n.status().NHS[0].State; st != NHSSecuring {
		t.Errorf("state %d", st)
	}
	n.w.run(6 * time.Second)
	if len(n.neighbors) != 0 {
		t.Errorf("neighbours %v", n.neighbors)
	}
	n.from("192.0.2.1", "hub")
	hub.says(acceptance(only(t, n.sentSince(before))))
	if !n.registered() || len(n.neighbors) != 1 {
		t.Errorf("%+v", n.status())
	}
}
