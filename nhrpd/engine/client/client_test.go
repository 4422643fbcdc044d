package client

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/selection"
	"cygnet/nhrpd/packet"
)

var (
	own     = addr("10.255.0.11")
	hub     = addr("10.255.0.1")
	hubNBMA = addr("192.0.2.1")
	other   = addr("192.0.2.66")
	lan     = netip.MustParsePrefix("172.16.1.0/24")
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

type (
	peerParts     = peers.Parts
	neighborParts = neighbors.Parts
	purgeParts    = purge.Parts
)

// fakeParts stands for the other parts of the interface, and records what the client tells them. A
// call that it does not expect panics.
type fakeParts struct {
	peerParts
	neighborParts
	purgeParts

	told []string
}

func (f *fakeParts) tell(what string)           { f.told = append(f.told, what) }
func (f *fakeParts) NeighborChanged(netip.Addr) {}
func (f *fakeParts) MoveRelaysFrom(peerid.ID)   { f.tell("move relays") }
func (f *fakeParts) DropRelaysBy(peerid.ID)     { f.tell("drop relays") }
func (f *fakeParts) EndSearchFor(netip.Addr)    { f.tell("end search") }
func (f *fakeParts) HaveAllVouched()            { f.tell("have all vouched") }
func (f *fakeParts) EndDirectPaths()            { f.tell("end direct paths") }
func (f *fakeParts) ConfirmShortcuts()          { f.tell("confirm shortcuts") }
func (f *fakeParts) ReviseAdmission(peerid.ID)  {}

func (f *fakeParts) ReviewAskers(*peers.Peer) bool { return false }
func (f *fakeParts) PeerReady(*peers.Peer)         {}

// sentPacket is a packet that the client sent.
type sentPacket struct {
	packet.Packet
	to netip.Addr
	at time.Duration // since the start of the test
}

// fixture is the client of the spoke 10.255.0.11 at 192.0.2.11, in virtual time. Its NHS is
// 10.255.0.1 at 192.0.2.1.
type fixture struct {
	*Client
	t       *testing.T
	start   time.Time
	now     time.Time
	out     output.Output
	parts   *fakeParts
	sent    []sentPacket
	notices []output.NoticeKind
}

// newFixture returns a client whose NHS has an address, and an SA if the interface is protected. So
// the client has sent its first registration.
func newFixture(t *testing.T, change ...func(*overlay.InterfaceConfig)) *fixture {
	t.Helper()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := &fixture{t: t, start: start, now: start, parts: &fakeParts{}}
	cfg := overlay.InterfaceConfig{
		Name:        "gre1",
		Address:     netip.PrefixFrom(own, 24),
		HoldingTime: 10 * time.Minute,
		MTU:         1400,
		NHS:         []overlay.NHSConfig{{Name: "hub", Protocol: hub}},
		Limits:      overlay.Limits{Bindings: 10, Shortcuts: 10, Answers: 10, Requests: 100},
	}
	for _, c := range change {
		c(&cfg)
	}
	ifc := overlay.NewInterface(overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 100), nil)
	ifc.Configure(cfg)
	ifc.Local, ifc.Known = addr("192.0.2.11"), addr("192.0.2.11")
	ps := peers.New(ifc, f.parts, 0)
	ifc.Peers = &ps
	ns := neighbors.New(ifc, &ps, f.parts, 0)
	ad := admission.New(ifc, &ps, 0)
	purges := purge.New(ifc, &ps, &ns, f.parts)
	rules := prefixes.New(ifc, func(func(prefixes.Keeper) bool) {})
	cl := New(Needs{Interface: ifc, Peers: &ps, Neighbors: &ns, Admissions: &ad, Purges: &purges,
		Prefixes: &rules, Parts: f.parts})
	f.Client = &cl
	f.do(func() {
		f.SetNHSs()
		f.NHSResolved("hub", []netip.Addr{hubNBMA})
	})
	if cfg.Protected {
		f.do(func() { f.Peers.PeerSecured(event.Peer{ID: peerid.At(hubNBMA), Identity: "hub"}) })
	}
	return f
}

func protected(c *overlay.InterfaceConfig) { c.Protected = true }
func announcing(c *overlay.InterfaceConfig) {
	c.Announce = []netip.Prefix{lan, netip.MustParsePrefix("172.17.1.0/24")}
}

// do does one thing at the present time, and records what the client sends and reports.
func (f *fixture) do(what func()) {
	f.t.Helper()
	f.out.Reset()
	f.Enter(f.now, &f.out)
	what()
	f.RunAtEnd()
	for _, p := range f.out.Packets {
		sent := sentPacket{to: p.To.Address(), at: f.now.Sub(f.start)}
		if err := sent.Parse(slices.Clone(p.Data)); err != nil {
			f.t.Fatalf("a packet of the client cannot be parsed: %v", err)
		}
		f.sent = append(f.sent, sent)
	}
	for _, n := range f.out.Notices {
		f.notices = append(f.notices, n.Kind)
	}
}

// wait lets time pass, timer by timer.
func (f *fixture) wait(d time.Duration) {
	f.t.Helper()
	for end := f.now.Add(d); ; {
		due, is := f.Timers.Next()
		if !is || due.After(end) {
			f.now = end
			return
		}
		f.now = overlay.Later(f.now, due)
		f.do(func() { f.Timers.Advance(f.now) })
	}
}

// next lets time pass until the client sends something. It fails the test if that takes
// longer than d.
func (f *fixture) next(d time.Duration) {
	f.t.Helper()
	before := len(f.sent)
	for end := f.now.Add(d); len(f.sent) == before; {
		due, is := f.Timers.Next()
		if !is || due.After(end) {
			f.t.Fatalf("the client sends nothing within %s", d)
		}
		f.now = overlay.Later(f.now, due)
		f.do(func() { f.Timers.Advance(f.now) })
	}
}

// last returns the packet that was sent last.
func (f *fixture) last() sentPacket {
	f.t.Helper()
	if len(f.sent) == 0 {
		f.t.Fatal("the client has sent nothing")
	}
	return f.sent[len(f.sent)-1]
}

// reply hands in the NHS's reply to a request, with a code for each of its CIEs.
func (f *fixture) reply(to sentPacket, codes ...packet.Code) {
	f.t.Helper()
	p := to.Packet
	p.Type, p.DestProtocol, p.CIEs = packet.RegistrationReply, hub, slices.Clone(p.CIEs)
	for i := range p.CIEs {
		p.CIEs[i].Code = codes[min(i, len(codes)-1)]
	}
	f.do(func() { f.RegistrationReply(&overlay.Message{Packet: &p, From: peerid.At(to.to)}) })
}

// state returns the state of the registration.
// registered reports whether the first NHS has registered the client.
func (f *fixture) registered() bool { return f.NHS[0].Registrations[0].Registered }

func (f *fixture) state() report.NHSState { return f.NHS[0].Status().State }

// RFC 2332 §5.2.3: what a Registration Request says.
func TestRegistrationRequest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*overlay.InterfaceConfig)
		dest   netip.Addr
		flags  packet.Flags
		bits   uint8 // the prefix length in the CIE
	}{
		{"as it is", func(*overlay.InterfaceConfig) {}, hub, packet.FlagNAT, 32},
		{"unique", func(c *overlay.InterfaceConfig) { c.Unique = true }, hub,
			packet.FlagNAT | packet.RegistrationUnique, 255},
		{"the NHS's overlay address is not known",
			func(c *overlay.InterfaceConfig) { c.NHS[0].Protocol = netip.Addr{} },
			own, packet.FlagNAT, 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newFixture(t, tt.change).last()
			if p.Type != packet.RegistrationRequest || p.to != hubNBMA || p.SourceProtocol != own ||
				p.SourceNBMA != addr("192.0.2.11") || p.DestProtocol != tt.dest ||
				p.Flags != tt.flags {
				t.Errorf("sent %+v", p)
			}
			if len(p.CIEs) != 1 || p.CIEs[0].PrefixLength != tt.bits ||
				p.CIEs[0].HoldingTime != 600 || p.CIEs[0].MTU != 1400 {
				t.Errorf("the CIEs are %+v, want one with prefix length %d", p.CIEs, tt.bits)
			}
		})
	}
}

// While the NHS's overlay address is not known, registrations name our own address first, and then
// in turn the broadcast address, which OpenNHRP's hubs want.
func TestUnknownDestination(t *testing.T) {
	cl := newFixture(t).Client
	all := addr("10.255.0.255")
	want := []netip.Addr{own, own, own, all, own, all}
	for unanswered, dest := range want {
		if got := cl.unknownDestination(own, unanswered); got != dest {
			t.Errorf("after %d requests: %s, want %s", unanswered, got, dest)
		}
	}
}

// An unanswered request is repeated at growing intervals, each up to a quarter shorter than this
// list says, and at most a sixth of the holding time or a minute apart.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name    string
		holding time.Duration
		want    []time.Duration
	}{
		{"a long holding time", 10 * time.Minute,
			[]time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 60e9, 60e9}},
		{"a short holding time", time.Minute, []time.Duration{1e9, 2e9, 4e9, 8e9, 10e9, 10e9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(c *overlay.InterfaceConfig) { c.HoldingTime = tt.holding })
			f.wait(5 * time.Minute)
			for i, want := range tt.want {
				got := f.sent[i+1].at - f.sent[i].at
				if got > want || got < want*3/4 {
					t.Errorf("repetition %d after %s, want %s or a quarter less", i+1, got, want)
				}
				if f.sent[i].RequestID != f.sent[0].RequestID {
					t.Errorf("repetition %d has another request ID", i)
				}
			}
			if !slices.Contains(f.notices, output.NoticeUnanswered) {
				t.Error("the silence is not reported")
			}
			if got := f.NHS[0].Status().Error; got != SilentNHS {
				t.Errorf("the error is %q, want %q", got, SilentNHS)
			}
		})
	}
}

// An accepted registration is refreshed after a third of the holding time that the NHS grants, and
// without IPsec after 20 s at the latest.
func TestRefresh(t *testing.T) {
	for _, tt := range []struct {
		name      string
		protected bool
		granted   uint16 // seconds
		want      time.Duration
	}{
		{"with IPsec", true, 600, 200 * time.Second},
		{"with IPsec, if the NHS grants less", true, 90, 30 * time.Second},
		{"with IPsec, if the NHS grants more", true, 3600, 200 * time.Second},
		{"without IPsec", false, 600, 20 * time.Second},
		{"without IPsec, if the NHS grants less", false, 30, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(c *overlay.InterfaceConfig) { c.Protected = tt.protected })
			first := f.last()
			first.CIEs[0].HoldingTime = tt.granted
			f.reply(first, packet.CodeSuccess)
			if f.state() != report.NHSRegistered {
				t.Fatalf("the state is %v, want registered", f.state())
			}
			f.next(tt.want)
			if f.last().at < tt.want*95/100 {
				t.Errorf("refreshed after %s, want %s or 5 %% less", f.last().at, tt.want)
			}
			if f.sent[1].RequestID == f.sent[0].RequestID {
				t.Error("the refresh has the request ID of the first registration")
			}
		})
	}
}

// Only the reply of the NHS to the request that waits registers us.
func TestWhoseReplyCounts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*sentPacket)
		dropped overlay.DropReason
	}{
		{"from another router", func(p *sentPacket) { p.to = other }, overlay.DropUnsolicited},
		{"with another ID", func(p *sentPacket) { p.RequestID++ }, overlay.DropUnsolicited},
		{"to an NBMA address of before", func(p *sentPacket) { p.SourceNBMA = other },
			overlay.DropUnsolicited},
		{"to another router", func(p *sentPacket) { p.SourceProtocol = addr("10.255.0.12") },
			overlay.DropNotForUs},
		{"without a CIE", func(p *sentPacket) { p.CIEs = nil }, overlay.DropMalformed},
	} {
		f := newFixture(t)
		p := f.last()
		tt.change(&p)
		f.reply(p, packet.CodeSuccess)
		if f.registered() {
			t.Errorf("a reply %s registers us", tt.name)
		}
		if got := f.Stats().Dropped[tt.dropped.String()]; got != 1 {
			t.Errorf("a reply %s: dropped %v", tt.name, f.Stats().Dropped)
		}
	}
}

// A refused registration is tried again. Its reason is reported once.
func TestRefusal(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.reply(f.last(), packet.CodeProhibited)
		if f.state() != report.NHSRefused {
			t.Fatalf("the state is %v, want refused", f.state())
		}
		f.next(8 * time.Second)
	}
	refusals := 0
	for _, k := range f.notices {
		if k == output.NoticeRefused {
			refusals++
		}
	}
	if refusals != 1 {
		t.Errorf("the refusal is reported %d times, want once", refusals)
	}
}

// Without IPsec an NHS is lost 30 s after the first request that it does not answer. With IPsec it
// is lost when the registration expires.
func TestLostNHS(t *testing.T) {
	for _, tt := range []struct {
		name         string
		protected    bool
		kept, lost   time.Duration // it still counts as registered, and no more
		neighborGoes bool
	}{
		{"without IPsec", false, 45 * time.Second, 55 * time.Second, true},
		{"with IPsec", true, 9 * time.Minute, 11 * time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(c *overlay.InterfaceConfig) { c.Protected = tt.protected })
			f.reply(f.last(), packet.CodeSuccess)
			f.wait(tt.kept)
			if !f.registered() || slices.Contains(f.parts.told, "move relays") {
				t.Errorf("after %s the NHS is lost", tt.kept)
			}
			f.wait(tt.lost - tt.kept)
			if f.registered() || !slices.Contains(f.parts.told, "move relays") {
				t.Errorf("after %s the NHS is not lost", tt.lost)
			}
			if goes := !f.Neighbors.Wants(hub); goes != tt.neighborGoes {
				t.Errorf("the neighbour is withdrawn: %v, want %v", goes, tt.neighborGoes)
			}
		})
	}
}

// A name with several addresses is several NHSs, and each is registered with. If the configuration
// says which router it is, they are ways to that one router, and the next is tried once the one
// before does not answer.
func TestEachAddressOfANameIsAnNHS(t *testing.T) {
	for _, tt := range []struct {
		name     string
		protocol netip.Addr
		atOnce   int
	}{
		{"which routers they are is not known", netip.Addr{}, 1},
		{"one router", hub, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(c *overlay.InterfaceConfig) { c.NHS[0].Protocol = tt.protocol })
			second := addr("192.0.2.2")
			sent := func() (n int) {
				for _, p := range f.sent {
					if p.to == second {
						n++
					}
				}
				return n
			}
			f.do(func() { f.NHSResolved("hub", []netip.Addr{hubNBMA, second}) })
			if len(f.NHS) != 2 || sent() != tt.atOnce {
				t.Errorf("%d NHSs, %d requests to the second at once, want 2 and %d",
					len(f.NHS), sent(), tt.atOnce)
			}
			f.wait(selection.TryingPatience)
			if sent() == 0 {
				t.Error("the second is not tried although the first does not answer")
			}
		})
	}
}

// Two addresses that turn out to be one router are used as one. The other is left alone, without a
// purge: it would end the registration, which is one and the same.
func TestTwoAddressesOfOneRouter(t *testing.T) {
	f := newFixture(t, protected,
		func(c *overlay.InterfaceConfig) { c.NHS[0].Protocol = netip.Addr{} })
	f.reply(f.last(), packet.CodeSuccess)
	second := addr("192.0.2.2")
	f.do(func() { f.NHSResolved("hub", []netip.Addr{hubNBMA, second}) })
	f.do(func() { f.Peers.PeerSecured(event.Peer{ID: peerid.At(second), Identity: "hub"}) })
	if f.last().to != second {
		t.Fatalf("the last packet goes to %s, want a registration with %s", f.last().to, second)
	}
	f.reply(f.last(), packet.CodeSuccess)
	first, other := f.NHS[0].Status(), f.NHS[1].Status()
	if first.Use != report.UseInUse || other.Use != report.UseReserve {
		t.Errorf("%+v\n%+v\nwant the second in reserve", first, other)
	}
	if f.last().Type == packet.PurgeRequest {
		t.Error("the registration was taken back")
	}
}

// The prefixes are registered once the NHS has our address. Each code of the reply has its own
// consequence (RFC 2332 §5.2.0.1).
func TestAnnouncement(t *testing.T) {
	for _, tt := range []struct {
		name      string
		code      packet.Code // for the second prefix; the NHS accepts the first
		announced int
		asksAgain int           // prefixes in the next announcement
		within    time.Duration // the time until our address is registered again
	}{
		{"accepted", packet.CodeSuccess, 2, 2, 200 * time.Second},
		{"prohibited", packet.CodeProhibited, 1, 1, 200 * time.Second},
		{"registered by another router", packet.CodeUniqueRegistered, 1, 2, 200 * time.Second},
		{"the NHS does not know us", packet.CodeNoBinding, 1, 2, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, protected, announcing)
			f.reply(f.last(), packet.CodeSuccess)
			announcement := f.last()
			if len(announcement.CIEs) != 2 || announcement.CIEs[0].Protocol != lan.Addr() ||
				announcement.CIEs[0].PrefixLength != 24 ||
				announcement.Flags&packet.RegistrationUnique != 0 {
				t.Fatalf("sent %+v, want an announcement of two prefixes", announcement)
			}
			f.reply(announcement, packet.CodeSuccess, tt.code)
			if got := f.NHS[0].Status().Announced; len(got) != tt.announced {
				t.Errorf("announced %v, want %d prefixes", got, tt.announced)
			}
			f.next(tt.within)
			if p := f.last(); len(p.CIEs) != 1 || p.CIEs[0].Protocol.IsValid() {
				t.Fatalf("sent %+v, want a registration of our address", p)
			}
			f.reply(f.last(), packet.CodeSuccess)
			if got := len(f.last().CIEs); got != tt.asksAgain {
				t.Errorf("the next announcement has %d prefixes, want %d", got, tt.asksAgain)
			}
		})
	}
}

// Prefixes that the NHS refused are asked for again after AnnounceAgain.
func TestRefusedPrefixesAgain(t *testing.T) {
	f := newFixture(t, protected, announcing)
	f.reply(f.last(), packet.CodeSuccess)
	f.reply(f.last(), packet.CodeProhibited)
	var asked time.Duration
	for seen := len(f.sent); asked == 0 && f.now.Sub(f.start) < 2*AnnounceAgain; f.wait(1e9) {
		for ; seen < len(f.sent); seen++ {
			if p := f.sent[seen]; len(p.CIEs) == 2 {
				asked = p.at
			}
			f.reply(f.sent[seen], packet.CodeSuccess)
		}
	}
	if asked < AnnounceAgain || asked > AnnounceAgain+200*time.Second {
		t.Errorf("asked again after %s, want with the first refresh after %s", asked, AnnounceAgain)
	}
}

// An Error Indication counts only if the NHS itself reports it, about a request that waits.
func TestWhoseErrorCounts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		from   netip.Addr
		source netip.Addr
		id     uint32 // added to the ID of the request
		want   bool
	}{
		{"the NHS", hubNBMA, hub, 0, true},
		{"the NHS in our name, as some routers do", hubNBMA, own, 0, true},
		{"another router", other, hub, 0, false},
		{"another router, passed on by the NHS", hubNBMA, addr("10.255.0.66"), 0, false},
		{"the NHS, about another request", hubNBMA, hub, 5, false},
	} {
		for _, ofPrefixes := range []bool{false, true} {
			f := newFixture(t, announcing)
			if ofPrefixes {
				f.reply(f.last(), packet.CodeSuccess)
			}
			m := &overlay.Message{From: peerid.At(tt.from), Packet: &packet.Packet{
				Type: packet.ErrorIndication, SourceProtocol: tt.source, SourceNBMA: tt.from}}
			id := f.last().RequestID + tt.id
			f.do(func() {
				if got := f.RegistrationFailed(m, id, "the reason"); got != tt.want {
					t.Errorf("%s, of prefixes %v: counts %v, want %v",
						tt.name, ofPrefixes, got, tt.want)
				}
			})
			if got := f.NHS[0].Status().Error != ""; got != tt.want {
				t.Errorf("%s, of prefixes %v: the status has an error: %v, want %v",
					tt.name, ofPrefixes, got, tt.want)
			}
		}
	}
}

// What takes our registrations back has the request IDs of those registrations.
func TestDeregister(t *testing.T) {
	f := newFixture(t, announcing)
	f.reply(f.last(), packet.CodeSuccess)
	f.reply(f.last(), packet.CodeSuccess)
	purges := f.Deregister()
	if len(purges) != 2 || purges[0].ID != f.sent[1].RequestID || len(purges[0].Prefixes) != 2 ||
		purges[1].ID != f.sent[0].RequestID ||
		!slices.Equal(purges[1].Prefixes, []netip.Prefix{overlay.HostPrefix(own)}) {
		t.Errorf("purges %+v, want one of two prefixes and one of %s", purges, own)
	}
	if f.registered() || len(f.Deregister()) != 0 {
		t.Error("we still count as registered")
	}
}

// An NHS's name may resolve to an address of 0.0.0.0/8. As a neighbour in the kernel it would stand
// for a mark, so it is not used.
func TestImpossibleAddressOfAnNHS(t *testing.T) {
	f := newFixture(t)
	f.do(func() { f.NHSResolved("hub", []netip.Addr{addr("0.0.0.5"), hubNBMA}) })
	if len(f.NHS) != 1 || f.NHS[0].NBMA != hubNBMA {
		t.Errorf("%d NHSs, the first at %s, want only %s", len(f.NHS), f.NHS[0].NBMA, hubNBMA)
	}
	f.do(func() { f.NHSResolved("hub", []netip.Addr{addr("0.0.0.5")}) })
	if got := f.NHS[0].NBMA; got != hubNBMA {
		t.Errorf("the address in use is %s, want still %s", got, hubNBMA)
	}
}

// Behind NAT our address is the one that the NHS sees. When NAT changes it, the direct paths that
// name the old one end before the shortcuts that remain are confirmed.
func TestPublicAddress(t *testing.T) {
	f := newFixture(t)
	behind := func(nbma string) {
		p := f.last()
		p.Extensions = []packet.Extension{{Type: packet.ExtensionNATAddress,
			CIEs: []packet.CIE{overlay.NATCIE(own, addr(nbma))}}}
		f.reply(p, packet.CodeSuccess)
	}
	behind("198.51.100.1")
	if !f.BehindNAT(netip.Addr{}) || f.Public(netip.Addr{}) != addr("198.51.100.1") {
		t.Errorf("our public address is %s, want 198.51.100.1", f.Public(netip.Addr{}))
	}
	f.wait(20 * time.Second)
	f.parts.told = nil
	behind("198.51.100.2")
	want := []string{"end search", "end direct paths", "confirm shortcuts"}
	if f.Public(netip.Addr{}) != addr("198.51.100.2") || !slices.Equal(f.parts.told, want) {
		t.Errorf("at %s the parts are told %v, want %v", f.Public(netip.Addr{}), f.parts.told, want)
	}
}
