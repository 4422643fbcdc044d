package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// indicatedTo returns how many indications a hub sends a spoke for packets to that many
// destinations in the network with that number.
func indicatedTo(hub *node, nbma string, dests, network int) int {
	before := len(hub.sent)
	for i := range dests {
		dest := netip.AddrFrom4([4]byte{172, 17 + byte(network>>8), byte(network), byte(i)})
		hub.handle(
			event.Redirected{
				Interface: "gre1",
				From:      peerAt(nbma),
				Packet:    ipv4(addr(host1), dest),
			},
		)
	}
	return len(hub.sent) - before
}

func hubWithTwoSpokes(t testing.TB, indications int) *node {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Limits.Indications = indications })
	hub.routes = nil
	hub.addRoutes(viaTunnel("172.16.0.0/12", "10.255.0.12"))
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	hub.from("192.0.2.66", "greedy")
	hub.from("192.0.2.77", "modest")
	return hub
}

// However many flows one spoke had in the last hour, the new flows of another are indicated at
// once. The memory of flows holds no more than two seconds' indications.
func TestManyFlowsOfOneSpokeStarveNobody(t *testing.T) {
	for _, flows := range []int{1000, 2000, 10000} {
		t.Run(fmt.Sprint(flows, " flows"), func(t *testing.T) {
			hub := hubWithTwoSpokes(t, 100)
			for sent, round := 0, 0; sent < flows; round++ {
				hub.w.now = hub.w.now.Add(time.Second)
				sent += indicatedTo(hub, "192.0.2.66", 30, round)
			}
			if most := hub.engine.ifaces["gre1"].Limiters.Flows.Len(); most > 200 {
				t.Errorf("%d flows remembered, want at most 200", most)
			}
			if got := indicatedTo(hub, "192.0.2.77", 20, 3000); got != 20 {
				t.Errorf("%d of 20 new flows of another spoke indicated", got)
			}
		})
	}
}

// Spokes that want all indications leave every other spoke its first one in each second. A spoke
// with SAs from several addresses has a single share.
func TestGreedySpokesLeaveOthersTheirFirstIndication(t *testing.T) {
	hub := hubWithTwoSpokes(t, 40)
	for i := range 8 {
		hub.from(fmt.Sprintf("192.0.2.%d", 100+i), fmt.Sprint("greedy", i))
	}
	for second := range 10 {
		hub.w.now = hub.w.now.Add(time.Second)
		for i := range 8 {
			indicatedTo(hub, fmt.Sprintf("192.0.2.%d", 100+i), 100, second)
		}
		if got := indicatedTo(hub, "192.0.2.77", 1, second); got != 1 {
			t.Fatalf("second %d: the modest spoke's flow is not indicated", second)
		}
	}

	hub = hubWithTwoSpokes(t, 40)
	sent := 0
	for i := range 8 {
		nbma := fmt.Sprintf("192.0.2.%d", 100+i)
		hub.from(nbma, "greedy")
		sent += indicatedTo(hub, nbma, 100, 0)
	}
	if sent != 11 {
		t.Errorf(
			"%d indications at once to one identity at eight addresses, want its share of 11", sent,
		)
	}
}

// Peers whose SAs are gone take no buckets from later peers. If all peers come back under new
// addresses, they are served at once.
func TestPeersOfBeforeTakeNoBuckets(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Limits.Bindings = 10 })
	for generation := range 4 {
		for i := range 10 + overlay.SpareKeys {
			nbma := netip.AddrFrom4([4]byte{100, byte(64 + generation), byte(i >> 8), byte(i)})
			s := hub.from(nbma.String(), nbma.String())
			for range 20 {
				if got := s.says(requestFrom(
					nbma.String(), "10.255.0.99", "172.16.0.9",
				)); len(got) != 1 {
					t.Fatalf(
						"peer %d of generation %d is not answered: dropped %v",
						i, generation, hub.engine.Stats().Dropped,
					)
				}
			}
			hub.handle(event.PeerLost{Interface: "gre1", ID: peerid.At(nbma), Reason: "gone"})
		}
		hub.w.run(time.Minute)
	}
}

// flap lets a client announce 64 prefixes and take them back, again and again within a second,
// until it has sent that many CIEs. It returns how many routes changed, how many events were
// logged, and how many were left out of the log.
func flap(t testing.TB, cies int) (routes, logged, leftOut int) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) {
		c.Accept = []netip.Prefix{mustPrefix("172.16.0.0/12")}
		c.Limits.Prefixes = 1000
	})
	s := hub.from("192.0.2.66", "flapping")
	s.says(registrationFrom("192.0.2.66", "10.255.0.66"))
	hub.w.run(time.Second)
	announce := registrationFrom("192.0.2.66", "10.255.0.66")
	announce.DestProtocol = addr("10.255.0.1")
	announce.CIEs = nil
	for i := range 64 {
		announce.CIEs = append(announce.CIEs, packet.CIE{PrefixLength: 24, HoldingTime: 600,
			Protocol: netip.AddrFrom4([4]byte{172, 20, byte(i), 0})})
	}
	back := purgeOf("192.0.2.66", "10.255.0.66", "10.255.0.1", "172.20.0.0/16")
	hub.notices = nil
	for i := range cies / 64 {
		p := announce
		p.RequestID = uint32(2 * i)
		for _, p := range []packet.Packet{p, back} {
			data, err := p.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			hub.engine.Receive(hub.w.now, "gre1", peerAt("192.0.2.66"), data, &hub.out)
			routes += len(hub.out.Routes)
			hub.carryOut()
		}
	}
	hub.w.run(2 * overlay.QuietTime)
	for _, n := range hub.notices {
		switch {
		case n.Kind == output.NoticeLeftOut:
			fmt.Sscanf(n.Reason, "%d events", &leftOut)
		case n.Kind == output.NoticePrefixBound || n.Kind == output.NoticePrefixUnbound:
			if !n.Quiet {
				logged++
			}
		}
	}
	return routes, logged, leftOut
}

// A client that keeps announcing prefixes and taking them back changes a bounded number of routes
// in a second, and writes a bounded number of lines to the log, however many prefixes it puts into
// a packet.
func TestFlappingPrefixesAreBounded(t *testing.T) {
	for _, cies := range []int{1000, 2000, 10000} {
		routes, logged, leftOut := flap(t, cies)
		if routes < 128 || routes > 2*200 {
			t.Errorf(
				"%d CIEs: %d route changes at once, want at most two for each of 200 requests",
				cies, routes,
			)
		}
		if logged > overlay.EventBurst || logged+leftOut != routes {
			t.Errorf(
				"%d CIEs: %d lines and %d told as left out, want at most %d lines of %d events",
				cies, logged, leftOut, overlay.EventBurst, routes,
			)
		}
	}
}

// The events of one peer do not keep those of another out of the log.
func TestLogEventsOfOnePeer(t *testing.T) {
	hub := hubAlone(t)
	logged := func() (count int) {
		for _, n := range hub.notices {
			if n.Kind == output.NoticePeerSecured && !n.Quiet {
				count++
			}
		}
		return count
	}
	for range 1000 {
		hub.from("192.0.2.66", "flapping")
		hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.66"), Reason: "gone"})
	}
	if got := logged(); got != overlay.EventBurst/2 {
		t.Errorf("%d of 1000 SAs of one peer logged, want %d", got, overlay.EventBurst/2)
	}
	hub.notices = nil
	hub.from("192.0.2.12", "spoke2")
	if got := logged(); got != 1 {
		t.Errorf("another peer's SA is not in the log")
	}
	hub.notices = nil
	hub.w.run(overlay.QuietTime)
	if got := hub.notices[len(hub.notices)-1]; got.Kind != output.NoticeLeftOut ||
		got.Identity != "flapping" ||
		got.Reason != "1872 events left out of the log in the last minute" {
		t.Errorf("told %+v", got)
	}
}

func BenchmarkFlappingPrefixes(b *testing.B) {
	for _, cies := range []int{1000, 2000, 10000} {
		b.Run(fmt.Sprint(cies, " CIEs a second"), func(b *testing.B) {
			for b.Loop() {
				routes, logged, _ := flap(b, cies)
				b.ReportMetric(float64(routes), "routes/s")
				b.ReportMetric(float64(logged), "lines/s")
			}
		})
	}
}
