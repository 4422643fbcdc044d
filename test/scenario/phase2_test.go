//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// phase2 returns a mesh whose spokes have routes through each other's overlay addresses, as a
// routing protocol sets them in phase 2.
func phase2(t *testing.T) *lab.Mesh {
	m := lab.NewMesh(t)
	m.Spoke1.UseRoutes("172.16.0.0/24 via 10.255.0.1", "172.16.2.0/24 via 10.255.0.12")
	m.Spoke2.UseRoutes("172.16.0.0/24 via 10.255.0.1", "172.16.1.0/24 via 10.255.0.11")
	return m
}

// adjacent returns nil when a site's kernel sends packets for a peer's overlay address straight to
// the peer, through an SA.
func adjacent(s, peer *lab.Site) error {
	if at := s.Neighbors("gre1")[peer.Overlay]; at != peer.Public {
		return fmt.Errorf("on %s neighbour %s is at %v", s.Name, peer.Overlay, at)
	}
	return secured(s, peer)
}

// relayAfter is how long a router waits for the direct way to a neighbour that its kernel missed,
// before it sends by the hub what the kernel holds: RelayAfter in the engine's relays. A charon
// that stands still may need longer.
const relayAfter = 2 * time.Second

// Phase 2: routes lead to the other spoke itself. The kernel holds the first packets until that
// spoke is found and secured. Nothing goes through the hub, which does not even have to indicate a
// shorter way, unless that takes longer than the packets are to wait.
func TestPhase2(t *testing.T) {
	m := phase2(t)
	m.Hub.Interface = slices.DeleteFunc(m.Hub.Interface, func(line string) bool {
		return line == "redirect = true"
	})
	// A path whose proof fails sends the traffic to the hub at once.
	m.Add(`idle_time = "8s"`, `path_timeout = "15s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	atHub, atSpoke2 := m.Hub.Capture("gre1"), m.Spoke2.Capture("gre1")
	one, two := m.Spoke1.Host, m.Spoke2.Host
	throughHub := func(filters ...lab.Filter) int {
		return atHub.Count(append(filters, passing(one.Addr, two.Addr))...) +
			atHub.Count(append(filters, passing(two.Addr, one.Addr))...)
	}
	begin, flow := time.Now(), one.Flow(two.Addr, 50*time.Millisecond)
	m.Await("the direct way, in both directions", soon, func() error {
		return errors.Join(adjacent(m.Spoke1, m.Spoke2), adjacent(m.Spoke2, m.Spoke1))
	})
	lossless(m, begin, []*lab.Flow{flow})
	flow.Stop()
	waiting := func(p lab.Packet) bool { return p.At.Before(begin.Add(relayAfter)) }
	first := atSpoke2.Packets(flow.Requests(), passing(one.Addr, two.Addr))[0]
	if first.Echo.Number != 0 || waiting(first) && first.Link != m.Spoke1.Public {
		t.Errorf("first, packet %d came from %s after %s; want packet 0, straight from spoke1",
			first.Echo.Number, first.Link, first.At.Sub(begin))
	}
	if n := throughHub(waiting); n != 0 {
		t.Errorf("%d packets went through the hub while the direct way was looked for", n)
	}
	direct := time.Now()
	one.Ping(two.Addr, 20)
	if n := throughHub(lab.Since(direct)); n != 0 {
		t.Errorf("%d packets between the spokes went through the hub", n)
	}
	for s, peer := range map[*lab.Site]*lab.Site{m.Spoke1: m.Spoke2, m.Spoke2: m.Spoke1} {
		if err := adjacent(s, peer); err != nil {
			t.Error(err)
		}
		for _, r := range s.Routes("10.255.0.0/24") {
			if r.Dst != "10.255.0.0/24" {
				t.Errorf("on %s there is a route into the overlay: %+v", s.Name, r)
			}
		}
		if st, err := status(s); err != nil || len(st.Shortcuts()) == 0 || len(st.Routes) != 0 {
			t.Errorf("%s: shortcuts %+v; routes wanted, though the neighbour is enough: %+v, %v",
				s.Name, st.Shortcuts(), st.Routes, err)
		}
		if out := s.Cygnet("status"); strings.Contains(out, "not in the kernel") {
			t.Errorf("on %s, where all is well:\n%s", s.Name, out)
		}
	}
	// Both ends: a spoke that has a neighbour without an SA drops what is for it.
	m.Await("what nobody uses ends", later, func() error {
		for _, ends := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
			s, peer := ends[0], ends[1]
			if at, ok := s.Neighbors("gre1")[peer.Overlay]; ok && at == peer.Public {
				return fmt.Errorf("on %s neighbour %s is still at %s", s.Name, peer.Overlay, at)
			}
			if err := unsecured(s, peer); err != nil {
				return err
			}
		}
		return nil
	})
	begin, flow = time.Now(), one.Flow(two.Addr, 50*time.Millisecond)
	lossless(m, begin, []*lab.Flow{flow})
	alive(m)
	encrypted(m)
}

// Phase 2, but the two spokes cannot reach each other. What their routes send straight to the other
// goes through the hub, until the spokes can reach each other again.
func TestPhase2WithoutDirectWay(t *testing.T) {
	m := phase2(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	for s, peer := range map[*lab.Site]*lab.Site{m.Spoke1: m.Spoke2, m.Spoke2: m.Spoke1} {
		s.IP("route add blackhole " + peer.Public.String())
	}
	atHub := m.Hub.Capture("gre1")
	begin := time.Now()
	m.Await("spoke1's host reaches spoke2's", soon, func() error {
		return m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr)
	})
	t.Logf("through the hub after %s", time.Since(begin).Round(time.Millisecond))
	if atHub.Count(passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr), by(m.Spoke1)) == 0 {
		t.Error("and did not go through the hub")
	}
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 20)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		s.IP("route flush type blackhole")
	}
	train := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 100*time.Millisecond)
	m.Await("direct again", later, func() error { return adjacent(m.Spoke1, m.Spoke2) })
	train.Stop()
	alive(m)
	encrypted(m)
}
