package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/packet"
)

// revocationsOf are the cases of a reload that takes the addresses of many clients of a large hub
// away.
var revocationsOf = []struct {
	clients, revoked int
	pattern          string // matches the identities of the revoked clients
}{
	{1000, 110, "client1*"},
	{2000, 1110, "client1*"},
	{10000, 110, "client11*"},
}

// revokingHub returns a hub that has just revoked the clients whose identities match a pattern.
// What the hub sent is in out.
func revokingHub(
	t testing.TB,
	clients int,
	pattern string,
	out *output.Output,
	change ...func(*overlay.InterfaceConfig),
) *node {
	hub, _, _ := newClients(t, clients, append(change, allowing(t, "client*: 10.192.0.0/10"))...)
	cfg := hub.cfg
	allowing(t, pattern+": 10.128.0.0/16", "client*: 10.192.0.0/10")(&cfg)
	hub.engine.Configure(hub.w.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{cfg}}, out)
	return hub
}

// confirm lets the client that a purge went to reply. It returns the client and the routers that
// the purge named. The test fails if the packet is no purge.
func confirm(
	t testing.TB, hub *node, now time.Time, sent output.Packet, out *output.Output,
) (netip.Addr, []packet.CIE) {
	var p packet.Packet
	if err := p.Parse(sent.Data); err != nil || p.Type != packet.PurgeRequest {
		t.Fatalf("sent a %s: %v", p.Type, err)
	}
	cies := slices.Clone(p.CIEs)
	p.Type = packet.PurgeReply
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	hub.engine.Receive(now, "gre1", sent.To, data, out)
	return p.DestProtocol, cies
}

// revokeAll runs a revocation to its end. It returns how many purges it took, the most that went
// out at once, and the time from the first to the last. Own is how many revoked clients were told
// that their own registrations have ended.
func revokeAll(
	t testing.TB, clients int, pattern string, heard func(client netip.Addr, cies []packet.CIE),
) (purges, own, most int, took time.Duration) {
	var out output.Output
	hub := revokingHub(t, clients, pattern, &out)
	start, now := hub.w.now, hub.w.now
	for {
		sent := len(out.Packets)
		most = max(most, sent)
		if sent > 0 {
			took = now.Sub(start)
		}
		var next output.Output
		for _, p := range out.Packets {
			client, cies := confirm(t, hub, now, p, &next)
			if len(cies) == 1 && cies[0].Protocol == client {
				own++
				continue
			}
			purges++
			heard(client, cies)
		}
		if len(next.Packets) > 0 {
			t.Fatal("a reply made the hub send at once")
		}
		r := &hub.engine.ifaces["gre1"].purges.Revocations
		if len(r.Recipients) == 0 {
			if len(r.Revoked)+len(r.Queue)+len(r.Waiting) > 0 || r.Tick.IsSet() {
				t.Errorf("something is left: %+v", r)
			}
			return purges, own, most, took
		}
		at, there := hub.engine.Deadline()
		if !there {
			t.Fatal("clients are left, and no timer")
		}
		now = overlay.Later(now, at)
		out.Reset()
		hub.engine.Advance(now, &out)
	}
}

// Each remaining client hears of each revoked one exactly once, in as few purges as possible, and
// at the set pace. The memory needed meanwhile grows with the number of clients, not with its
// square.
func TestManyRevokedClients(t *testing.T) {
	const room = 64 // the entries that fit into a purge
	for _, tt := range revocationsOf {
		t.Run(fmt.Sprint(tt.clients, " clients"), func(t *testing.T) {
			heard := map[netip.Addr]int{}
			purges, own, most, took := revokeAll(
				t, tt.clients, tt.pattern,
				func(client netip.Addr, cies []packet.CIE) { heard[client] += len(cies) },
			)
			remaining := tt.clients - tt.revoked
			if len(heard) != remaining {
				t.Errorf("%d clients were told, want %d", len(heard), remaining)
			}
			for client, count := range heard {
				if count != tt.revoked {
					t.Fatalf("%s was told of %d, want %d", client, count, tt.revoked)
				}
			}
			if want := remaining * ((tt.revoked + room - 1) / room); purges != want {
				t.Errorf("%d purges, want %d", purges, want)
			}
			if own != tt.revoked {
				t.Errorf("%d revoked clients were told so, want %d", own, tt.revoked)
			}
			if most > purge.Burst {
				t.Errorf("%d purges at once, want at most %d", most, purge.Burst)
			}
			if least := time.Duration(purges/purge.Burst-1) * purge.BurstInterval; took < least {
				t.Errorf("all told within %s, want at least %s", took, least)
			}
			t.Logf("%d purges in %s", purges, took)
		})
	}
}

// The turn of the reload itself costs the review of all clients and one burst of purges, and no
// more.
func TestTheTurnOfARevocation(t *testing.T) {
	for _, tt := range revocationsOf {
		var out output.Output
		hub := revokingHub(t, tt.clients, tt.pattern, &out)
		r := &hub.engine.ifaces["gre1"].purges.Revocations
		if len(out.Packets) != purge.Burst || len(r.Revoked) != tt.revoked ||
			len(r.Recipients) != tt.clients-tt.revoked {
			t.Errorf(
				"%d clients: %d purges at once, %d revoked for %d clients remembered",
				tt.clients, len(out.Packets), len(r.Revoked), len(r.Recipients),
			)
		}
		if most := purge.Burst * 1400; len(out.Arena) > most {
			t.Errorf(
				"%d clients: %d bytes to send at once, want at most %d",
				tt.clients, len(out.Arena), most,
			)
		}
	}
}

// revokingPair returns a hub that has revoked the first of three clients, and the purges that it
// sent.
func revokingPair(t testing.TB) (hub *node, purges []packet.Packet) {
	hub = hubAlone(
		t, allowing(t, "spoke1: 10.255.0.11", "spoke2: 10.255.0.12", "spoke3: 10.255.0.13"),
	)
	for i := 1; i <= 3; i++ {
		hub.client(
			fmt.Sprintf("192.0.2.1%d", i), fmt.Sprint("spoke", i), fmt.Sprintf("10.255.0.1%d", i),
		)
	}
	before := len(hub.sent)
	hub.handle(event.Block{Identity: "spoke1"})
	return hub, hub.sentSince(before)
}

// A client that does not reply gets the purge three times, two seconds apart, and no more after
// that.
func TestRevocationIsRepeated(t *testing.T) {
	hub, purges := revokingPair(t)
	id := purges[0].RequestID
	before := len(hub.sent)
	hub.confirms(t, "192.0.2.13", purges[1])
	hub.w.run(time.Minute)
	again := hub.sentSince(before)
	if len(again) != 2 || again[0].RequestID != id || again[1].RequestID != id ||
		again[0].DestProtocol != addr("10.255.0.12") {
		t.Errorf("%d purges again: %+v", len(again), again)
	}
	for i, p := range hub.sent[before:] {
		if want := time.Duration(i+1) * purge.RetryInterval; p.at.Sub(hub.w.start) != want {
			t.Errorf("repeated after %s, want %s", p.at.Sub(hub.w.start), want)
		}
	}
	if r := &hub.engine.ifaces["gre1"].purges.Revocations; len(r.Recipients)+len(r.Revoked) > 0 {
		t.Errorf("still remembered: %+v", r)
	}
}

// confirms lets a client reply to a purge.
func (n *node) confirms(t testing.TB, nbma string, p packet.Packet) {
	t.Helper()
	p.Type = packet.PurgeReply
	sender{t, n, nbma}.says(p)
}

// Only a reply from the client itself or from an NHS confirms a purge.
func TestWhoConfirmsARevocation(t *testing.T) {
	hub, purges := revokingPair(t)
	hub.confirms(t, "192.0.2.13", purges[0]) // which went to the other client
	if dropped(hub, overlay.DropThirdParty) != 1 ||
		len(hub.engine.ifaces["gre1"].purges.Revocations.Recipients) != 2 {
		t.Errorf("a third party's word counts: dropped %v", hub.engine.Stats().Dropped)
	}
	hub.confirms(t, "192.0.2.12", purges[0])
	if len(hub.engine.ifaces["gre1"].purges.Revocations.Recipients) != 1 {
		t.Error("the client's own word does not count")
	}
}

// Clients that are still being told of one revocation also hear of a later one. A client that goes
// is forgotten, and a router that is back where it was is left out of further purges.
func TestRevocationsOneAfterTheOther(t *testing.T) {
	hub, purges := revokingPair(t)
	hub.confirms(t, "192.0.2.13", purges[1])
	hub.handle(event.Block{Identity: "spoke3"})
	hub.confirms(t, "192.0.2.12", purges[0])
	before := len(hub.sent)
	hub.w.run(time.Second)
	next := only(t, hub.sentSince(before))
	if len(next.CIEs) != 1 || next.CIEs[0].Protocol != addr("10.255.0.13") ||
		next.DestProtocol != addr("10.255.0.12") || next.RequestID == purges[0].RequestID {
		t.Errorf("told %+v", next)
	}
	hub.handle(event.Unblock{Identity: "spoke3"})
	hub.client("192.0.2.13", "spoke3", "10.255.0.13")
	before = len(hub.sent)
	hub.w.run(time.Minute)
	if again := hub.sentSince(before); len(again) != 0 ||
		len(hub.engine.ifaces["gre1"].purges.Revocations.Recipients) != 0 {
		t.Errorf("a router that is back is still taken back: %+v", again)
	}
}

// Leaving ends the revocations: no client is left to tell.
func TestLeavingEndsRevocations(t *testing.T) {
	hub, _ := revokingPair(t)
	hub.handle(event.Leave{Interface: "gre1"})
	before := len(hub.sent)
	hub.w.run(time.Minute)
	if got := hub.sentSince(before); len(got) != 0 ||
		len(hub.engine.ifaces["gre1"].purges.Revocations.Recipients) != 0 {
		t.Errorf("sent %v", typesOf(got))
	}
}

// A purge has as many entries as fit into the tunnel's MTU, and no more.
func TestRevocationFitsTheMTU(t *testing.T) {
	for _, mtu := range []uint16{576, 1280, 1400, 9000} {
		var out output.Output
		hub := revokingHub(
			t,
			200,
			"client1*",
			&out,
			func(c *overlay.InterfaceConfig) { c.MTU = mtu },
		)
		first := out.Packets[0].Data
		for len(out.Packets) > 0 && len(out.Packets[0].Data) == len(first) { // to those who are out
			at, _ := hub.engine.Deadline()
			out.Reset()
			hub.engine.Advance(at, &out)
		}
		if len(out.Packets) == 0 {
			t.Fatalf("MTU %d: nothing sent: dropped %v", mtu, hub.engine.Stats().Dropped)
		}
		if size := len(out.Packets[0].Data); size > int(mtu) || mtu < 1300 && size < int(mtu)-20 {
			t.Errorf("MTU %d: a purge of %d bytes", mtu, size)
		}
	}
}

func BenchmarkRevocation(b *testing.B) {
	for _, tt := range revocationsOf {
		b.Run(fmt.Sprintf("%d of %d clients", tt.revoked, tt.clients), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				purges, _, most, took := revokeAll(
					b, tt.clients, tt.pattern, func(netip.Addr, []packet.CIE) {},
				)
				b.ReportMetric(float64(purges), "purges")
				b.ReportMetric(float64(most), "purges/turn")
				b.ReportMetric(took.Seconds(), "virtual-s")
			}
		})
	}
}
