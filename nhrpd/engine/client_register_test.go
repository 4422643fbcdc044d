package engine

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// netipValues makes cmp compare addresses and prefixes as values.
var netipValues = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// A registration has the form that Cisco's routers give it: one CIE without addresses, the
// extensions in their customary order, and the NHS in the NAT extension.
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
			{
				Type: packet.ExtensionNATAddress,
				CIEs: []packet.CIE{
					{PrefixLength: 32, NBMA: addr("192.0.2.1"), Protocol: addr("0.0.0.0")},
				},
			},
		},
	}
	tests := []struct {
		rule   string
		change func(*overlay.InterfaceConfig)
		want   func(*packet.Packet)
	}{
		{
			"an unknown NHS is asked at our own address", func(*overlay.InterfaceConfig) {},
			func(*packet.Packet) {},
		},
		{
			"a known NHS is asked at its address",
			func(c *overlay.InterfaceConfig) { c.NHS[0].Protocol = addr("10.255.0.1") },
			func(p *packet.Packet) {
				p.DestProtocol = addr("10.255.0.1")
				p.Extensions[3].CIEs[0].Protocol = addr("10.255.0.1")
			},
		},
		{
			"U goes with prefix length 255",
			func(c *overlay.InterfaceConfig) { c.Unique = true },
			func(p *packet.Packet) {
				p.Flags |= packet.RegistrationUnique
				p.CIEs[0].PrefixLength = 255
			},
		},
		{
			"a password stands before the NAT extension",
			func(c *overlay.InterfaceConfig) { c.Authentication = "secret" },
			func(p *packet.Packet) {
				p.Extensions = []packet.Extension{
					p.Extensions[0], p.Extensions[1], p.Extensions[2],
					packet.PasswordExtension("secret"), p.Extensions[3],
				}
			},
		},
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

// With a short holding time, a spoke retries more often than once a minute: six times in a holding
// time.
func TestRetriesFitIntoTheHoldingTime(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	cfg.HoldingTime = time.Minute
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
	n.from("192.0.2.1", "hub")
	n.w.run(2 * time.Minute)
	gaps := n.gaps()
	for i, want := range []time.Duration{1, 2, 4, 8, 10, 10, 10, 10} {
		want *= time.Second
		if gaps[i] > want || gaps[i] < want*3/4 {
			t.Errorf("retry %d after %s, want up to a quarter less than %s", i, gaps[i], want)
		}
	}
}

// A spoke retries within a second, doubles the interval up to a minute, and refreshes at a third of
// the holding time. Its request ids count up.
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
	if n.has(output.NoticeUnanswered) != 1 {
		t.Errorf("%d notices of silence, want 1", n.has(output.NoticeUnanswered))
	}

	before := len(n.sent)
	hub.says(acceptance(sent[0]))
	n.w.run(201 * time.Second)
	refresh := n.sentSince(before)[0]
	if refresh.RequestID == sent[0].RequestID {
		t.Error("a refresh has the id of the registration before")
	}
	if after := n.sent[before].at.Sub(n.status().NHS[0].Registered); after > 200*time.Second ||
		after < 190*time.Second {
		t.Errorf("refreshed after %s, want a third of 10 minutes", after)
	}
}

// A registration that is not refreshed within its holding time ends.
func TestRegistrationExpires(t *testing.T) {
	n, _ := spokeAlone(t)
	n.w.run(9 * time.Minute)
	if !n.registered() {
		t.Error("ended before its holding time")
	}
	n.w.run(2 * time.Minute)
	if st := n.status().NHS[0]; st.State != report.NHSRegistering || !st.Expires.IsZero() {
		t.Errorf("%+v", st)
	}
}

// A static map of an NBMA address comes before what an NHS says.
func TestStaticMapBeforeNHS(t *testing.T) {
	n, _ := spokeAlone(t, func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.1"), NBMA: addr("192.0.2.99")}}
	})
	if got := n.neighbors[addr("10.255.0.1")]; got != peerAt("192.0.2.99") {
		t.Errorf("neighbour at %s", got)
	}
	n.configure(func(c *overlay.InterfaceConfig) { c.Maps = nil })
	if got := n.neighbors[addr("10.255.0.1")]; got != peerAt("192.0.2.1") {
		t.Errorf("neighbour at %s", got)
	}
}

func (n *node) gaps() []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(n.sent); i++ {
		gaps = append(gaps, n.sent[i].at.Sub(n.sent[i-1].at))
	}
	return gaps
}

// A reply counts only if it comes from the NHS, with the request's id and the spoke's addresses.
func TestRegistrationRepliesThatAreNotOurs(t *testing.T) {
	tests := map[string]func(*packet.Packet) string{
		"another id": func(p *packet.Packet) string {
			p.RequestID++
			return "192.0.2.1"
		},
		"another sender": func(p *packet.Packet) string { return "192.0.2.66" },
		"another source NBMA": func(p *packet.Packet) string {
			p.SourceNBMA = addr("192.0.2.99")
			return "192.0.2.1"
		},
		"somebody else's answer": func(p *packet.Packet) string {
			p.SourceProtocol = addr("10.255.0.12")
			return "192.0.2.1"
		},
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
	if st := n.status().NHS[0]; st.State != report.NHSRefused || st.Error == "" ||
		n.has(output.NoticeRefused) != 1 {
		t.Fatalf("%+v", st)
	}
	n.w.run(2 * time.Second)
	again := n.sentSince(1)
	if len(again) == 0 || again[0].RequestID == reply.RequestID {
		t.Errorf("no new request after a refusal: %+v", again)
	}
}

// If an NHS's overlay address is not configured, the spoke learns it from the reply.
func TestDynamicNHS(t *testing.T) {
	n, _ := spokeAlone(t)
	if st := n.status().NHS[0]; st.Protocol != addr("10.255.0.1") ||
		n.neighbors[addr("10.255.0.1")] != peerAt("192.0.2.1") {
		t.Errorf("%+v, neighbours %v", st, n.neighbors)
	}
}

// The spoke tries the addresses of an NHS in turn.
func TestNextAddressOfNHS(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	cfg.NHS = []overlay.NHSConfig{{Name: "hub.example.net"}}
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
	n.handle(event.NHSResolved{
		Interface: "gre1",
		Name:      "hub.example.net",
		NBMA:      []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")},
	})
	n.from("192.0.2.1", "hub")
	n.w.run(10 * time.Second) // three requests have no answer, so the second address is next
	n.handle(event.PeerFailed{Interface: "gre1", ID: peerAt("192.0.2.2"), Reason: "no answer"})
	if got := n.status().NHS[0].NBMA; got != addr("192.0.2.1") {
		t.Errorf("at %s, want the first again", got)
	}
	if n.has(output.NoticePeerFailed) == 0 {
		t.Error("the failure was not told")
	}
}

// Of a name's addresses, the spoke uses those of the family that the tunnel sends from, and no
// others. The order in which they and the spoke's own address become known does not matter.
func TestNHSNameOfTwoFamilies(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	cfg.NHS = []overlay.NHSConfig{{Name: "hub.example.net"}}
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
	both := event.NHSResolved{
		Interface: "gre1",
		Name:      "hub.example.net",
		NBMA:      []netip.Addr{addr("2001:db8::1"), addr("192.0.2.1"), addr("2001:db8::2")},
	}
	only := func(when string) {
		t.Helper()
		if st := n.status().NHS[0]; st.NBMA != addr("192.0.2.1") ||
			st.State == report.NHSUnresolved {
			t.Errorf("%s: %+v", when, st)
		}
		for id := range n.dials {
			if id.Address().Is6() {
				t.Errorf("%s: dialled %s", when, id)
			}
		}
	}
	n.handle(both)
	only("resolved")
	n.handle(event.PeerFailed{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "no answer"})
	only("the SA failed")
	n.boot(report.Saved{})
	n.handle(event.LocalAddress{Interface: "gre1"})
	n.handle(both)
	only("while the underlay has no address")

	n.engine = New(rand.New(rand.NewPCG(1, 1)), 1)
	n.engine.Configure(n.w.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{cfg}}, &n.out)
	n.engine.Handle(n.w.now, both, &n.out)
	n.engine.Handle(
		n.w.now,
		event.LocalAddress{Interface: "gre1", NBMA: addr("192.0.2.11")},
		&n.out,
	)
	if st := n.status().NHS[0]; st.NBMA != addr("192.0.2.1") {
		t.Errorf("resolved before there was an address to send from: %+v", st)
	}
}

// If a name has no address of the tunnel's family, the NHS's status shows that as its error, and
// the log does once. An address in use stays.
func TestNHSNameOfAnotherFamily(t *testing.T) {
	cfg := spokeConfig("10.255.0.11/24")
	cfg.NHS = []overlay.NHSConfig{{Name: "hub.example.net"}}
	n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
	resolve := func(a string) {
		n.handle(event.NHSResolved{
			Interface: "gre1",
			Name:      "hub.example.net",
			NBMA:      []netip.Addr{addr(a)},
		})
	}
	resolve("2001:db8::1")
	resolve("2001:db8::1")
	registration := report.RegistrationStatus{
		Address: addr("10.255.0.11"),
		State:   report.NHSUnresolved,
		Error:   "its name has no address that the tunnel can send to from 192.0.2.11, only such as 2001:db8::1, of another IP version",
	}
	want := report.NHSStatus{
		Name:               "hub.example.net",
		RegistrationStatus: registration,
		Registrations:      []report.RegistrationStatus{registration},
	}
	if diff := cmp.Diff(want, n.status().NHS[0], netipValues); diff != "" ||
		n.has(output.NoticeUnanswered) != 1 || len(n.dials) != 0 {
		t.Errorf(
			"want (-), got (+), notices %d, dials %v:\n%s",
			n.has(output.NoticeUnanswered),
			n.dials,
			diff,
		)
	}
	resolve("192.0.2.1")
	resolve("2001:db8::1")
	if st := n.status().NHS[0]; st.NBMA != addr("192.0.2.1") || st.Error != "" {
		t.Errorf("%+v", st)
	}
}

// When an NHS has moved, the spoke wants nothing any more at the address that the NHS had before.
func TestNHSMoves(t *testing.T) {
	n, _ := spokeAlone(t)
	if got := n.neighbors[addr("10.255.0.1")]; got != peerAt("192.0.2.1") {
		t.Fatalf("neighbour of the NHS: %s", got)
	}
	n.handle(event.NHSResolved{
		Interface: "gre1",
		Name:      "192.0.2.1",
		NBMA:      []netip.Addr{addr("192.0.2.2")},
	})
	if len(n.neighbors) != 0 {
		t.Errorf("neighbours %v", n.neighbors)
	}
}

// A name that cannot be resolved for a while does not end the registration.
func TestNHSNameLost(t *testing.T) {
	n, _ := spokeAlone(t)
	n.handle(event.NHSResolved{Interface: "gre1", Name: "192.0.2.1"})
	if !n.registered() {
		t.Error("registration gone")
	}
}

// An NHS may grant a shorter holding time than the spoke asked for.
func TestShorterHoldingTimeOfNHS(t *testing.T) {
	n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	reply := acceptance(only(t, n.sentSince(0)))
	reply.CIEs[0].HoldingTime = 30
	hub.says(reply)
	st := n.status().NHS[0]
	if refresh := st.Next.Sub(n.w.now); refresh > 10*time.Second ||
		st.Expires.Sub(n.w.now) != 30*time.Second {
		t.Errorf("refreshes in %s, expires in %s", refresh, st.Expires.Sub(n.w.now))
	}
}

// The public address that an NHS saw for the old local address does not count for the new one.
func TestPublicAddressOfOldLocalAddress(t *testing.T) {
	m := newMeshNAT(t, true, false)
	m.spoke1.handle(event.LocalAddress{Interface: "gre1", NBMA: addr("203.0.113.9")})
	if got := m.spoke1.status().PublicNBMA; got.IsValid() {
		t.Errorf("still public at %s", got)
	}
}

// A new local address is registered at once.
func TestLocalAddressChanges(t *testing.T) {
	n, _ := spokeAlone(t)
	before := len(n.sent)
	n.handle(event.LocalAddress{Interface: "gre1"})
	n.handle(event.LocalAddress{Interface: "gre1", NBMA: addr("192.0.2.111")})
	if got := only(t, n.sentSince(before)); got.SourceNBMA != addr("192.0.2.111") {
		t.Errorf("registered from %s", got.SourceNBMA)
	}
}

// A hub that comes back has forgotten the spoke, so the spoke registers again.
func TestRegistersWhenNHSComesBack(t *testing.T) {
	n, hub := spokeAlone(t)
	before := len(n.sent)
	n.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "DPD"})
	if st := n.status().NHS[0].State; st != report.NHSSecuring {
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
