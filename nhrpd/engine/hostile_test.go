package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/packet"
)

// A packet may arrive some milliseconds before the event about its sender's SA. The engine keeps a
// sender's last packet for three seconds.
func TestPacketBeforeItsSA(t *testing.T) {
	early := sender{t: t, nbma: "192.0.2.11"}
	early.to = hubAlone(t)
	hub := early.to
	if got := early.says(registrationFrom("192.0.2.11", "10.255.0.11")); len(got) != 0 {
		t.Fatal("answered somebody without an SA")
	}
	hub.w.run(2 * time.Second)
	hub.from("192.0.2.11", "spoke1")
	if got := only(t, hub.sentSince(0)); got.Type != packet.RegistrationReply ||
		len(hub.status().Bindings) != 1 {
		t.Errorf("%s", got.Type)
	}

	early.nbma = "192.0.2.12"
	before := len(hub.sent)
	early.says(registrationFrom("192.0.2.12", "10.255.0.12"))
	hub.w.run(peers.HoldTime)
	hub.from("192.0.2.12", "spoke2")
	if len(hub.sent) != before || dropped(hub, overlay.DropUnsecured) != 1 {
		t.Error("answered a packet of long ago")
	}
}

// Senders without an SA cannot make the engine keep more packets than the limit allows.
func TestHeldPacketsAreBounded(t *testing.T) {
	hub := hubAlone(t)
	for i := range 200 {
		s := sender{t, hub, fmt.Sprintf("198.51.100.%d", i)}
		s.says(registrationFrom("192.0.2.11", "10.255.0.11"))
		s.saysBytes(make([]byte, peers.MaxHeldLen+1))
	}
	if got := len(hub.engine.ifaces["gre1"].peers.Held.Senders()); got != 10 {
		t.Errorf("%d packets held, limit 10", got)
	}
	if len(hub.sent) != 0 {
		t.Error("answered somebody without an SA")
	}
	hub.w.run(peers.HoldTime)
	if got := len(hub.engine.ifaces["gre1"].peers.Held.Senders()); got != 0 {
		t.Errorf("%d packets held for ever", got)
	}
}

func TestRequestsOfOnePeerAreLimited(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Limits.Requests = 5 })
	s := hub.from("192.0.2.11", "spoke1")
	for range 1000 {
		s.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	}
	if len(hub.sent) != 10 || dropped(hub, overlay.DropRateLimit) != 990 {
		t.Errorf("%d answered, %d dropped", len(hub.sent), dropped(hub, overlay.DropRateLimit))
	}
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	if len(hub.status().Bindings) != 2 {
		t.Error("the flood of one locked out another")
	}
}

// A regional hub asks for all routers behind it, and an NHS passes on what many routers send. Both
// have a rate of their own for that. Any other router does not get that rate by naming others, and
// a client's own requests do not count as others'.
func TestRateOfThoseWhoSpeakForMany(t *testing.T) {
	few := func(c *overlay.InterfaceConfig) { c.Limits.Requests, c.Limits.Transit = 5, 50 }
	inAnothersName := requestFrom("192.0.2.99", "10.255.0.99", "172.16.0.10")
	forOthers := clone(inAnothersName)
	forOthers.Extensions[1].CIEs = []packet.CIE{
		{NBMA: addr("192.0.2.11"), Protocol: addr("10.255.0.11")},
	}
	client := func(t *testing.T) sender {
		s := hubAlone(t, few).from("192.0.2.11", "west")
		s.says(registrationFrom("192.0.2.11", "10.255.0.11"))
		return s
	}
	tests := []struct {
		rule string
		node func(t *testing.T) sender
		says packet.Packet
		most int // the packets that a burst of two seconds may have
	}{
		{"a client for others", client, forOthers, 100},
		{"a client for itself", client, requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.10"), 9},
		{"a client that gives itself another's name", client, inAnothersName, 9},
		{ // with an overlay address that no router can have
			"a client that registers others", client,
			registrationFrom("192.0.2.99", "10.255.0.255"), 9,
		},
		{"a client behind NAT for itself", func(t *testing.T) sender {
			s := hubAlone(t, few).from("192.0.2.11", "west")
			s.says(registrationFrom("10.1.0.2", "10.255.0.11"))
			return s
		}, requestFrom("10.1.0.2", "10.255.0.11", "172.16.0.10"), 9},
		{
			"somebody else for others",
			func(t *testing.T) sender { return hubAlone(t, few).from("192.0.2.66", "other") },
			forOthers, 10,
		},
		{"an NHS", func(t *testing.T) sender {
			_, hub := spokeAlone(t, few)
			return hub
		}, forOthers, 100},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			s := tt.node(t)
			before := dropped(s.to, overlay.DropRateLimit)
			for range 1000 {
				s.says(tt.says)
			}
			if got := 1000 - int(dropped(s.to, overlay.DropRateLimit)-before); got < tt.most-5 ||
				got > tt.most {
				t.Errorf("%d of 1000 were taken at once, want %d", got, tt.most)
			}
		})
	}
}

// One router cannot take all answers that there may be: not under its own name or made-up ones, and
// not directly or along an NHS. Other routers still get answers.
func TestAnswersOfOneRouter(t *testing.T) {
	few := func(c *overlay.InterfaceConfig) { c.Limits.Requests, c.Limits.Transit = 1000, 1000 }
	hub := func(t *testing.T) (node *node, flood, other sender) {
		n := hubAlone(t, few)
		n.addRoutes(event.Route{
			Prefix:  mustPrefix("0.0.0.0/0"),
			NextHop: addr("198.51.100.254"),
			Device:  "eth0",
		})
		flood, other = n.from("192.0.2.66", "mallory"), n.from("192.0.2.12", "spoke2")
		flood.says(registrationFrom("192.0.2.66", "10.255.0.66"))
		other.says(registrationFrom("192.0.2.12", "10.255.0.12"))
		return n, flood, other
	}
	spoke := func(t *testing.T) (node *node, flood, other sender) {
		n, hub := spokeAlone(t, few)
		n.addRoutes(event.Route{
			Prefix:  mustPrefix("203.0.0.0/16"),
			NextHop: addr("172.16.1.254"),
			Device:  "lan0",
		})
		n.from("192.0.2.66", "mallory")
		n.from("192.0.2.12", "spoke2")
		return n, hub, hub
	}
	for _, tt := range []struct {
		rule  string
		where func(*testing.T) (*node, sender, sender)
		asks  func(i int) packet.Packet
		dest  string // the destination that the other router asks for
	}{
		{"for many destinations", hub, func(i int) packet.Packet {
			return requestFrom(
				"192.0.2.66",
				"10.255.0.66", netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String(),
			)
		}, "172.16.0.10"},
		{"under many names", hub, func(i int) packet.Packet {
			return requestFrom(
				"192.0.2.66", netip.AddrFrom4([4]byte{10, 254, 0, byte(i)}).String(), "172.16.0.10",
			)
		}, "172.16.0.10"},
		{"at many addresses", hub, func(i int) packet.Packet {
			name := netip.AddrFrom4([4]byte{10, 254, 0, byte(i)})
			p := passedBy(
				requestFrom("10.1.2.3", name.String(), "172.16.0.10"), "192.0.2.66", "10.255.0.66",
			)
			return natTold(p, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String())
		}, "172.16.0.10"},
		{"along an NHS", spoke, func(i int) packet.Packet {
			return passedBy(
				requestFrom(
					"192.0.2.66", netip.AddrFrom4([4]byte{10, 254, 0, byte(i)}).String(), host1,
				),
				"192.0.2.1", "10.255.0.1",
			)
		}, host1},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			n, flood, other := tt.where(t)
			limits, ifc := n.cfg.Limits, n.engine.ifaces["gre1"]
			for i := range 2 * limits.Answers {
				flood.says(tt.asks(1 + i))
			}
			if got := len(ifc.Responder.Answers); got != limits.Answers/4 ||
				dropped(n, overlay.DropTableFull) != uint64(7*limits.Answers/4) {
				t.Errorf(
					"%d answers of %d, dropped %v", got, limits.Answers, n.engine.Stats().Dropped,
				)
			}
			p := passedBy(
				requestFrom("192.0.2.12", "10.255.0.12", tt.dest), "192.0.2.1", "10.255.0.1",
			)
			if tt.dest != host1 {
				p.Extensions[1].CIEs = nil
			}
			if got := only(t, other.says(p)); got.CIEs[0].Code != packet.CodeSuccess {
				t.Errorf("the other one got %s", got.CIEs[0].Code)
			}
			n.w.run(n.cfg.HoldingTime)
			if len(ifc.Responder.Answers)+len(ifc.Responder.Charged) != 0 {
				t.Errorf(
					"kept for ever: %d answers, shares %v",
					len(ifc.Responder.Answers),
					ifc.Responder.Charged,
				)
			}
		})
	}
}

// The tables keep to their limits, whatever an admitted peer sends.
func TestTablesAreBounded(t *testing.T) {
	n, hub := spokeAlone(t, func(c *overlay.InterfaceConfig) {
		c.Limits.Transit = 100000
		c.Limits.Bindings = 20
	})
	for i := range 1000 {
		other := netip.AddrFrom4([4]byte{10, 255, 0, byte(i)}).String()
		hub.says(indicationOf(host1, fmt.Sprintf("172.16.%d.%d", 100+i/250, i%250)))
		if other != "10.255.0.11" {
			hub.says(requestFrom(
				fmt.Sprintf("198.51.%d.%d", i/250, i%250), other, fmt.Sprintf("172.16.1.%d", i%250),
			))
			hub.says(requestFrom("198.51.100.1", other, fmt.Sprintf("172.16.1.%d", i%250)))
			p := registrationFrom("192.0.2.1", other)
			hub.says(p)
		}
		n.w.run(time.Millisecond)
	}
	ifc := n.engine.ifaces["gre1"]
	for what, is := range map[string][2]int{
		"shortcuts": {
			len(ifc.Requester.Shortcuts), 100,
		}, "requests": {len(ifc.Requester.Requests.ByID), 100},
		"answers":  {len(ifc.Responder.Answers), 100},
		"bindings": {len(ifc.server.Bindings), 20}, "unresolved": {
			len(ifc.Requester.Unresolved.ByDest), 100,
		}, "peers": {len(ifc.peers.ByID), 320},
	} {
		if is[0] > is[1] {
			t.Errorf("%d %s, limit %d", is[0], what, is[1])
		}
	}
}

// RFC 2332 §5.2.7 and the engine's own limits decide when an Error Indication is sent, what it
// quotes, and how many are sent in a second.
func TestErrorIndications(t *testing.T) {
	hub := hubAlone(t)
	s := hub.from("192.0.2.11", "spoke1")
	p := requestFrom("192.0.2.11", "10.255.0.11", "203.0.113.1")
	data, _ := p.Append(nil)
	got := only(t, s.saysBytes(data))
	want := packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       255,
		SourceNBMA:     addr("192.0.2.1"),
		SourceProtocol: addr("10.255.0.1"),
		DestProtocol:   addr("10.255.0.11"),
		ErrorCode:      packet.ErrorProtocolUnreachable,
		ErrorOffset:    36,
		Quoted:         data,
	}
	samePacket(t, got, want)

	malformed := slices.Clone(data)
	malformed[16] = 9 // the version
	fixChecksum(malformed)
	if got := only(t, s.saysBytes(malformed)); got.ErrorCode != packet.ErrorProtocol ||
		got.ErrorOffset != 16 {
		t.Errorf("malformed: %+v", got)
	}
	malformed[12]++ // damaged on the way, so its source may be wrong too
	if got := s.saysBytes(malformed); len(got) != 0 {
		t.Errorf("answered a damaged packet: %v", typesOf(got))
	}
	before := len(hub.sent)
	for range 100 {
		s.saysBytes(data)
	}
	if got := len(hub.sent) - before; got > 10 {
		t.Errorf("%d errors in no time, limit 10", got)
	}
}

// The errors about one router's packets take a share of the errors that go out in a second. Other
// routers still hear of their own faults, and all errors together keep to the limit.
func TestErrorsOfOneRouter(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Limits.Errors = 20 })
	told := func(nbma string) (count int) {
		s := hub.from(nbma, nbma)
		for range 30 {
			count += len(s.says(requestFrom(nbma, "10.255.0.77", "203.0.113.1")))
		}
		return count
	}
	var counts []int
	for _, nbma := range []string{
		"192.0.2.66", "192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14",
	} {
		counts = append(counts, told(nbma))
	}
	if want := []int{6, 6, 3, 1, 1}; !slices.Equal(counts, want) {
		t.Errorf("errors told to each %v, want %v", counts, want)
	}
}

// An Error Indication is never answered with another.
func TestErrorsAreNotAnswered(t *testing.T) {
	for name, change := range map[string]func(*packet.Packet){
		"for nobody we know":   func(p *packet.Packet) { p.DestProtocol = addr("203.0.113.1") },
		"for a client unknown": func(p *packet.Packet) { p.DestProtocol = addr("10.255.0.77") },
		"from ourselves":       func(p *packet.Packet) { p.SourceProtocol = addr("10.255.0.1") },
		"about nothing":        func(p *packet.Packet) { p.Quoted = []byte{1, 2, 3} },
		"without hops": func(p *packet.Packet) {
			p.HopCount = 1
			p.DestProtocol = addr("10.255.0.12")
		},
	} {
		hub := hubAlone(t)
		hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
		p := packet.Packet{
			Type:           packet.ErrorIndication,
			HopCount:       255,
			SourceNBMA:     addr("192.0.2.11"),
			SourceProtocol: addr("10.255.0.11"),
			DestProtocol:   addr("10.255.0.1"),
			ErrorCode:      packet.ErrorLoop,
			Quoted:         make([]byte, 60),
		}
		change(&p)
		if got := hub.from("192.0.2.11", "spoke1").says(p); len(got) != 0 {
			t.Errorf("%s: sent %v", name, typesOf(got))
		}
	}
}

// An error about the router's own request counts as a refusal. An error about another router's
// request is passed on to that router.
func TestErrorAboutRequest(t *testing.T) {
	n, hub := spokeAlone(t)
	request := only(t, hub.says(indicationOf(host1, host2)))
	data, _ := request.Append(nil)
	p := packet.Packet{
		Type:           packet.ErrorIndication,
		SourceNBMA:     addr("192.0.2.1"),
		SourceProtocol: addr("10.255.0.1"),
		DestProtocol:   addr("10.255.0.11"),
		ErrorCode:      packet.ErrorLoop,
		Quoted:         data[:30],
	}
	hub.says(p)
	if n.has(output.NoticeError) != 1 || len(n.status().Shortcuts) != 0 {
		t.Errorf("%+v", n.status().Shortcuts)
	}

	h := hubAlone(t)
	h.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	p.SourceProtocol, p.SourceNBMA, p.DestProtocol, p.HopCount =
		addr("10.255.0.11"), addr("192.0.2.11"), addr("10.255.0.12"), 255
	got := only(t, h.from("192.0.2.11", "spoke1").says(p))
	p.HopCount--
	samePacket(t, got, p)
}

// RFC 2332 §5.3.4: a wrong, missing or unexpected password is answered with error 11.
func TestAuthentication(t *testing.T) {
	for _, tt := range []struct {
		rule       string
		have, sent string
		ok         bool
	}{
		{"the same", "secret", "secret", true},
		{"none and none", "", "", true},
		{"another", "secret", "secreT", false},
		{"missing", "secret", "", false},
		{"unexpected", "", "secret", false},
	} {
		hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Authentication = tt.have })
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		if tt.sent != "" {
			p.Extensions = append(p.Extensions, packet.PasswordExtension(tt.sent))
		}
		got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
		if ok := got.Type == packet.RegistrationReply; ok != tt.ok ||
			!ok && got.ErrorCode != packet.ErrorAuthentication {
			t.Errorf("%s: %s %s", tt.rule, got.Type, got.ErrorCode)
		}
		if n := hub.last(output.NoticeRejected); !tt.ok &&
			(n.Identity != "spoke1" || !strings.Contains(
				n.Reason, "NHRP password",
			) || strings.Contains(strings.ToLower(n.Reason), "secret")) {
			t.Errorf("%s: told %+v", tt.rule, n)
		}
		if tt.ok && tt.have != "" {
			pw, err := packet.Password(*got.Extension(packet.ExtensionAuthentication))
			if err != nil || pw != tt.have {
				t.Errorf("%s: replied with %q, %v", tt.rule, pw, err)
			}
		}
	}
}

// Only the router that registered or answered something takes it back.
func TestWhoMayPurge(t *testing.T) {
	purge := func(nbma, overlay, dest, prefix string) packet.Packet {
		p := mustPrefix(prefix)
		return packet.Packet{
			Type:           packet.PurgeRequest,
			HopCount:       255,
			RequestID:      5,
			SourceNBMA:     addr(nbma),
			SourceProtocol: addr(overlay),
			DestProtocol:   addr(dest),
			CIEs:           []packet.CIE{{PrefixLength: uint8(p.Bits()), Protocol: p.Addr()}},
		}
	}
	hub := hubAlone(t)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	spoke1.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	spoke2 := hub.from("192.0.2.12", "spoke2")
	forged := purge("192.0.2.12", "10.255.0.12", "10.255.0.1", "10.255.0.11/32")
	if got := spoke2.says(forged); len(got) != 0 || len(hub.status().Bindings) != 1 {
		t.Errorf("sent %v, bindings %+v", typesOf(got), hub.status().Bindings)
	}
	quiet := purge("192.0.2.11", "10.255.0.11", "10.255.0.1", "10.255.0.11/32")
	quiet.Flags = packet.PurgeNoReply
	if got := spoke1.says(quiet); len(got) != 0 || len(hub.status().Bindings) != 0 {
		t.Errorf("sent %v, bindings %+v", typesOf(got), hub.status().Bindings)
	}

	n, via := spokeAlone(t)
	two := n.from("192.0.2.12", "spoke2")
	three := n.from("192.0.2.13", "spoke3")
	via.says(answerTo(
		only(t, via.says(indicationOf(host1, host2))), 24, "10.255.0.12", "192.0.2.12",
	))
	three.says(purge("192.0.2.13", "10.255.0.13", "10.255.0.11", lan2))
	three.says(purge("192.0.2.12", "10.255.0.12", "10.255.0.11", lan2))
	two.says(purge("192.0.2.12", "10.255.0.12", "10.255.0.11", "172.16.9.0/24"))
	via.says(purge("192.0.2.13", "10.255.0.13", "10.255.0.11", lan2))
	if len(n.shortcuts) != 1 || dropped(n, overlay.DropNotOwner) != 3 {
		t.Fatalf("routes %v, dropped %v", n.shortcuts, n.engine.Stats().Dropped)
	}
	two.says(purge("192.0.2.12", "10.255.0.12", "10.255.0.11", lan2))
	if len(n.shortcuts) != 0 {
		t.Error("its own purge was not honoured")
	}

	m := newMesh(t)
	m.makeShortcut()
	mallory := m.hub.from("192.0.2.66", "mallory")
	mallory.says(registrationFrom("192.0.2.66", "10.255.0.66"))
	mallory.says(purge("192.0.2.66", "10.255.0.12", "10.255.0.11", lan2))
	m.run(time.Second)
	if len(m.spoke1.shortcuts) != 1 || dropped(m.hub, overlay.DropNotOwner) != 1 {
		t.Errorf(
			"a third client's purge in another's name went through the hub: %v, dropped %v",
			m.spoke1.shortcuts, m.hub.engine.Stats().Dropped,
		)
	}
}

// Packets whose headers make no sense here are dropped.
func TestNonsense(t *testing.T) {
	for name, change := range map[string]func(*packet.Packet){
		"no source":      func(p *packet.Packet) { p.SourceProtocol = netip.Addr{} },
		"no destination": func(p *packet.Packet) { p.DestProtocol = netip.Addr{} },
		"another family": func(p *packet.Packet) {
			p.SourceProtocol, p.DestProtocol = addr("2001:db8::1"), addr("2001:db8::2")
			p.CIEs = nil
		},
		"our own address": func(p *packet.Packet) { p.SourceProtocol = addr("10.255.0.1") },
		"no NBMA address": func(p *packet.Packet) { p.SourceNBMA = netip.Addr{} },
		"our NBMA address": func(p *packet.Packet) {
			p.SourceNBMA = addr("192.0.2.1")
			p.Extensions[1].CIEs = []packet.CIE{{}}
		},
		"a multicast source": func(p *packet.Packet) {
			p.SourceNBMA = addr("224.0.0.1")
			p.Extensions[1].CIEs = []packet.CIE{{}}
		},
	} {
		hub := hubAlone(t)
		p := requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.9")
		change(&p)
		for _, got := range hub.from("192.0.2.11", "spoke1").says(p) {
			if got.Type == packet.ResolutionReply && got.CIEs[0].Code == packet.CodeSuccess {
				t.Errorf("%s: answered", name)
			}
		}
		if len(hub.engine.ifaces["gre1"].Responder.Answers) != 0 || len(hub.want) != 0 {
			t.Errorf("%s: left something behind", name)
		}
	}
}

// fixChecksum sets the checksum of a changed packet.
func fixChecksum(b []byte) {
	b[12], b[13] = 0, 0
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	b[12], b[13] = byte(^sum>>8), byte(^sum)
}
