package engine

import (
	"fmt"
	"net/netip"
	"testing"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// withShortcuts returns a spoke with that many shortcuts through one next hop.
func withShortcuts(b *testing.B, count int) *node {
	s, hub := spokeAlone(b, func(c *overlay.InterfaceConfig) {
		c.Limits.Shortcuts, c.Limits.Transit = 2*count, 10*count
	})
	s.from("192.0.2.12", "spoke2")
	var out output.Output
	for i := range count {
		dest := netip.AddrFrom4([4]byte{172, 16, byte(2 + i>>8), byte(i)})
		before := len(s.sent)
		hub.says(indicationOf(host1, dest.String()))
		request := only(b, s.sentSince(before))
		answer := answerTo(request, 32, "10.255.0.12", "192.0.2.12")
		data, err := answer.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		s.engine.Receive(s.w.now, "gre1", peerAt("192.0.2.1"), data, &out)
		out.Reset()
	}
	if got := len(s.engine.ifaces["gre1"].Requester.Shortcuts); got != count {
		b.Fatalf("%d shortcuts", got)
	}
	return s
}

// When a peer goes, everything that refers to it ends. The cost of each reference hardly depends on
// how many there are.
func BenchmarkPeerLostWithShortcuts(b *testing.B) {
	for _, count := range []int{1000, 2000, 10000} {
		b.Run(fmt.Sprint(count, " shortcuts"), func(b *testing.B) {
			var out output.Output
			for b.Loop() {
				b.StopTimer()
				s := withShortcuts(b, count)
				out.Reset()
				b.StartTimer()
				s.engine.Handle(
					s.w.now, event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.12"), Reason: "gone"},
					&out,
				)
			}
			b.ReportMetric(
				float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/shortcut",
			)
		})
	}
}

// Routers with names behind one NAT address come one after the other.
func BenchmarkNamesBehindOneAddress(b *testing.B) {
	for _, count := range []int{1000, 2000, 10000} {
		b.Run(fmt.Sprint(count, " routers"), func(b *testing.B) {
			var out output.Output
			for b.Loop() {
				hub := hubAlone(b)
				for i := range count {
					hub.engine.Handle(
						hub.w.now,
						event.PeerSecured{Peer: event.Peer{
							Interface: "gre1",
							ID:        peerid.Marked(uint32(1 + i)),
							Outer:     addr("192.0.2.99"),
							Identity:  fmt.Sprint("spoke", i),
							RemoteNAT: true,
						}},
						&out,
					)
					out.Reset()
				}
			}
			b.ReportMetric(
				float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/router",
			)
		})
	}
}

// Routers share one NAT address without marks, on a hub with many rules. The engine looks up what
// the rules give once for each identity.
func BenchmarkSharedAddressWithRules(b *testing.B) {
	var rules []string
	for i := range 100 {
		rules = append(rules, fmt.Sprintf("other%d*: 10.255.0.%d", i, i))
	}
	rules = append(rules, "spoke*: 10.255.0.0/24")
	for _, count := range []int{250, 500, 1000} {
		b.Run(fmt.Sprint(count, " routers"), func(b *testing.B) {
			var out output.Output
			for b.Loop() {
				hub := hubAlone(b, allowing(b, rules...))
				ike := event.Peer{
					Interface: "gre1",
					ID:        peerAt("192.0.2.99"),
					Identity:  "spoke0",
					RemoteNAT: true,
				}
				for i := range count {
					ike.SharedWith = append(ike.SharedWith, fmt.Sprintf("spoke%04d", i))
					hub.engine.Handle(hub.w.now, event.PeerSecured{Peer: ike}, &out)
					out.Reset()
				}
			}
			b.ReportMetric(
				float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/router",
			)
		})
	}
}
