package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

var announcingSizes = []int{1000, 10000}

// newAnnouncers returns a hub with count clients, each of which has announced a prefix. For each
// client it also returns a packet that announces another prefix and one that takes it back.
func newAnnouncers(
	tb testing.TB, count int,
) (hub *node, from []netip.Addr, announce, takeBack [][]byte) {
	hub, from, _ = newClients(tb, count, func(c *overlay.InterfaceConfig) {
		c.Accept, c.Limits.Prefixes = []netip.Prefix{mustPrefix("172.16.0.0/12")}, 3*count
	})
	encode := func(p packet.Packet) []byte {
		data, err := p.Append(nil)
		if err != nil {
			tb.Fatal(err)
		}
		return data
	}
	for i := range from {
		prefix := func(n int) string {
			return fmt.Sprintf(
				"%s/28",
				netip.AddrFrom4([4]byte{172, byte(16 + n>>12), byte(n >> 4), byte(n << 4)}),
			)
		}
		overlay := netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)}).String()
		hub.engine.Receive(
			hub.w.now, "gre1",
			peerid.At(from[i]),
			encode(announcementFrom(from[i].String(), overlay, prefix(i))), &hub.out,
		)
		p := announcementFrom(from[i].String(), overlay, prefix(count+i))
		announce = append(announce, encode(p))
		p.Type, p.Flags = packet.PurgeRequest, packet.PurgeNoReply
		takeBack = append(takeBack, encode(p))
	}
	hub.out.Reset()
	if got := len(hub.engine.ifaces["gre1"].server.Announced.ByPrefix); got != count {
		tb.Fatalf("%d prefixes, want %d", got, count)
	}
	return hub, from, announce, takeBack
}

// A first announcement costs the same beside a thousand other prefixes as beside ten thousand.
func BenchmarkAnnouncement(b *testing.B) {
	for _, count := range announcingSizes {
		b.Run(fmt.Sprintf("clients=%d", count), func(b *testing.B) {
			hub, from, announce, takeBack := newAnnouncers(b, count)
			var out output.Output
			now, i := hub.w.now, 0
			b.ReportAllocs()
			for b.Loop() {
				now, i = now.Add(20*time.Millisecond), (i+1)%count
				hub.engine.Receive(now, "gre1", peerid.At(from[i]), announce[i], &out)
				hub.engine.Receive(now, "gre1", peerid.At(from[i]), takeBack[i], &out)
				if len(out.Routes) != 2 {
					b.Fatalf("routes %v", out.Routes)
				}
				out.Reset()
			}
		})
	}
}

// The time of Restore grows no faster than the number of prefixes that it restores.
func BenchmarkRestoreAnnounced(b *testing.B) {
	for _, count := range announcingSizes {
		b.Run(fmt.Sprintf("clients=%d", count), func(b *testing.B) {
			hub, _, _, _ := newAnnouncers(b, count)
			saved := hub.engine.Save()
			var out output.Output
			for b.Loop() {
				e := New(rand.New(rand.NewPCG(1, 1)), 1)
				e.Configure(
					hub.w.now,
					overlay.Config{Interfaces: []overlay.InterfaceConfig{hub.cfg}},
					&out,
				)
				e.Restore(hub.w.now, saved, &out)
				if got := len(e.ifaces["gre1"].server.Announced.ByPrefix); got != count {
					b.Fatalf("%d prefixes restored, want %d", got, count)
				}
				out.Reset()
			}
			b.ReportMetric(
				float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/prefix",
			)
		})
	}
}

// A changed route costs no more if there are many announced prefixes that it does not concern.
func BenchmarkRouteEventWithAnnounced(b *testing.B) {
	for _, count := range announcingSizes {
		b.Run(fmt.Sprintf("clients=%d", count), func(b *testing.B) {
			hub, _, _, _ := newAnnouncers(b, count)
			route := event.Route{
				Prefix:  mustPrefix("203.0.113.0/24"),
				NextHop: addr("192.0.2.254"),
				Device:  "eth0",
			}
			var out output.Output
			b.ReportAllocs()
			for b.Loop() {
				hub.engine.Handle(
					hub.w.now,
					event.RoutesChanged{Table: testTable, Added: []event.Route{route}},
					&out,
				)
				hub.engine.Handle(
					hub.w.now,
					event.RoutesChanged{Table: testTable, Removed: []event.Route{route}},
					&out,
				)
			}
		})
	}
}
