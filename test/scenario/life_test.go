//go:build lab

package scenario

import (
	"fmt"
	"testing"
	"time"

	"cygnet/test/lab"
)

// This is the whole life of a mesh: spokes register through IPsec, traffic passes through the hub,
// the shortcut comes, it ends without traffic, and all sites leave.
func TestMesh(t *testing.T) {
	m := lab.NewMesh(t)
	m.Add(`idle_time = "4s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	hubSAs := [][]lab.SA{m.Spoke1.Charon.With(m.Hub.Public), m.Spoke2.Charon.With(m.Hub.Public)}
	if err := unsecured(m.Spoke1, m.Spoke2); err != nil {
		t.Fatalf("before any traffic: %v", err)
	}

	atHub := m.Hub.Capture("gre1")
	one, two := m.Spoke1.Host, m.Spoke2.Host
	one.Ping(two.Addr, 1)
	if atHub.Count(passing(one.Addr, two.Addr), by(m.Spoke1)) != 1 {
		t.Fatalf("the first packet from %s to %s did not go through the hub", one.Addr, two.Addr)
	}

	shortcut(m)
	start := time.Now()
	flow := goesStraight(m, m.Spoke1, m.Spoke2, 20)
	if n := atHub.Count(flow.Requests()) + atHub.Count(flow.Replies()); n != 0 {
		t.Errorf("%d packets between the spokes went through the hub after the shortcut was up", n)
	}
	direct := m.Underlay.Count(lab.OfKind(lab.ESP), lab.Between(m.Spoke1.Public, m.Spoke2.Public),
		lab.Since(start))
	if direct < 40 {
		t.Errorf("20 pings made %d ESP packets between the spokes, not 40", direct)
	}

	m.Await("the shortcuts end without traffic", later, func() error {
		if err := down(m, m.Spoke1, m.Spoke2); err != nil {
			return err
		}
		return down(m, m.Spoke2, m.Spoke1)
	})
	for i, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		now := s.Charon.With(m.Hub.Public)
		if len(now) != 1 || len(hubSAs[i]) != 1 || now[0].ID != hubSAs[i][0].ID {
			t.Errorf("the SA of %s with the hub was %+v and is %+v", s.Name, hubSAs[i], now)
		}
	}
	one.Ping(two.Addr, 1)

	for _, s := range m.Sites() {
		s.Cygnet("leave")
	}
	for _, s := range m.Sites() {
		m.Await("the tunnel of "+s.Name+" is gone", soon, func() error {
			return lab.True(!s.HasDevice("gre1"), "gre1 is there")
		})
	}
	encrypted(m)
}

// goesStraight sends at least so many requests from one site's host to another's, and proves that
// they and the replies go straight from router to router: the outer source of what arrives shows
// it. It looks at the packets of its own flow alone, which it returns. Packets that were sent
// before the shortcut was up, and those of the ping that was to bring the shortcut, may still be
// under way.
func goesStraight(m *lab.Mesh, a, b *lab.Site, least int) *lab.Flow {
	m.Helper()
	atA, atB := a.Capture("gre1"), b.Capture("gre1")
	begin := time.Now()
	flow := a.Host.Flow(b.Host.Addr, 50*time.Millisecond)
	m.Await(fmt.Sprintf("%d requests of %s are answered", least, flow.Name), soon, func() error {
		sent, lost, _ := flow.Loss(begin)
		return lab.True(sent-lost >= least, "of %d requests %d are lost", sent, lost)
	})
	flow.Stop()
	if sent, lost, longest := flow.Loss(begin); lost > 0 {
		m.Errorf("%s: of %d requests %d were lost, for at most %s", flow.Name, sent, lost, longest)
	}
	for _, way := range []struct {
		from, to *lab.Site
		at       *lab.Capture
		messages lab.Filter
	}{{a, b, atB, flow.Requests()}, {b, a, atA, flow.Replies()}} {
		arrived := passing(way.from.Host.Addr, way.to.Host.Addr)
		all := way.at.Count(way.messages, arrived)
		if n := way.at.Count(way.messages, arrived, by(way.from)); n != all || n < least {
			m.Errorf("of %d packets %d came to %s straight from %s", all, n, way.to.Name,
				way.from.Name)
		}
	}
	return flow
}

// Only the words protection = "none" make a mesh in clear. Such a mesh works without charon.
func TestWithoutIPsec(t *testing.T) {
	m := lab.NewMesh(t)
	m.Unprotect()
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	goesStraight(m, m.Spoke1, m.Spoke2, 10)
	if n := m.Underlay.Count(lab.OfKind(lab.ESP, lab.ESPinUDP, lab.IKE)); n != 0 {
		t.Errorf("%d packets of IPsec without IPsec", n)
	}
	if m.Underlay.Count(lab.OfKind(lab.GRE), lab.Between(m.Spoke1.Public, m.Spoke2.Public)) < 20 {
		t.Errorf("the pings are not on the underlay")
	}
	for _, s := range m.Sites() {
		st, err := status(s)
		if err != nil || len(st.Interfaces) != 1 || st.Interfaces[0].Protected {
			t.Errorf("status of %s does not show that it is unprotected: %+v, %v", s.Name,
				st.Interfaces, err)
		}
	}
	movesInClear(m)
	leavesInClear(m)
	alive(m)
}

// A client leaves. Nothing of it remains, not at the hub either, and other clients do not notice.
func TestLeave(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	train := m.Spoke2.Host.Train(m.Hub.Host.Addr, 50*time.Millisecond)
	m.Spoke1.Cygnet("leave")
	m.Await("nothing of spoke1 is left", soon, func() error {
		for _, s := range []*lab.Site{m.Hub, m.Spoke2} {
			if at, ok := s.Neighbors("gre1")[m.Spoke1.Overlay]; ok {
				return lab.True(false, "%s has neighbour %s at %s", s.Name, m.Spoke1.Overlay, at)
			}
			if err := unsecured(s, m.Spoke1); err != nil {
				return err
			}
		}
		if hop := m.Spoke2.NextHop(m.Spoke1.Host.Addr); hop != m.Hub.Overlay {
			return lab.True(false, "spoke2 sends what is for spoke1's LAN via %s", hop)
		}
		if guards := m.Spoke1.Guards(); len(guards) > 0 {
			return lab.True(false, "spoke1 has block policies for GRE: %v", guards)
		}
		return lab.True(!m.Spoke1.HasDevice("gre1"), "spoke1 has gre1")
	})
	if sent, lost := train.Stop(); lost > 0 {
		t.Errorf("spoke2 lost %d of %d packets with the hub", lost, sent)
	}
	alive(m)
	encrypted(m)
}
