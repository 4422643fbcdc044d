package server

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/mismatch"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

type (
	peerParts     = peers.Parts
	neighborParts = neighbors.Parts
	purgeParts    = purge.Parts
	clientParts   = client.Parts
)

// fakeParts stands for the other parts of the interface. A call that it does not expect panics.
type fakeParts struct {
	peerParts
	neighborParts
	purgeParts
	clientParts

	srv *Server
}

func (f *fakeParts) NeighborChanged(netip.Addr)    {}
func (f *fakeParts) ReviseAdmission(peerid.ID)     {}
func (f *fakeParts) ReviewAskers(*peers.Peer) bool { return false }
func (f *fakeParts) EndAdmission(peerid.ID)        {}
func (f *fakeParts) PeerReady(p *peers.Peer)       { f.srv.ConfirmWhereItIs(p) }
func (f *fakeParts) UsesShortcuts() bool           { return false }
func (f *fakeParts) Answered(peerid.ID) bool       { return false }
func (f *fakeParts) PrefixRouted(netip.Prefix)     {}

func (f *fakeParts) AnnouncedIn(prefix netip.Prefix) *Announced {
	return f.srv.Announced.ByPrefix[prefix]
}

// keeper is the interface as the rules about prefixes see it.
type keeper struct {
	*overlay.Interface
	srv *Server
}

func (k keeper) UnderlayInside(prefix netip.Prefix) netip.Addr {
	return k.srv.Away.AwayInside(prefix)
}

// fixture is the server of the hub 10.255.0.1 at 192.0.2.1, in virtual time. It accepts prefixes in
// 172.16.0.0/12 and 198.51.0.0/16.
type fixture struct {
	*Server
	t   *testing.T
	now time.Time
	out output.Output
}

func newFixture(t *testing.T, change ...func(*overlay.InterfaceConfig)) *fixture {
	t.Helper()
	cfg := overlay.InterfaceConfig{
		Name:        "gre1",
		Address:     netip.MustParsePrefix("10.255.0.1/24"),
		Table:       254,
		Protected:   true,
		Server:      true,
		HoldingTime: 10 * time.Minute,
		MTU:         1400,
		Accept: []netip.Prefix{
			netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("198.51.0.0/16"),
		},
		Limits: overlay.Limits{
			Bindings: 100, Prefixes: 10, Answers: 10, Requests: 1000, Errors: 10,
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	ifc := overlay.NewInterface(overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 100), nil)
	ifc.Configure(cfg)
	ifc.Local, ifc.Known = addr("192.0.2.1"), addr("192.0.2.1")
	parts := &fakeParts{}
	ps := peers.New(ifc, parts, 0)
	ifc.Peers = &ps
	ps.Rules.Configure(authorization.Config{Protected: cfg.Protected, MostRemembered: 100})
	ns := neighbors.New(ifc, &ps, parts, 0)
	ad := admission.New(ifc, &ps, 0)
	purges := purge.New(ifc, &ps, &ns, parts)
	mm := mismatch.New(ifc)
	var srv Server
	rules := prefixes.New(ifc, func(yield func(prefixes.Keeper) bool) { yield(keeper{ifc, &srv}) })
	cl := client.New(client.Needs{Interface: ifc, Peers: &ps, Neighbors: &ns, Admissions: &ad,
		Purges: &purges, Prefixes: &rules, Parts: parts})
	var inquiries inquiry.Table
	srv = New(Needs{Interface: ifc, Peers: &ps, Neighbors: &ns, Admissions: &ad, Purges: &purges,
		Client: &cl, Prefixes: &rules, Mismatches: &mm, Inquiries: &inquiries, Parts: parts}, 0)
	inquiries = inquiry.New(ifc, nil)
	parts.srv = &srv
	f := &fixture{Server: &srv, t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.do(func() {
		cl.SetNHSs()
		srv.SetMaps()
	})
	return f
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// do does one thing at the present time.
func (f *fixture) do(what func()) {
	f.out.Reset()
	f.Enter(f.now, &f.out)
	what()
}

// wait lets time pass, timer by timer.
func (f *fixture) wait(d time.Duration) {
	for end := f.now.Add(d); ; {
		due, is := f.Timers.Next()
		if !is || due.After(end) {
			f.now = end
			f.do(func() {})
			return
		}
		f.now = overlay.Later(f.now, due)
		f.do(func() { f.Timers.Advance(f.now) })
	}
}

// secured gives a router at an NBMA address an SA.
func (f *fixture) secured(nbma, identity string) {
	f.do(func() { f.Peers.PeerSecured(event.Peer{ID: peerid.At(addr(nbma)), Identity: identity}) })
}

// gone ends the SA with the router at an NBMA address, which does not come back.
func (f *fixture) gone(nbma string) {
	f.do(func() { f.Peers.PeerLost(peerid.At(addr(nbma)), "gone", false) })
	f.wait(peers.LostGrace)
}

// registration returns the registration of a router's overlay address for ten minutes.
func registration(nbma, protocol string) *overlay.Message {
	return &overlay.Message{From: peerid.At(addr(nbma)), Packet: &packet.Packet{
		Type:           packet.RegistrationRequest,
		RequestID:      1,
		SourceNBMA:     addr(nbma),
		SourceProtocol: addr(protocol),
		DestProtocol:   addr("10.255.0.1"),
		CIEs:           []packet.CIE{{PrefixLength: 32, HoldingTime: 600}},
	}}
}

// announcement returns the registration of a prefix of a router for ten minutes.
func announcement(nbma, protocol, prefix string) *overlay.Message {
	m, p := registration(nbma, protocol), netip.MustParsePrefix(prefix)
	m.CIEs[0].Protocol, m.CIEs[0].PrefixLength = p.Addr(), uint8(p.Bits())
	return m
}

// objects returns the objection to a registration, which takes effect if there is none.
func (f *fixture) objects(m *overlay.Message) (o objection.Objection) {
	f.do(func() { o = f.registerClient(m, &m.CIEs[0]) })
	return o
}

// registers lets a router with an SA register its address, to which there must be no objection.
func (f *fixture) registers(nbma, identity, protocol string) {
	f.t.Helper()
	f.secured(nbma, identity)
	if o := f.objects(registration(nbma, protocol)); o.Raised() {
		f.t.Fatalf("%s cannot register %s: %s", identity, protocol, o.Text)
	}
}

// announces lets a registered router announce a prefix, to which there must be no objection.
func (f *fixture) announces(nbma, protocol, prefix string) {
	f.t.Helper()
	if o := f.objects(announcement(nbma, protocol, prefix)); o.Raised() {
		f.t.Fatalf("%s cannot announce %s: %s", protocol, prefix, o.Text)
	}
}

// Each rule that a registration of an address may break, with the code of the reply (RFC 2332
// §5.2.0.1).
func TestObjections(t *testing.T) {
	const at, name = "192.0.2.11", "10.255.0.11"
	for _, tt := range []struct {
		rule   string
		change func(*overlay.InterfaceConfig)
		before func(*fixture)
		edit   func(*overlay.Message)
		want   objection.Kind
		code   packet.Code
	}{
		{rule: "nothing", want: objection.None, code: packet.CodeSuccess},
		{rule: "server is not set", want: objection.ServiceOff, code: packet.CodeProhibited,
			change: func(c *overlay.InterfaceConfig) { c.Server = false }},
		{rule: "an address of the other IP version", want: objection.Malformed,
			code: packet.CodeProhibited,
			edit: func(m *overlay.Message) { m.CIEs[0].Protocol = addr("2001:db8::1") }},
		{rule: "a blocked identity", want: objection.IdentityBlocked, code: packet.CodeProhibited,
			before: func(f *fixture) {
				f.Blocks["spoke1"] = &authorization.Block{Identity: "spoke1"}
				f.Peers.SetAuthorizations(f.Peers.ByID[peerid.At(addr(at))])
			}},
		{rule: "our own address", want: objection.WrongAddress, code: packet.CodeProhibited,
			edit: func(m *overlay.Message) { m.SourceProtocol = addr("10.255.0.1") }},
		{rule: "an address outside the overlay", want: objection.WrongAddress,
			code:   packet.CodeProhibited,
			edit:   func(m *overlay.Message) { m.SourceProtocol = addr("10.254.0.11") },
			change: func(c *overlay.InterfaceConfig) { c.Accept = nil }},
		{rule: "the broadcast address", want: objection.WrongAddress, code: packet.CodeProhibited,
			edit: func(m *overlay.Message) { m.SourceProtocol = addr("10.255.0.255") }},
		{rule: "somebody else's NBMA address", want: objection.OtherNBMA,
			code: packet.CodeProhibited,
			edit: func(m *overlay.Message) { m.CIEs[0].NBMA = addr("192.0.2.66") }},
		{rule: "limits.bindings", want: objection.LimitReached,
			code:   packet.CodeInsufficientResources,
			change: func(c *overlay.InterfaceConfig) { c.Limits.Bindings = 1 },
			before: func(f *fixture) { f.registers("192.0.2.12", "spoke2", "10.255.0.12") }},
		{rule: "the address of an NHS", want: objection.AddressOfNHS, code: packet.CodeProhibited,
			change: func(c *overlay.InterfaceConfig) {
				c.NHS = []overlay.NHSConfig{{Name: "nhs", Protocol: addr(name)}}
			}},
		{rule: "a static map", want: objection.AddressMapped, code: packet.CodeProhibited,
			change: func(c *overlay.InterfaceConfig) {
				c.Maps = []overlay.Map{{Protocol: addr(name), NBMA: addr("192.0.2.99")}}
			}},
		{rule: "the address of a client", want: objection.AddressTaken,
			code:   packet.CodeUniqueRegistered,
			before: func(f *fixture) { f.registers("192.0.2.12", "spoke2", name) }},
		{rule: "the address of a client whose SA went", want: objection.AddressTaken,
			code: packet.CodeUniqueRegistered,
			before: func(f *fixture) {
				f.registers("192.0.2.12", "spoke2", name)
				f.gone("192.0.2.12")
			}},
		{rule: "the address of a second router with the identity", want: objection.Duplicate,
			code: packet.CodeUniqueRegistered,
			before: func(f *fixture) {
				f.registers(at, "spoke1", name)
				f.wait(time.Second)
				f.registers("192.0.2.12", "spoke1", name)
			}},
		{rule: "as many addresses as one router may have", want: objection.LimitReached,
			code: packet.CodeInsufficientResources,
			before: func(f *fixture) {
				for i := range overlay.MaxAddressesOfOne {
					f.registers(at, "spoke1", fmt.Sprintf("10.255.0.%d", 100+i))
				}
			}},
		{rule: "one of as many addresses, which it still owns", want: objection.None,
			code: packet.CodeSuccess,
			before: func(f *fixture) {
				for i := range overlay.MaxAddressesOfOne {
					f.registers(at, "spoke1", fmt.Sprintf("10.255.0.%d", 100+i))
				}
				f.gone(at)
				f.secured(at, "spoke1")
			},
			edit: func(m *overlay.Message) { m.SourceProtocol = addr("10.255.0.100") }},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, func(c *overlay.InterfaceConfig) {
				if tt.change != nil {
					tt.change(c)
				}
			})
			f.secured(at, "spoke1")
			if tt.before != nil {
				tt.before(f)
			}
			m := registration(at, name)
			if tt.edit != nil {
				tt.edit(m)
			}
			o := f.objects(m)
			if o.Kind != tt.want || o.Code() != tt.code {
				t.Errorf("the objection is %d, code %s, %q; want %d, code %s",
					o.Kind, o.Code(), o.Text, tt.want, tt.code)
			}
		})
	}
}

// The reply has the code of each CIE. A registration that names another NHS is refused, and one
// that cannot be answered gets an Error Indication.
func TestReply(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*overlay.Message)
		want packet.Type
		code packet.Code
	}{
		{"accepted", func(*overlay.Message) {}, packet.RegistrationReply, packet.CodeSuccess},
		{"its own address as the destination",
			func(m *overlay.Message) { m.DestProtocol = m.SourceProtocol },
			packet.RegistrationReply, packet.CodeSuccess},
		{"another NHS", func(m *overlay.Message) { m.DestProtocol = addr("10.255.0.2") },
			packet.RegistrationReply, packet.CodeProhibited},
		{"no CIE", func(m *overlay.Message) { m.CIEs = nil }, packet.ErrorIndication, 0},
		{"two CIEs with the U flag", func(m *overlay.Message) {
			m.Flags, m.CIEs = packet.RegistrationUnique, append(m.CIEs, m.CIEs[0])
		}, packet.ErrorIndication, 0},
	} {
		f := newFixture(t)
		f.secured("192.0.2.11", "spoke1")
		m := registration("192.0.2.11", "10.255.0.11")
		tt.edit(m)
		raw, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Raw = raw
		f.do(func() { f.Registration(m) })
		if len(f.out.Packets) != 1 {
			t.Errorf("%s: %d packets sent, want 1", tt.name, len(f.out.Packets))
			continue
		}
		var p packet.Packet
		if err := p.Parse(f.out.Packets[0].Data); err != nil || p.Type != tt.want {
			t.Errorf("%s: sent %s, %v; want %s", tt.name, p.Type, err, tt.want)
		}
		if tt.want == packet.RegistrationReply && p.CIEs[0].Code != tt.code {
			t.Errorf("%s: code %s, want %s", tt.name, p.CIEs[0].Code, tt.code)
		}
	}
}

// A binding ends when it is not refreshed within its holding time. A shorter one than LeastHolding
// counts as LeastHolding, and the reply says so.
func TestHoldingTime(t *testing.T) {
	for _, tt := range []struct{ asked, granted uint16 }{{600, 600}, {1, 10}, {0, 10}} {
		f := newFixture(t)
		f.secured("192.0.2.11", "spoke1")
		m := registration("192.0.2.11", "10.255.0.11")
		m.CIEs[0].HoldingTime = tt.asked
		f.objects(m)
		if got := m.CIEs[0].HoldingTime; got != tt.granted {
			t.Errorf("%d s are granted for %d s, want %d s", got, tt.asked, tt.granted)
		}
		f.wait(time.Duration(tt.granted)*time.Second - 1)
		if len(f.Bindings) != 1 {
			t.Errorf("asked for %d s: the binding ended before its time", tt.asked)
		}
		f.wait(1)
		if len(f.Bindings) != 0 {
			t.Errorf("asked for %d s: the binding has not ended", tt.asked)
		}
	}
}

// An address belongs to an identity whose SA went, until the registration would have expired.
func TestOwner(t *testing.T) {
	for _, tt := range []struct {
		name     string
		end      func(*fixture) // how the binding of spoke1 ends
		identity string         // who registers then
		wait     time.Duration
		want     objection.Kind
	}{
		{"another, at once", nil, "spoke2", 0, objection.AddressTaken},
		{"another, when it has expired", nil, "spoke2", 10 * time.Minute, objection.None},
		{"the owner itself", nil, "spoke1", 0, objection.None},
		{"another, after the owner took it back", func(f *fixture) {
			f.do(func() { f.Unbind(f.Bindings[addr("10.255.0.11")], "taken back") })
		}, "spoke2", 0, objection.None},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.registers("192.0.2.11", "spoke1", "10.255.0.11")
			if tt.end == nil {
				f.gone("192.0.2.11")
			} else {
				tt.end(f)
			}
			f.wait(tt.wait)
			f.secured("192.0.2.12", tt.identity)
			if o := f.objects(registration("192.0.2.12", "10.255.0.11")); o.Kind != tt.want {
				t.Errorf("the objection is %d, %q; want %d", o.Kind, o.Text, tt.want)
			}
			if reserved := len(f.Owners.ByAddress) > 0; reserved != (tt.want != objection.None) {
				t.Errorf("the address is reserved: %v", reserved)
			}
		})
	}
}

// No prefix may cover the NBMA address of a client that went, until the client registers again or
// AwayTime is over.
func TestAway(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(*fixture)
		want objection.Kind
	}{
		{"it is away", func(*fixture) {}, objection.HidesUnderlay},
		{"it is back elsewhere", func(f *fixture) {
			f.registers("192.0.2.11", "spoke1", "10.255.0.11")
		}, objection.None},
		{"it has been away for long", func(f *fixture) {
			f.wait(AwayTime)
			f.registers("192.0.2.12", "spoke2", "10.255.0.12")
		}, objection.None},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.registers("198.51.100.11", "spoke1", "10.255.0.11")
			f.registers("192.0.2.12", "spoke2", "10.255.0.12")
			f.gone("198.51.100.11")
			tt.then(f)
			o := f.objects(announcement("192.0.2.12", "10.255.0.12", "198.51.100.0/24"))
			if o.Kind != tt.want {
				t.Errorf("the objection is %d, %q; want %d", o.Kind, o.Text, tt.want)
			}
		})
	}
}

// Who may announce which prefix, with the code of the reply. A prefix belongs to the client that
// announced it first.
func TestPrefixes(t *testing.T) {
	const at, name = "192.0.2.12", "10.255.0.12"
	for _, tt := range []struct {
		rule   string
		change func(*overlay.InterfaceConfig)
		edit   func(*overlay.Message)
		prefix string
		want   objection.Kind
		code   packet.Code
	}{
		{rule: "a free one", prefix: "172.17.0.0/24"},
		{rule: "another client's", prefix: "172.16.1.0/24", want: objection.PrefixTaken,
			code: packet.CodeUniqueRegistered},
		{rule: "a longer one inside another client's", prefix: "172.16.1.128/25"},
		{rule: "a shorter one around another client's", prefix: "172.16.0.0/16"},
		{rule: "outside accept", prefix: "10.1.0.0/16", want: objection.PrefixNotAccepted,
			code: packet.CodeProhibited},
		{rule: "nothing is accepted", prefix: "172.17.0.0/24", want: objection.ServiceOff,
			code:   packet.CodeProhibited,
			change: func(c *overlay.InterfaceConfig) { c.Accept = nil }},
		{rule: "with the U flag", prefix: "172.17.0.0/24", want: objection.Malformed,
			code: packet.CodeProhibited,
			edit: func(m *overlay.Message) { m.Flags = packet.RegistrationUnique }},
		{rule: "from a router that is not registered", prefix: "172.17.0.0/24",
			want: objection.ClientUnknown, code: packet.CodeNoBinding,
			edit: func(m *overlay.Message) { m.SourceProtocol = addr("10.255.0.99") }},
		{rule: "in another client's name", prefix: "172.17.0.0/24", want: objection.OtherClient,
			code: packet.CodeProhibited,
			edit: func(m *overlay.Message) { m.SourceProtocol = addr("10.255.0.11") }},
		{rule: "limits.prefixes", prefix: "172.17.0.0/24", want: objection.LimitReached,
			code:   packet.CodeInsufficientResources,
			change: func(c *overlay.InterfaceConfig) { c.Limits.Prefixes = 1 }},
		{rule: "the overlay", prefix: "10.255.0.128/25", want: objection.HidesOverlay,
			code: packet.CodeProhibited, change: func(c *overlay.InterfaceConfig) {
				c.Accept = append(c.Accept, netip.MustParsePrefix("10.0.0.0/8"))
			}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t)
			f.registers("192.0.2.11", "spoke1", "10.255.0.11")
			f.announces("192.0.2.11", "10.255.0.11", "172.16.1.0/24")
			f.registers(at, "spoke2", name)
			if tt.change != nil {
				tt.change(&f.Config)
			}
			m := announcement(at, name, tt.prefix)
			if tt.edit != nil {
				tt.edit(m)
			}
			if o := f.objects(m); o.Kind != tt.want || o.Code() != tt.code {
				t.Errorf("the objection is %d, code %s, %q; want %d, code %s",
					o.Kind, o.Code(), o.Text, tt.want, tt.code)
			}
			there := f.Announced.ByPrefix[netip.MustParsePrefix(tt.prefix)]
			if tt.want == objection.None &&
				(there == nil || there.Owner.Protocol != addr(name)) {
				t.Errorf("%s is announced by %+v, want by %s", tt.prefix, there, name)
			}
		})
	}
}

// The route to a prefix is wanted while its client is secured, and ends with the binding.
func TestPrefixRoute(t *testing.T) {
	f := newFixture(t)
	wanted := map[netip.Prefix]bool{}
	follow := func() {
		for _, r := range f.out.Routes {
			wanted[r.Prefix] = !r.Delete
		}
	}
	lan := netip.MustParsePrefix("172.16.1.0/24")
	f.registers("192.0.2.11", "spoke1", "10.255.0.11")
	f.announces("192.0.2.11", "10.255.0.11", lan.String())
	follow()
	if !wanted[lan] {
		t.Error("no route is wanted when the prefix is announced")
	}
	f.do(func() { f.Peers.PeerLost(peerid.At(addr("192.0.2.11")), "lost", false) })
	follow()
	if wanted[lan] {
		t.Error("the route is wanted without an SA")
	}
	f.secured("192.0.2.11", "spoke1")
	follow()
	if !wanted[lan] {
		t.Error("no route is wanted when the SA is back")
	}
	f.do(func() { f.Unbind(f.Bindings[addr("10.255.0.11")], "for the test") })
	follow()
	if wanted[lan] || len(f.Announced.ByPrefix) != 0 {
		t.Error("the route is wanted without a binding")
	}
}

// A router that does not receive our replies repeats its registration, and one that takes its
// address from another in turn is reported as well.
func TestMismatches(t *testing.T) {
	kinds := func(f *fixture) (list []report.MismatchKind) {
		for _, m := range f.Mismatches.List(f.now) {
			list = append(list, m.Kind)
		}
		return list
	}
	f := newFixture(t)
	for i := range repeatsReported + 1 {
		if got := kinds(f); len(got) != 0 {
			t.Errorf("after %d registrations: reported %v", i, got)
		}
		f.registers("192.0.2.11", "spoke1", "10.255.0.11")
	}
	if got := kinds(f); !slices.Equal(got, []report.MismatchKind{report.MismatchDeaf}) {
		t.Errorf("a repeated registration is reported as %v", got)
	}
	unprotected := func(c *overlay.InterfaceConfig) { c.Protected = false }
	f = newFixture(t, unprotected)
	for i := range 3 {
		m := registration(fmt.Sprintf("192.0.2.%d", 11+i), "10.255.0.11")
		m.RequestID += uint32(i)
		f.objects(m)
	}
	if got := kinds(f); len(got) != 0 {
		t.Errorf("a router that moves on and on is reported as %v", got)
	}
	f = newFixture(t, unprotected)
	for i := range 3 {
		if got := kinds(f); len(got) != 0 {
			t.Errorf("after %d moves: reported %v", i, got)
		}
		m := registration([]string{"192.0.2.11", "192.0.2.12"}[i%2], "10.255.0.11")
		m.RequestID += uint32(i)
		f.objects(m)
	}
	if got := kinds(f); !slices.Equal(got, []report.MismatchKind{report.MismatchTwice}) {
		t.Errorf("registrations in turn are reported as %v", got)
	}
}

// A sender has one bucket for requests and one for replies, so that a router which asks a lot still
// gets its answers. What a client passes on for others has larger buckets.
func TestRates(t *testing.T) {
	record := packet.Extension{Type: packet.ExtensionForwardTransit,
		CIEs: []packet.CIE{{NBMA: addr("192.0.2.77"), Protocol: addr("10.255.0.77")}}}
	const client = "10.255.0.11"
	for _, tt := range []struct {
		name   string
		packet packet.Packet
		want   int // packets taken at a time: twice the rate
	}{
		{"a client's own requests",
			packet.Packet{Type: packet.ResolutionRequest, SourceProtocol: addr(client)}, 4},
		{"requests that a client passes on", packet.Packet{Type: packet.ResolutionRequest,
			SourceProtocol: addr("10.255.0.77"), Extensions: []packet.Extension{record}}, 40},
		{"requests in another's name that have passed no router", packet.Packet{
			Type: packet.ResolutionRequest, SourceProtocol: addr("10.255.0.77")}, 4},
		{"a registration of two addresses", packet.Packet{Type: packet.RegistrationRequest,
			SourceProtocol: addr(client), CIEs: make([]packet.CIE, 2)}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(c *overlay.InterfaceConfig) {
				c.Limits.Requests, c.Limits.Transit = 2, 20
			})
			f.registers("192.0.2.11", "spoke1", client)
			m := &overlay.Message{Packet: &tt.packet, From: peerid.At(addr("192.0.2.11"))}
			taken := 0
			for range 100 {
				if f.Takes(f.now, m) {
					taken++
				}
			}
			if taken != tt.want {
				t.Errorf("%d of 100 packets are taken, want %d", taken, tt.want)
			}
			reply := &overlay.Message{From: m.From, Packet: &packet.Packet{
				Type: packet.ResolutionReply, SourceProtocol: addr("10.255.0.1")}}
			if !f.Takes(f.now, reply) {
				t.Error("no reply is taken after the requests")
			}
		})
	}
}
