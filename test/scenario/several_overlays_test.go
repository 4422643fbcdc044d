//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/test/lab"
)

// second is a site's part in a second overlay, which its tunnel gre2 is for. It has the same
// underlay address as gre1, and another key.
type second struct {
	*lab.Site
	overlay netip.Addr // 10.254.0.x, where gre1 has 10.255.0.x
	host    netip.Addr // the address of the site's host in the LAN of that overlay, 172.17.x.0/24
}

// secondOf returns a site's part in the second overlay.
func secondOf(s *lab.Site) second {
	overlay, host := s.Overlay.As4(), s.Host.Addr.As4()
	overlay[1], host[1] = 254, 17
	return second{s, netip.AddrFrom4(overlay), netip.AddrFrom4(host)}
}

const overlaysPage = "../../doc/recipes/several-overlays.md"

// secondTable returns the lines of a table of the page's second overlay, as a spoke has it, with
// single blanks.
func secondTable(t lab.T, name string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(lab.Snippet(t, overlaysPage, "[interface."+name+"]")) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

// newTwoOverlays makes a mesh whose routers are in two overlays, with one address each on the
// underlay. The second overlay has the tables of the page. Nothing runs on it yet.
func newTwoOverlays(t *testing.T, options ...lab.MeshOption) *lab.Mesh {
	m := lab.NewMesh(t, options...)
	m.Add(`idle_time = "5s"`)
	for _, s := range m.Sites() {
		two := secondOf(s)
		s.Further = append(secondTable(t, "gre2"), `idle_time = "5s"`, "[interface.gre2.limits]",
			"bindings = 512")
		s.Further = append(s.Further, secondTable(t, "gre2.ipsec")...)
		if s == m.Hub {
			s.Further = slices.DeleteFunc(s.Further, func(line string) bool {
				return strings.HasPrefix(line, "nhs ") || strings.HasPrefix(line, "shortcut ")
			})
			s.Further = slices.Insert(s.Further, 1, "redirect = true")
		}
		for i, line := range s.Further {
			s.Further[i] = replace(line, "10.254.0.11/", two.overlay.String()+"/",
				"hub.example.net", "192.0.2.1", "spoke1.example.net", s.Name+".example.net",
				"/etc/cygnet/overlays.psk", "/etc/cygnet/gre1.psk")
		}
		router := two.host.As4()
		router[3] = 1
		s.IP(fmt.Sprintf("addr add %s/24 dev lan0", netip.AddrFrom4(router)))
		s.Host.IP(fmt.Sprintf("addr add %s/24 dev eth0", two.host),
			"route add 172.17.0.0/16 via "+netip.AddrFrom4(router).String())
	}
	return m
}

// startTwoOverlays starts the routers, with routes in both overlays, and awaits that every spoke is
// registered in both.
func startTwoOverlays(m *lab.Mesh) {
	m.Helper()
	m.Start()
	for _, s := range m.Sites() {
		routeSecond(m, s)
	}
	for _, s := range m.Sites()[1:] {
		if s.NAT == nil {
			registered(m, s, soon)
		} else {
			marked(m, m.Hub, s)
		}
		registeredSecond(m, s, soon)
	}
}

// routeSecond sets a site's routes in the second overlay.
func routeSecond(m *lab.Mesh, s *lab.Site) {
	m.Helper()
	if s != m.Hub {
		s.IP("route replace 172.17.0.0/16 via 10.254.0.1 dev gre2 onlink")
		return
	}
	for _, spoke := range m.Sites()[1:] {
		two := secondOf(spoke)
		s.IP(fmt.Sprintf("route replace %s via %s dev gre2 onlink",
			netip.PrefixFrom(two.host, 24).Masked(), two.overlay))
	}
}

// registeredSecond awaits that a spoke is registered in the second overlay, and that packets pass
// there.
func registeredSecond(m *lab.Mesh, s *lab.Site, within time.Duration) {
	m.Helper()
	m.Await(s.Name+" is registered in the second overlay", within, func() error {
		if at, ok := m.Hub.Neighbors("gre2")[secondOf(s).overlay]; !ok {
			return fmt.Errorf("the hub's neighbours are %v", m.Hub.Neighbors("gre2"))
		} else if s.NAT == nil && at != s.Public {
			return fmt.Errorf("the hub's neighbour is at %s", at)
		}
		return s.Host.Reaches(secondOf(m.Hub).host)
	})
}

// flowTo starts a flow in the second overlay.
func flowTo(s, peer *lab.Site) *lab.Flow {
	f := s.Host.Flow(secondOf(peer).host, 5*time.Millisecond)
	f.AnsweredBy(peer.Host.Node)
	return f
}

// upSecond returns nil when a site sends packets for another site's LAN of the second overlay
// straight there.
func upSecond(s, peer *lab.Site) error {
	two := secondOf(peer)
	if hop := s.NextHop(two.host); hop != two.overlay {
		return fmt.Errorf("%s sends what is for %s via %s", s.Name, two.host, hop)
	}
	if at := s.Neighbors("gre2")[two.overlay]; at != peer.Public {
		return fmt.Errorf("on %s neighbour %s is at %s", s.Name, two.overlay, at)
	}
	return secured(s, peer)
}

// onePair returns nil when each of two sites has one IKE_SA with the other, with one CHILD_SA.
func onePair(s, peer *lab.Site) error {
	for _, ends := range [][2]*lab.Site{{s, peer}, {peer, s}} {
		sas := ends[0].Charon.With(ends[1].Public)
		if len(sas) != 1 || len(sas[0].SPIs) != 2 {
			return fmt.Errorf("charon on %s has for %s: %+v", ends[0].Name, ends[1].Name, sas)
		}
	}
	return nil
}

// awaitOnePair awaits that two sites have one IKE_SA with one CHILD_SA, and returns the IKE_SA's
// name that both ends know it by. Both ends may have dialled.
func awaitOnePair(m *lab.Mesh, s, peer *lab.Site) (name string) {
	m.Helper()
	m.Await("one SA between "+s.Name+" and "+peer.Name, soon, func() error {
		if err := onePair(s, peer); err != nil {
			return err
		}
		sas := s.Charon.With(peer.Public) // read anew: the list may have changed since
		if len(sas) != 1 {
			return fmt.Errorf("charon on %s has for %s: %+v", s.Name, peer.Name, sas)
		}
		name = sas[0].IKE
		return nil
	})
	return name
}

// Two overlays are on one address of each router, with a key each. The routers have one IKE_SA and
// one pair of ESP states for both. Each overlay has its own shortcuts and admits its own peers, and
// the SA between the spokes lasts as long as either overlay has a use for it.
func TestOverlaysOnOneAddressShareSAs(t *testing.T) {
	m := newTwoOverlays(t)
	startTwoOverlays(m)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		awaitOnePair(m, m.Hub, s)
	}
	first := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 50*time.Millisecond)
	m.Await("a shortcut in the first overlay", soon, func() error { return up(m.Spoke1, m.Spoke2) })
	m.Await("and back", soon, func() error { return up(m.Spoke2, m.Spoke1) })
	pair := awaitOnePair(m, m.Spoke1, m.Spoke2)
	there := secondOf(m.Spoke2)
	if hop := m.Spoke1.NextHop(there.host); hop != secondOf(m.Hub).overlay {
		t.Errorf("the second overlay has a shortcut as well, via %s", hop)
	}
	intrude(m, m.Spoke2, m.Spoke1)

	begin, other := time.Now(), flowTo(m.Spoke1, m.Spoke2)
	m.Await("a shortcut in the second overlay", soon, func() error {
		return upSecond(m.Spoke1, m.Spoke2)
	})
	m.Await("and back", soon, func() error { return upSecond(m.Spoke2, m.Spoke1) })
	first.Stop()
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		m.Await("the first overlay has had no use for the SA for long", soon, func() error {
			return unusedFor(s, "gre1", 12*time.Second)
		})
	}
	if now := awaitOnePair(m, m.Spoke1, m.Spoke2); now != pair {
		t.Errorf("the second overlay had an SA with a use, and it was replaced")
	}
	lossless(m, begin, []*lab.Flow{other})
	other.Stop()
	for _, s := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
		m.Await("the SA ends with the last use", soon, func() error {
			return unsecured(s[0], s[1])
		})
	}
	alive(m)
	encrypted(m)
}

// An interface goes from the configuration and comes back, the daemon is restarted, and charon is
// killed. The other overlay loses no packet by the first two, on the hub and on a spoke, and keeps
// its SA under the same name, whichever interface that name is of. The third heals.
func TestOverlayOnOneAddressGoes(t *testing.T) {
	overlayGoes(newTwoOverlays(t), onePair)
}

// overlayGoes is what TestOverlayOnOneAddressGoes does. pairs returns nil when two sites have all
// the SAs with each other that they need for both overlays, and no other.
func overlayGoes(m *lab.Mesh, pairs func(s, peer *lab.Site) error) {
	m.Helper()
	m.AddIPsec(`dpd_delay = "3s"`)
	for _, s := range m.Sites() {
		s.Further = append(s.Further, `dpd_delay = "3s"`)
	}
	startTwoOverlays(m)
	m.Await("the SAs between hub and spoke", soon, func() error { return pairs(m.Hub, m.Spoke1) })
	pair := pairOfSecond(m, m.Spoke1, m.Hub)
	begin, flow := time.Now(), flowTo(m.Spoke1, m.Hub)
	for _, s := range []*lab.Site{m.Spoke1, m.Hub} {
		both := s.Config()
		one := both[:strings.Index(both, "[interface.gre1]")] +
			both[strings.Index(both, "[interface.gre2]"):]
		s.WriteFile(lab.CygnetConfig, 0o640, one)
		s.Daemon.Signal(syscall.SIGHUP)
		m.Await("gre1 is gone on "+s.Name, soon, func() error {
			return lab.True(!s.HasDevice("gre1"), "it is there")
		})
		s.Daemon.Terminate()
		s.Daemon.Start()
		registeredSecond(m, m.Spoke1, soon)
		s.WriteFile(lab.CygnetConfig, 0o640, both)
		s.Daemon.Signal(syscall.SIGHUP)
		m.Await("gre1 is back on "+s.Name, soon, func() error {
			return lab.True(s.IsUp("gre1"), "it is not up")
		})
		s.SetRoutes()
		registered(m, m.Spoke1, later)
		m.Await("the host reaches the hub's in the first overlay", soon, func() error {
			return m.Spoke1.Host.Reaches(m.Hub.Host.Addr)
		})
	}
	lossless(m, begin, []*lab.Flow{flow})
	flow.Stop()
	m.Await("the SAs between hub and spoke", soon, func() error { return pairs(m.Hub, m.Spoke1) })
	if now := pairOfSecond(m, m.Spoke1, m.Hub); now != pair {
		m.Errorf("the SA of the second overlay between hub and spoke was replaced")
	}

	m.Hub.Charon.Kill()
	m.Hub.Charon.Start()
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		registered(m, s, later)
		registeredSecond(m, s, later)
		m.Await("the SAs between the hub and "+s.Name, later, func() error {
			return pairs(m.Hub, s)
		})
	}
	m.Await("the hub's kernel has no ESP state of the earlier charon", later, func() error {
		return noOrphans(m.Hub)
	})
	alive(m)
	encrypted(m)
}

// Two spokes are behind one NAT address and in two overlays. Each is reached through its own SA in
// both overlays: the hub has one mark for it, which both tunnels use.
func TestOverlaysOnOneAddressBehindNAT(t *testing.T) {
	m := newTwoOverlays(t, lab.SpokesBehindOneNAT())
	startTwoOverlays(m)
	// The arrival of the second spoke may have the hub close the SA of the first one, which then
	// dials again. So only both together show that the hub is done with that.
	m.Await("the hub has one mark for each spoke in both overlays", soon, func() error {
		for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
			if err := leadsBySA(m.Hub, s); err != nil {
				return err
			}
			first := m.Hub.Neighbors("gre1")[s.Overlay]
			second := m.Hub.Neighbors("gre2")[secondOf(s).overlay]
			if first != second {
				return fmt.Errorf("%s is at %s in the first, at %s in the second", s.Name, first,
					second)
			}
		}
		return nil
	})
	for _, s := range m.Sites()[1:] {
		m.Await(s.Name+" has one IKE_SA with the hub", soon, func() error {
			sas := s.Charon.With(m.Hub.Public)
			return lab.True(len(sas) == 1, "%+v", sas)
		})
		m.Hub.Host.Ping(s.Host.Addr, 3)
		m.Hub.Host.Ping(secondOf(s).host, 3)
	}
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	m.Spoke1.Host.Ping(secondOf(m.Spoke2).host, 3)
	alive(m)
	encrypted(m)
}

// pairOfSecond returns the name, which both ends know it by, of the IKE_SA that carries the second
// overlay between a spoke and the hub: its own one or, if there is none, the one for all GRE.
func pairOfSecond(m *lab.Mesh, s, peer *lab.Site) (name string) {
	m.Helper()
	for _, sa := range s.Charon.With(peer.Public) {
		if sa.Child == "gre" || sa.Child == "gre-gre2" {
			name = sa.IKE
		}
	}
	return name
}

// intrude has a site send directly to another in the second overlay, where it was told of no
// shortcut. The SA that the first overlay uses takes the packets there. The other site's kernel
// does not admit them.
func intrude(m *lab.Mesh, s, peer *lab.Site) {
	m.Helper()
	before := notAdmitted(m, peer)
	knock(m, s, peer)
	m.Await(peer.Name+" counts what it did not admit", soon, func() error {
		now := notAdmitted(m, peer)
		return lab.True(now >= before+5, "%d packets, %d before", now, before)
	})
}

// knock has a site send five packets directly to another in the second overlay, where it was told
// of no shortcut, and fails the test if one is answered.
func knock(m *lab.Mesh, s, peer *lab.Site) {
	m.Helper()
	to := secondOf(peer)
	s.IP(fmt.Sprintf("neigh replace %s lladdr %s dev gre2", to.overlay, peer.Public),
		fmt.Sprintf("route add %s/32 via %s dev gre2 onlink", to.host, to.overlay))
	if out, err := s.Host.Try("ping", "-n", "-c", "5", "-i", "0.2", "-W", "1",
		to.host.String()); err == nil {
		m.Fatalf("%s, which is no peer there, reaches %s in the second overlay:\n%s", s.Name,
			peer.Name, out)
	}
	s.IP(fmt.Sprintf("route del %s/32 via %s dev gre2", to.host, to.overlay),
		fmt.Sprintf("neigh del %s dev gre2", to.overlay))
}

// notAdmitted returns how many packets a site has dropped since their senders were not admitted.
func notAdmitted(m *lab.Mesh, s *lab.Site) uint64 {
	m.Helper()
	st, err := status(s)
	if err != nil {
		m.Fatalf("status of %s: %v", s.Name, err)
	}
	return st.Counters.Dropped["data: not admitted"]
}

// unusedFor returns nil when a spoke's interface has nothing that refers to the other spoke, and
// has had no data from it or for it for a time.
func unusedFor(s *lab.Site, device string, long time.Duration) error {
	st, err := status(s)
	if err != nil {
		return err
	}
	for _, i := range st.Interfaces {
		for _, p := range i.Peers {
			if i.Name == device && p.NBMA != netip.MustParseAddr("192.0.2.1") &&
				(len(p.Interest) > 0 || st.Now.Sub(p.In) < long || st.Now.Sub(p.Out) < long) {
				return fmt.Errorf("%s has %+v", s.Name, p)
			}
		}
	}
	return nil
}
