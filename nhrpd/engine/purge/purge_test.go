package purge

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/packet"
)

// fakeParts stands for the other parts of the interface. A call that it does not expect panics.
type fakeParts struct {
	peers.Parts

	ended   int                       // how many purges have ended
	clients map[netip.Addr]netip.Addr // overlay address to NBMA address
}

func (f *fakeParts) LeaveOn() { f.ended++ }

func (f *fakeParts) Clients() iter.Seq[netip.Addr] {
	return slices.Values(slices.SortedFunc(maps.Keys(f.clients), netip.Addr.Compare))
}

func (f *fakeParts) BindingAt(protocol netip.Addr) (peerid.ID, bool) {
	nbma, is := f.clients[protocol]
	return peerid.At(nbma), is
}

func (f *fakeParts) UsableNHS(netip.Addr) (protocol netip.Addr, peer peerid.ID, ok bool) {
	return addr("10.255.0.1"), peerid.At(addr("192.0.2.1")), true
}

func (f *fakeParts) MissedRouter(netip.Prefix) bool      { return false }
func (f *fakeParts) ReviseAdmission(peerid.ID)           {}
func (f *fakeParts) ReviewAskers(*peers.Peer) bool       { return false }
func (f *fakeParts) PeerReady(*peers.Peer)               {}
func (f *fakeParts) ReceivedFrom(peerid.ID, []byte)      {}
func (f *fakeParts) RouterKnown(netip.Prefix)            {}
func (f *fakeParts) NeighborChanged(netip.Addr)          {}
func (f *fakeParts) RouterRouted(host netip.Prefix) bool { return false }

// sentPurge is a purge that the router under test sent.
type sentPurge struct {
	packet.Packet
	to netip.Addr
	at time.Duration // since the start of the test
}

// fixture is the purges of a router with the overlay address 10.255.0.9, in virtual time.
type fixture struct {
	*Table
	t     *testing.T
	start time.Time
	now   time.Time
	out   output.Output
	parts *fakeParts
	sent  []sentPurge
}

// newFixture returns the purges of a router that has routes to its clients, the given number of
// them: 10.255.1.1 at 198.51.1.1, 10.255.1.2 at 198.51.1.2 and so on.
func newFixture(t *testing.T, protected bool, clients int) *fixture {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := &fixture{t: t, start: start, now: start}
	f.parts = &fakeParts{clients: make(map[netip.Addr]netip.Addr)}
	ifc := overlay.NewInterface(overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 100), nil)
	ifc.Configure(overlay.InterfaceConfig{
		Name:      "gre1",
		Address:   netip.MustParsePrefix("10.255.0.9/16"),
		Protected: protected,
		Limits:    overlay.Limits{Bindings: 1000, Answers: 10, Requests: 100},
	})
	ifc.Local = addr("192.0.2.9")
	ps := peers.New(ifc, f.parts, 0)
	ifc.Peers = &ps
	ns := neighbors.New(ifc, &ps, f.parts, 0)
	purges := New(ifc, &ps, &ns, f.parts)
	f.Table = &purges
	f.do(func() {
		for i := range clients {
			protocol, nbma := client(i)
			f.parts.clients[protocol] = nbma
			ns.Want(new(neighbors.Claim), neighbors.RankBinding, protocol, peerid.At(nbma))
		}
	})
	return f
}

// client returns the addresses of a fixture's client.
func client(i int) (protocol, nbma netip.Addr) {
	low := byte(i%250) + 1
	high := byte(i/250) + 1
	protocol = netip.AddrFrom4([4]byte{10, 255, high, low})
	return protocol, netip.AddrFrom4([4]byte{198, 51, high, low})
}

// do does one thing at the present time, and records the purges that follow from it.
func (f *fixture) do(what func()) {
	f.t.Helper()
	f.out.Reset()
	f.Enter(f.now, &f.out)
	what()
	f.RunAtEnd()
	for _, p := range f.out.Packets {
		sent := sentPurge{to: p.To.Address(), at: f.now.Sub(f.start)}
		if err := sent.Parse(slices.Clone(p.Data)); err != nil {
			f.t.Fatalf("a purge cannot be parsed: %v", err)
		}
		f.sent = append(f.sent, sent)
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

// reply hands in the reply to a purge, as if it came from an NBMA address.
func (f *fixture) reply(to sentPurge, from netip.Addr) {
	f.t.Helper()
	p := to.Packet
	p.Type = packet.PurgeReply
	f.do(func() { f.PurgeReply(&overlay.Message{Packet: &p, From: peerid.At(from)}) })
}

// times returns when the purges were sent.
func (f *fixture) times() []time.Duration {
	var list []time.Duration
	for _, p := range f.sent {
		list = append(list, p.at)
	}
	return list
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var lan = netip.MustParsePrefix("172.16.1.0/24")

// A purge is sent up to three times, until its reply comes. An interface that leaves repeats its
// purges sooner, and hears of the end of each.
func TestRepeatedUntilAnswered(t *testing.T) {
	for _, tt := range []struct {
		name     string
		leaving  bool
		answered int // after how many requests the reply comes; 0: never
		want     []time.Duration
	}{
		{"no reply", false, 0, []time.Duration{0, RetryInterval, 2 * RetryInterval}},
		{"a reply at once", false, 1, []time.Duration{0}},
		{"a reply to the second request", false, 2, []time.Duration{0, RetryInterval}},
		{
			"no reply while the interface leaves", true, 0,
			[]time.Duration{0, GoodbyeRetryInterval, 2 * GoodbyeRetryInterval},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, false, 1)
			f.Leaving = tt.leaving
			protocol, nbma := client(0)
			f.do(func() { f.TakeBack(protocol, peerid.At(nbma), lan) })
			for range 60 {
				if len(f.sent) == tt.answered && len(f.ByID) > 0 {
					f.reply(f.sent[len(f.sent)-1], nbma)
				}
				f.wait(time.Second)
			}
			if got := f.times(); !slices.Equal(got, tt.want) {
				t.Errorf("purges sent after %v, want %v", got, tt.want)
			}
			for _, p := range f.sent {
				if p.RequestID != f.sent[0].RequestID {
					t.Errorf("a repetition has the ID %d, want that of the first, %d",
						p.RequestID, f.sent[0].RequestID)
				}
			}
			if len(f.ByID) != 0 || f.parts.ended != 1 {
				t.Errorf("%d purges wait, %d have ended; want 0 and 1", len(f.ByID), f.parts.ended)
			}
		})
	}
}

// Only the router that was asked, and an NHS that may have passed the purge on, can end a purge by
// a reply: request IDs count up, so anybody could guess one.
func TestWhoseReplyCounts(t *testing.T) {
	protocol, nbma := client(0)
	for _, tt := range []struct {
		name    string
		from    netip.Addr
		dest    netip.Addr // the router that the reply names
		id      uint32     // added to the ID of the purge
		counts  bool
		dropped overlay.DropReason
	}{
		{"the router itself", nbma, protocol, 0, true, 0},
		{"an NHS", addr("192.0.2.1"), protocol, 0, true, 0},
		{"another router", addr("192.0.2.66"), protocol, 0, false, overlay.DropThirdParty},
		{"another router's name", nbma, addr("10.255.0.66"), 0, false, overlay.DropUnsolicited},
		{"an ID that was not used", nbma, protocol, 7, false, overlay.DropUnsolicited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, false, 1)
			nhs := &peers.Ref{Owner: peers.Unaffected{}}
			f.do(func() {
				f.peers.Refer(nhs, f.peers.At(peerid.At(addr("192.0.2.1"))), peers.ForNHS, true)
				f.TakeBack(protocol, peerid.At(nbma), lan)
			})
			reply := f.sent[0]
			reply.DestProtocol, reply.RequestID = tt.dest, reply.RequestID+tt.id
			f.reply(reply, tt.from)
			if counts := len(f.ByID) == 0; counts != tt.counts {
				t.Errorf("the reply ends the purge: %v, want %v", counts, tt.counts)
			}
			dropped := f.Stats().Dropped
			if want := map[string]uint64{tt.dropped.String(): 1}; !tt.counts &&
				!maps.Equal(dropped, want) {
				t.Errorf("dropped %v, want %v", dropped, want)
			}
		})
	}
}

// A purge that does not fit into the table goes once, and asks for no reply.
func TestFullTable(t *testing.T) {
	f := newFixture(t, false, 1)
	f.Config.Limits.Answers = 1
	protocol, nbma := client(0)
	f.do(func() {
		f.TakeBack(protocol, peerid.At(nbma), lan)
		f.TakeBack(protocol, peerid.At(nbma), netip.MustParsePrefix("172.16.2.0/24"))
	})
	f.wait(time.Minute)
	once := 0
	for _, p := range f.sent {
		if p.Flags&packet.PurgeNoReply != 0 {
			once++
		}
	}
	if len(f.sent) != Tries+1 || once != 1 {
		t.Errorf("%d purges sent, %d without a reply; want %d and 1", len(f.sent), once, Tries+1)
	}
}

// A purge goes straight to a router that has an SA. Otherwise it goes along the route, and there by
// an NHS rather than by a neighbour that only a shortcut wants.
func TestWhereAPurgeGoes(t *testing.T) {
	protocol, nbma, nhs := addr("10.255.0.12"), addr("192.0.2.12"), addr("192.0.2.1")
	moved := addr("192.0.2.99") // where the neighbour is
	for _, tt := range []struct {
		name     string
		secured  bool
		shortcut bool // only a shortcut wants the neighbour
		want     netip.Addr
	}{
		{"the router has an SA", true, false, nbma},
		{"it has none, and is a client", false, false, moved},
		{"it has none, and a shortcut leads to it", false, true, nhs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, true, 0)
			f.do(func() {
				rank := neighbors.RankBinding
				if tt.shortcut {
					rank = neighbors.RankShortcut
				}
				f.neighbors.Want(new(neighbors.Claim), rank, protocol, peerid.At(moved))
				f.peers.PeerSecured(event.Peer{ID: peerid.At(nhs), Identity: "nhs"})
				f.peers.PeerSecured(event.Peer{ID: peerid.At(moved), Identity: "other"})
				if tt.secured {
					f.peers.PeerSecured(event.Peer{ID: peerid.At(nbma), Identity: "router"})
				}
				f.TakeBack(protocol, peerid.At(nbma), lan)
			})
			if len(f.sent) != 1 || f.sent[0].to != tt.want {
				t.Errorf("sent %+v, want one purge to %s", f.sent, tt.want)
			}
		})
	}
}

// When a hub has registered this router, every purge that waits goes again at once.
func TestRepeat(t *testing.T) {
	f := newFixture(t, false, 2)
	f.do(func() {
		for i := range 2 {
			protocol, nbma := client(i)
			f.TakeBack(protocol, peerid.At(nbma), lan)
		}
	})
	f.wait(time.Second)
	f.do(f.Repeat)
	want := []time.Duration{0, 0, time.Second, time.Second}
	if got := f.times(); !slices.Equal(got, want) {
		t.Errorf("purges sent after %v, want %v", got, want)
	}
}

// The purges about revoked routers go in bursts at a set pace, one to each client.
func TestRevocationsArePaced(t *testing.T) {
	const clients = 2*Burst + 10
	f := newFixture(t, false, clients)
	f.do(func() { f.NoteRevoked(addr("10.255.0.66"), addr("192.0.2.66")) })
	f.wait(time.Second)
	want := map[time.Duration]int{0: Burst, BurstInterval: Burst, 2 * BurstInterval: 10}
	got, to := make(map[time.Duration]int), make(map[netip.Addr]int)
	for _, p := range f.sent {
		got[p.at]++
		to[p.DestProtocol]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("purges sent by time: %v, want %v", got, want)
	}
	if len(to) != clients {
		t.Errorf("%d clients got a purge, want %d", len(to), clients)
	}
}

// A revocation that comes before the last burst's interval is over waits for its end.
func TestNextRevocationKeepsThePace(t *testing.T) {
	f := newFixture(t, false, 1)
	_, nbma := client(0)
	f.do(func() { f.NoteRevoked(addr("10.255.0.66"), addr("192.0.2.66")) })
	f.wait(BurstInterval / 4)
	f.reply(f.sent[0], nbma)
	f.do(func() { f.NoteRevoked(addr("10.255.0.67"), addr("192.0.2.67")) })
	f.wait(time.Second)
	if want := []time.Duration{0, BurstInterval}; !slices.Equal(f.times(), want) {
		t.Errorf("purges sent after %v, want %v", f.times(), want)
	}
}

// A client hears of as many revoked routers at a time as a packet may name, and of the next ones
// once it has replied. Without a reply, each purge is given up after three attempts.
func TestRevocationsComeInBatches(t *testing.T) {
	const revoked = overlay.MaxEntries + 5
	for _, replies := range []bool{true, false} {
		t.Run(fmt.Sprint("the client replies: ", replies), func(t *testing.T) {
			f := newFixture(t, false, 1)
			_, nbma := client(0)
			f.do(func() {
				for i := range revoked {
					protocol, at := client(500 + i)
					f.NoteRevoked(protocol, at)
				}
			})
			if replies {
				f.reply(f.sent[0], nbma)
				f.wait(recipientInterval)
				f.reply(f.sent[len(f.sent)-1], nbma)
			}
			f.wait(time.Minute)
			var entries []int
			for _, p := range f.sent {
				entries = append(entries, len(p.CIEs))
			}
			want := []int{overlay.MaxEntries, 5}
			if !replies {
				want = append(slices.Repeat(want[:1], Tries), slices.Repeat(want[1:], Tries)...)
			}
			if !slices.Equal(entries, want) {
				t.Errorf("purges with %v entries, want %v", entries, want)
			}
			if r := &f.Revocations; len(r.Recipients)+len(r.Revoked)+len(r.Waiting) > 0 {
				t.Errorf("%d routers are remembered for %d clients, want none",
					len(r.Revoked), len(r.Recipients))
			}
		})
	}
}

// A router that has registered again from the same NBMA address is left out: the rules let it.
func TestRevokedRouterIsBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   string
		want int // entries
	}{
		{"at the same NBMA address", "192.0.2.66", 1},
		{"at another NBMA address", "192.0.2.77", 2},
	} {
		f := newFixture(t, false, 1)
		back := addr("10.255.0.66")
		f.do(func() {
			f.NoteRevoked(back, addr("192.0.2.66"))
			f.NoteRevoked(addr("10.255.0.67"), addr("192.0.2.67"))
			f.parts.clients[back] = addr(tt.at)
		})
		var got int
		for _, p := range f.sent {
			if p.DestProtocol == addr("10.255.1.1") {
				got = len(p.CIEs)
			}
		}
		if got != tt.want {
			t.Errorf("%s: the purge has %d entries, want %d", tt.name, got, tt.want)
		}
	}
}
