//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// The NAT gets another address. Later it forgets its mappings and chooses other ports. Each time
// the hub and the shortcuts follow a spoke behind the NAT as soon as one packet of that spoke
// arrives, long before its next registration.
func TestNATMoves(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokesBehindOneNAT())
	m.Add(patient) // the NAT is cut off while its rules change, and a busy guest takes seconds
	m.Start()
	inside := []*lab.Site{m.Spoke1, m.Spoke2}
	registered(m, m.Spoke3, soon)
	var flows []*lab.Flow
	for _, s := range inside {
		marked(m, m.Hub, s)
		bothWays(m, m.Spoke3, s)
		flows = append(flows, s.Host.Flow(m.Hub.Host.Addr, 20*time.Millisecond),
			s.Host.Flow(m.Spoke3.Host.Addr, 20*time.Millisecond))
	}
	// The arrival of spoke2 may have closed spoke1's SA with the hub. So await spoke1 first.
	for _, f := range flows {
		f.Back(time.Now(), soon)
	}
	lossless(m, time.Now(), flows)
	// For 3 seconds after spoke2 came, spoke3 cannot tell whose packets come from the NAT, and
	// drops spoke1's probes. So spoke1's path may fail although it was proven. It can no longer
	// fail once spoke3 has a proven path, too, and a packet has come back by that path.
	m.Await("spoke3's paths are proven", later, func() error {
		return errors.Join(provenTo(m.Spoke3, m.Spoke1), provenTo(m.Spoke3, m.Spoke2))
	})
	for _, s := range inside {
		s.Host.Ping(m.Spoke3.Host.Addr, 1)
	}
	m.Await("the paths to spoke3 are proven", later, func() error {
		return errors.Join(provenTo(m.Spoke1, m.Spoke3), provenTo(m.Spoke2, m.Spoke3))
	})
	before, ends := unique(m.Hub), endings(m)

	follow := func(what string, public netip.Addr) {
		t.Helper()
		begin := time.Now()
		for _, s := range inside {
			s.Public = public
			marked(m, m.Hub, s)
			marked(m, m.Spoke3, s)
		}
		for _, f := range flows {
			f.Back(time.Now(), soon)
			sent, lost, longest := f.Loss(begin)
			t.Logf("%s: %s: %d of %d lost, at most %v in a row", what, f.Name, lost, sent, longest)
		}
		m.Await("the hub says where its clients are", soon, func() error {
			return boundAt(m.Hub, public, m.Spoke1, m.Spoke2)
		})
	}
	m.Spoke1.NAT.Move("192.0.2.21/24")
	follow("another address", netip.MustParseAddr("192.0.2.21"))
	ports := portsOf(m.Hub)
	m.Spoke1.NAT.Masquerade(true)
	follow("other ports", netip.MustParseAddr("192.0.2.21"))
	now := portsOf(m.Hub)
	for _, s := range inside {
		if id := s.Name + ".example.net"; ports[id] == 0 || now[id] == 0 || now[id] == ports[id] {
			t.Errorf("%s was at port %d of the NAT and is at %d", s.Name, ports[id], now[id])
		}
	}
	for _, f := range flows {
		f.Stop()
	}
	for _, s := range inside {
		m.Hub.Host.Ping(s.Host.Addr, 10)
		straight(m, s, m.Spoke3)
	}
	if after := unique(m.Hub); !slices.Equal(before, after) {
		t.Errorf("the hub's SAs were %v and are %v", before, after)
	}
	if after := endings(m); after != ends {
		t.Errorf("%d bindings and shortcuts ended", after-ends)
	}
	alive(m)
	encrypted(m)
}

// portsOf returns the ports to which a site's charon sends, by the peers' identities.
func portsOf(s *lab.Site) map[string]uint16 {
	ports := map[string]uint16{}
	for _, sa := range s.Charon.SAs() {
		ports[sa.RemoteID] = sa.RemotePort
	}
	return ports
}

// endings returns how many bindings and shortcuts ended, on all sites together. It leaves out the
// shortcuts that ended because a spoke took its answer back. A spoke does that once a reply to its
// registration shows the NAT's new address. Such a registration may come before the test ends: a
// spoke registers when it sends data and gets none for some seconds.
func endings(m *lab.Mesh) int {
	n := 0
	for _, s := range m.Sites() {
		for line := range strings.Lines(s.Daemon.Output()) {
			ended := strings.Contains(line, "binding ended") ||
				strings.Contains(line, "shortcut ended")
			if ended && !strings.Contains(line, "took its answer back") {
				n++
			}
		}
	}
	return n
}

// boundAt returns nil when every binding of these spokes that the hub reports is at an address and
// has an SA.
func boundAt(hub *lab.Site, at netip.Addr, spokes ...*lab.Site) error {
	st, err := status(hub)
	if err != nil {
		return err
	}
	for _, s := range spokes {
		for _, b := range st.Interfaces[0].Bindings {
			if b.Protocol == s.Overlay && (b.NBMA != at || !b.Secured) {
				return fmt.Errorf("%s is bound at %v, secured %v", s.Name, b.NBMA, b.Secured)
			}
		}
	}
	return nil
}

// A hub behind a one-to-one NAT serves its spokes as a hub without NAT does.
func TestHubBehindNAT(t *testing.T) {
	m := lab.NewMesh(t, lab.HubBehindNAT())
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		s.Host.Ping(m.Hub.Host.Addr, 5)
		m.Hub.Host.Ping(s.Host.Addr, 5)
	}
	shortcut(m)
	straight(m, m.Spoke1, m.Spoke2)
	straight(m, m.Spoke2, m.Spoke1)
	alive(m)
	encrypted(m)
}
