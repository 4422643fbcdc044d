package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// RFC 2332 §5.2.4 with the NAT extension: the reply is the request with a code, the hub's address,
// the Responder extension, and the client's address as the hub sees it behind NAT.
func TestRegistrationReply(t *testing.T) {
	tests := []struct {
		rule string
		from string
		nat  []packet.CIE
	}{
		{"of a client at its own address", "192.0.2.11", nil},
		{
			"of a client behind NAT", "198.51.100.7",
			[]packet.CIE{
				{PrefixLength: 32, NBMA: addr("198.51.100.7"), Protocol: addr("10.255.0.11")},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub := hubAlone(t)
			request := registrationFrom("192.0.2.11", "10.255.0.11")
			got := only(t, hub.from(tt.from, "spoke1").says(request))
			want := request
			want.Type = packet.RegistrationReply
			want.DestProtocol = addr("10.255.0.1")
			want.CIEs = []packet.CIE{{PrefixLength: 32, MTU: 1400, HoldingTime: 600}}
			want.Extensions[0].CIEs = []packet.CIE{
				{
					MTU:         1400,
					HoldingTime: 600,
					NBMA:        addr("192.0.2.1"),
					Protocol:    addr("10.255.0.1"),
				},
			}
			want.Extensions[3].CIEs = append(want.Extensions[3].CIEs, tt.nat...)
			samePacket(t, got, want)
			if got := hub.neighbors[addr("10.255.0.11")]; got != peerAt(tt.from) {
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
		{
			"our own address", func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.1") },
			packet.CodeProhibited,
		},
		{
			"an address outside the overlay",
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.254.0.9") },
			packet.CodeProhibited,
		},
		{
			"the network's address",
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.0") },
			packet.CodeProhibited,
		},
		{
			"the broadcast address",
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.255") },
			packet.CodeProhibited,
		},
		{
			"a static map's address",
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.99") },
			packet.CodeProhibited,
		},
		{"a prefix", func(p *packet.Packet) { p.CIEs[0].PrefixLength = 28 }, packet.CodeProhibited},
		{
			"somebody else's NBMA address",
			func(p *packet.Packet) { p.CIEs[0].NBMA = addr("192.0.2.77") }, packet.CodeProhibited,
		},
		{
			"another NHS", func(p *packet.Packet) { p.DestProtocol = addr("10.255.0.2") },
			packet.CodeProhibited,
		},
		{
			"an address that another identity has",
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.12") },
			packet.CodeUniqueRegistered,
		},
		{
			"more clients than allowed",
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.14") },
			packet.CodeInsufficientResources,
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
				c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
				c.Limits.Bindings = 2
			})
			hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
			request := registrationFrom("192.0.2.11", "10.255.0.11")
			tt.change(&request)
			before := len(hub.status().Bindings)
			got := only(t, hub.from("192.0.2.11", "spoke1").says(request))
			if got.Type != packet.RegistrationReply || got.CIEs[0].Code != tt.code ||
				got.CIEs[0].HoldingTime != 0 {
				t.Errorf(
					"answered %s %+v, want code %s and holding time 0", got.Type, got.CIEs, tt.code,
				)
			}
			if hub.has(output.NoticeRejected) != 1 {
				t.Error("nobody was told")
			}
			if full := dropped(hub, overlay.DropTableFull) == 1; full !=
				(tt.code == packet.CodeInsufficientResources) {
				t.Errorf("the limit was counted: %v", full)
			}
			if after := len(hub.status().Bindings); after != before {
				t.Errorf("%d bindings, had %d", after, before)
			}
		})
	}
}

// RFC 2332 §5.2.3: a client registers a single address with prefix length 0, 32 or 255.
func TestHostRegistrations(t *testing.T) {
	for _, bits := range []uint8{0, 32, 255} {
		hub := hubAlone(t)
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		p.CIEs[0].PrefixLength = bits
		if got := only(
			t, hub.from("192.0.2.11", "spoke1").says(p),
		); got.CIEs[0].Code != packet.CodeSuccess {
			t.Errorf("prefix length %d: %s", bits, got.CIEs[0].Code)
		}
	}
}

// RFC 2332 §5.2.3: a registration with U set has a single CIE.
func TestUniqueRegistrationOfTwo(t *testing.T) {
	hub := hubAlone(t)
	p := registrationFrom("192.0.2.11", "10.255.0.11")
	p.Flags |= packet.RegistrationUnique
	p.CIEs = append(p.CIEs, packet.CIE{
		PrefixLength: 255,
		HoldingTime:  600,
		Protocol:     addr("10.255.0.13"),
	})
	got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
	if got.Type != packet.ErrorIndication || got.ErrorCode != packet.ErrorProtocol ||
		len(hub.status().Bindings) != 0 {
		t.Errorf("got %+v, bindings %+v", got, hub.status().Bindings)
	}
}

// With IPsec, a binding moves to another NBMA address only with the same identity. Without IPsec, a
// unique binding does not move.
func TestWhoMayMoveABinding(t *testing.T) {
	tests := []struct {
		rule      string
		protected bool
		unique    bool
		identity  string // of the second registration
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
			hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Protected = tt.protected })
			first := registrationFrom("192.0.2.11", "10.255.0.11")
			if tt.unique {
				first.Flags |= packet.RegistrationUnique
			}
			hub.from("192.0.2.11", "spoke1").says(first)
			got := only(
				t,
				hub.from("192.0.2.50", tt.identity).says(registrationFrom(
					"192.0.2.50", "10.255.0.11",
				)),
			)
			if got.CIEs[0].Code != tt.want {
				t.Fatalf("answered %s, want %s", got.CIEs[0].Code, tt.want)
			}
			at := addr("192.0.2.11")
			if tt.want == packet.CodeSuccess {
				at = addr("192.0.2.50")
			}
			if b := hub.status().Bindings[0]; b.Peer != peerid.At(at) ||
				hub.neighbors[b.Protocol] != peerid.At(at) {
				t.Errorf(
					"binding at %s, neighbour at %s, want %s",
					b.Peer, hub.neighbors[b.Protocol], at,
				)
			}
		})
	}
}

// The hub grants the holding time that the client asks for, but at least 10 s, and its reply names
// what it granted.
func TestHoldingTime(t *testing.T) {
	for _, tt := range []struct{ asked, given uint16 }{
		{600, 600}, {1, 10}, {0, 10}, {65535, 65535},
	} {
		hub := hubAlone(t)
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		p.CIEs[0].HoldingTime = tt.asked
		if got := only(
			t, hub.from("192.0.2.11", "spoke1").says(p),
		).CIEs[0].HoldingTime; got != tt.given {
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

// A binding outlives its SA by five seconds, in which the client may come back with a new one.
func TestBindingOutlivesItsSA(t *testing.T) {
	for _, back := range []bool{true, false} {
		hub := hubAlone(t)
		hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
		hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "DPD"})
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

// Another router that gets a client's NBMA address does not get the client's binding.
func TestNewIdentityAtOldAddress(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.from("192.0.2.11", "mallory")
	if len(hub.neighbors) != 0 || hub.has(output.NoticeUnbound) != 1 {
		t.Errorf("neighbours %v", hub.neighbors)
	}
}

// When strongSwan itself is restarted, a binding outlives its SA for longer: the SAs in the kernel
// go on, and the clients take their time to notice.
func TestBindingOutlivesARestartOfStrongSwan(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.handle(event.PeersSecured{Interface: "gre1"})
	hub.w.run(29 * time.Second)
	if len(hub.neighbors) != 1 {
		t.Error("gone before the client could know")
	}
	hub.w.run(time.Second)
	if len(hub.neighbors) != 0 {
		t.Error("stays for ever")
	}
}

// The hub lowers the MTU that a client claims to the tunnel's.
func TestClaimedMTU(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	if got := hub.status().Bindings[0].MTU; got != 1400 {
		t.Errorf("MTU %d", got)
	}
}

// RFC 2332 §5.2.4: every CIE of a registration gets a code of its own.
func TestRegistrationOfSeveral(t *testing.T) {
	hub := hubAlone(t)
	p := registrationFrom("192.0.2.11", "10.255.0.11")
	p.CIEs = append(
		p.CIEs,
		packet.CIE{PrefixLength: 32, HoldingTime: 600, Protocol: addr("10.255.0.1")},
		packet.CIE{PrefixLength: 32, HoldingTime: 600, Protocol: addr("10.255.0.13")},
	)
	got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
	for i, want := range []packet.Code{
		packet.CodeSuccess, packet.CodeProhibited, packet.CodeSuccess,
	} {
		if c := got.CIEs[i]; c.Code != want ||
			(c.HoldingTime == 0) != (want != packet.CodeSuccess) {
			t.Errorf("CIE %d: %s for %d s, want %s", i, c.Code, c.HoldingTime, want)
		}
	}
	if len(hub.status().Bindings) != 2 {
		t.Errorf("bindings %+v", hub.status().Bindings)
	}
}
