//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// A spoke behind NAT has the address of its NAT as NBMA address, and its ESP travels in UDP.
func TestSpokeBehindNAT(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"))
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	m.Hub.Host.Ping(m.Spoke1.Host.Addr, 3)
	if n := m.Underlay.Count(lab.OfKind(lab.ESPinUDP),
		lab.Between(m.Spoke1.Public, m.Hub.Public)); n < 12 {
		t.Errorf("6 pings made %d packets of ESP in UDP", n)
	}
	shortcut(m)
	straight(m, m.Spoke1, m.Spoke2)
	straight(m, m.Spoke2, m.Spoke1)
	smallPaths(m)
	alive(m)
	encrypted(m)
}

// smallPaths lets the way between each spoke and the hub take no more than 1300 bytes, at the NAT
// in front of spoke1 and at spoke2 itself. It proves that packets of the tunnel's full MTU arrive,
// with DF set and without, as ESP and as ESP in UDP. Larger packets without DF are fragmented, and
// the sender of larger packets with DF is told of the tunnel's MTU.
func smallPaths(m *lab.Mesh) {
	m.Helper()
	box := m.Spoke1.NAT
	box.IP(
		"route change 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.11 mtu lock 1300",
		"route change 10.1.0.0/24 dev in0 proto kernel scope link src 10.1.0.1 mtu lock 1300",
	)
	m.Spoke2.IP("route add 192.0.2.1/32 dev eth0 mtu lock 1300")
	const headers = 28 // IP and ICMP
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		for _, c := range []struct {
			df   string
			size int
		}{{"dont", 1400}, {"do", 1400}, {"dont", 1500}} {
			err := s.Host.PingAs(m.Hub.Host.Addr, 6, lab.Request{Length: c.size, DF: c.df})
			if err != nil {
				m.Errorf("packets of %d bytes (DF: %s) from %s over a path of 1300 bytes: %v",
					c.size, c.df, s.Name, err)
			}
		}
		out, err := s.Host.Try("ping", "-n", "-c", "1", "-W", "3", "-M", "do",
			"-s", fmt.Sprint(1500-headers), m.Hub.Host.Addr.String())
		if err == nil ||
			!strings.Contains(out, "mtu = 1400") && !strings.Contains(out, "mtu=1400") {
			m.Errorf("the sender of 1500 bytes with DF is not told of the tunnel's MTU of 1400: %v\n%s",
				err, out)
		}
	}
}

// The public spoke's host talks first. The spoke behind NAT dials all the same, since nobody else
// can.
func TestToSpokeBehindNAT(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"))
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcutFrom(m, m.Spoke2, m.Spoke1)
	straight(m, m.Spoke2, m.Spoke1)
	straight(m, m.Spoke1, m.Spoke2)
	alive(m)
	encrypted(m)
}

// straight proves that all pings from one spoke's host to the other's go straight from router to
// router.
func straight(m *lab.Mesh, s, peer *lab.Site) {
	m.Helper()
	tunnel := peer.Capture("gre1")
	s.Host.Ping(peer.Host.Addr, 10)
	if n := tunnel.Count(passing(s.Host.Addr, peer.Host.Addr), by(s)); n != 10 {
		m.Errorf("of 10 packets to %s %d came straight from %s", peer.Name, n, s.Name)
	}
}

// Each of two spokes is behind a NAT of its own. They reach each other, whichever starts, through
// the hub at least. Nothing that was up goes down.
func TestBothSpokesBehindNAT(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"), lab.SpokeBehindNAT("spoke2"))
	m.Add(patient)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 100)
	m.Spoke2.Host.Ping(m.Spoke1.Host.Addr, 100)
	steady(m)
	alive(m)
	encrypted(m)
}

// patient is how long a path may carry nothing in a test that calls steady. With the default a
// daemon that stands still for a second, while the other one proves the path, is taken for a dead
// path, and the shortcut ends that this daemon had already.
const patient = `path_timeout = "15s"`

// steady proves that since the start no peer lost its SA, no shortcut ended, no binding moved or
// ended, and no request was refused.
func steady(m *lab.Mesh) {
	m.Helper()
	never(m, "peer lost its SA", "shortcut ended", "binding ended", "client moved",
		"request refused")
}

// never proves that no daemon has logged any of these events since the start.
func never(m *lab.Mesh, events ...string) {
	m.Helper()
	for _, s := range m.Sites() {
		for _, words := range events {
			if logged(s, words) == nil {
				m.Errorf("%s says %q:\n%s", s.Name, words, s.Daemon.Output())
			}
		}
	}
}

// Two spokes are behind one NAT address where packets cannot be given marks, because something else
// has the namespace's GRE device in external mode. Both spokes have an SA with the hub, and what
// they send arrives. What the hub sends goes into the newest SA, so only one of them is reached.
// That spoke works in full, with a shortcut to a spoke elsewhere. The hub reports what is wrong,
// and nothing flaps. Routes inside the site give the other spoke everything. When one spoke goes,
// the other works without these routes.
func TestSpokesBehindOneNATWithoutMarks(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokesBehindOneNAT())
	m.Add("holding_time = \"30s\"", patient)
	for _, s := range []*lab.Site{m.Hub, m.Spoke3} {
		s.IP("link add taken type gre external")
	}
	for _, s := range []*lab.Site{m.Hub, m.Spoke3, m.Spoke1} {
		s.Start()
	}
	registered(m, m.Spoke3, soon)
	registered(m, m.Spoke1, soon)
	m.Spoke2.Start()
	registered(m, m.Spoke2, soon)

	m.Await("the hub says who shares the address", soon, func() error {
		return sharing(m.Hub, "spoke2.example.net")
	})
	if out, err := m.Hub.TryCygnet("status"); err != nil ||
		!strings.Contains(out,
			"spoke1.example.net, spoke2.example.net share the address 192.0.2.11") {
		t.Errorf("cygnet status does not tell:\n%s", out)
	} else if !strings.Contains(out, "external mode") {
		t.Errorf("cygnet status does not tell why:\n%s", out)
	}
	before := unique(m.Hub)
	m.Hub.Host.Ping(m.Spoke2.Host.Addr, 10)
	m.Spoke2.Host.Ping(m.Hub.Host.Addr, 10)
	shortcutFrom(m, m.Spoke3, m.Spoke2)
	straight(m, m.Spoke2, m.Spoke3)
	// A shortcut that nobody uses ends with its holding time. This one is to stay.
	use := m.Spoke3.Host.Flow(m.Spoke2.Host.Addr, 200*time.Millisecond)
	atHub := m.Hub.Capture("gre1")
	m.Await("packets of the other spoke arrive at the hub", soon, func() error {
		if err := m.Spoke1.Host.Reaches(m.Hub.Host.Addr); err == nil {
			return fmt.Errorf("the other spoke is reached as well")
		}
		if atHub.Count(passing(m.Spoke1.Host.Addr, m.Hub.Host.Addr), by(m.Spoke1)) == 0 {
			return fmt.Errorf("nothing came from %s", m.Spoke1.Host.Addr)
		}
		return nil
	})

	m.Await("the other spoke's registrations stay unanswered for its holding time", later,
		func() error {
			n, err := nhs(m.Spoke1)
			if err == nil && (n.State != api.NHSRegistering || n.Attempts < 3) {
				err = fmt.Errorf("its NHS is %s, with %d requests unanswered", n.State, n.Attempts)
			}
			return err
		})
	if after := unique(m.Hub); !slices.Equal(before, after) {
		t.Errorf("the hub's SAs were %v and are %v", before, after)
	}
	steady(m)

	// With routes inside the site, the spoke that is reached passes on what is for the other spoke.
	// That one answers by itself.
	m.Spoke1.IP("route add 172.16.2.0/24 via 10.1.0.3")
	m.Spoke2.IP("route add 172.16.1.0/24 via 10.1.0.2")
	for _, s := range []*lab.Site{m.Hub, m.Spoke2, m.Spoke3} {
		s.Host.Ping(m.Spoke1.Host.Addr, 10)
		m.Spoke1.Host.Ping(s.Host.Addr, 10)
	}
	steady(m)
	use.Stop()
	m.Spoke1.IP("route del 172.16.2.0/24 via 10.1.0.3")
	m.Spoke2.IP("route del 172.16.1.0/24 via 10.1.0.2")

	m.Spoke1.Run("swanctl", "--rekey", "--child", "gre")
	m.Await("the one with the newest SA is reached", soon, func() error {
		if err := sharing(m.Hub, "spoke1.example.net"); err != nil {
			return err
		}
		return m.Hub.Host.Reaches(m.Spoke1.Host.Addr)
	})
	never(m, "peer lost its SA", "binding ended", "client moved")

	m.Spoke1.Daemon.Terminate()
	m.Spoke1.Charon.Terminate()
	m.Await("the one that is left is reached", later, func() error {
		return m.Hub.Host.Reaches(m.Spoke2.Host.Addr)
	})
	m.Spoke2.Host.Ping(m.Hub.Host.Addr, 10)
	if err := logged(m.Hub, "peer lost its SA"); err == nil {
		t.Errorf("the hub took the address for gone:\n%s", m.Hub.Daemon.Output())
	}
	encrypted(m)
}

// sharing returns nil when the hub reports that both spokes share an address, and that what is sent
// there reaches the spoke with this identity.
func sharing(hub *lab.Site, reached string) error {
	st, err := status(hub)
	if err != nil {
		return err
	}
	for _, p := range st.Interfaces[0].Peers {
		both := slices.Sorted(slices.Values(append([]string{p.Identity}, p.SharedWith...)))
		if slices.Equal(both, []string{"spoke1.example.net", "spoke2.example.net"}) &&
			p.Reached == reached {
			return nil
		}
	}
	return fmt.Errorf("the hub's peers are %+v", st.Interfaces[0].Peers)
}

// unique returns the ids of a site's SAs, sorted.
func unique(s *lab.Site) []string {
	var ids []string
	for _, sa := range s.Charon.SAs() {
		ids = append(ids, fmt.Sprintf("%06s", sa.ID))
	}
	slices.Sort(ids)
	return ids
}
