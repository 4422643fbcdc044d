//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// announcing returns a mesh in which the only routes to the spokes' LANs are those that follow from
// what the spokes announce, apart from one summary route of each spoke's to the hub.
func announcing(t *testing.T) *lab.Mesh {
	m := lab.NewMesh(t)
	m.Hub.UseRoutes()
	m.Hub.Interface = append(m.Hub.Interface, `accept = ["172.16.0.0/12"]`)
	m.Spoke1.UseRoutes("172.16.0.0/12 via 10.255.0.1")
	m.Spoke2.UseRoutes("172.16.0.0/12 via 10.255.0.1")
	m.Spoke1.Interface = append(m.Spoke1.Interface, `announce = ["172.16.1.0/24"]`)
	m.Spoke2.Interface = append(m.Spoke2.Interface,
		`announce = ["172.16.2.0/24", "192.168.66.0/24"]`)
	return m
}

// leads returns nil when a site's kernel has a route to a prefix through a client of the hub.
func leads(s *lab.Site, prefix string, client netip.Addr) error {
	for _, r := range s.Routes(prefix) {
		if r.Dst == prefix && r.Gateway == client && r.Device == "gre1" {
			return nil
		}
	}
	return fmt.Errorf("%s has no route to %s through %s: %+v", s.Name, prefix, client,
		s.Routes(prefix))
}

// Spokes that announce the networks behind them need no routing protocol: the hub learns the way
// there, and the spokes learn a shorter one. The hub refuses what it does not accept with code 4,
// and the spoke's own registration stands.
func TestAnnouncedPrefixes(t *testing.T) {
	m := announcing(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Await("the hub leads to spoke1's LAN", soon, func() error {
		return leads(m.Hub, "172.16.1.0/24", m.Spoke1.Overlay)
	})
	m.Await("the hub leads to spoke2's LAN", soon, func() error {
		return leads(m.Hub, "172.16.2.0/24", m.Spoke2.Overlay)
	})
	m.Hub.Host.Ping(m.Spoke1.Host.Addr, 3)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	shortcut(m)
	atSpoke2 := m.Spoke2.Capture("gre1")
	// The flow's own packets count: one of shortcut's may still be under way.
	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, 50*time.Millisecond)
	m.Await("ten packets come to spoke2", soon, func() error {
		n := atSpoke2.Count(flow.Requests())
		return lab.True(n >= 10, "%d came", n)
	})
	flow.Stop()
	came := atSpoke2.Count(flow.Requests())
	if n := atSpoke2.Count(flow.Requests(), by(m.Spoke1)); n != came {
		t.Errorf("of %d packets %d came straight from spoke1", came, n)
	}

	if found := m.Hub.Routes("192.168.66.0/24"); len(found) > 0 {
		t.Errorf("the hub has a route to what it does not accept: %+v", found)
	}
	m.Await("spoke2 is told why", soon, func() error {
		return logged(m.Spoke2, "192.168.66.0/24", "administratively prohibited")
	})
	// The hub sends its answer before it writes its log.
	m.Await("the hub says why", soon, func() error {
		return logged(m.Hub, "192.168.66.0/24", "not in what is accepted")
	})
	n, err := nhs(m.Spoke2)
	if err != nil || n.State != "registered" || n.Error == "" ||
		!slices.Equal(n.Announced, []netip.Prefix{m.Spoke2.LAN.Masked()}) {
		t.Errorf("spoke2 says %+v, %v", n, err)
	}
	alive(m)
	encrypted(m)
}

// The route to an announced prefix goes with its spoke. It survives a restart of the hub's daemon.
func TestAnnouncedPrefixesFollowTheSpoke(t *testing.T) {
	m := announcing(t)
	m.AddIPsec(`dpd_delay = "3s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	m.Await("the hub leads to spoke1's LAN", soon, func() error {
		return leads(m.Hub, "172.16.1.0/24", m.Spoke1.Overlay)
	})

	m.Await("the hub has saved what it knows", soon, func() error {
		return saved(m.Hub, "172.16.1.0/24")
	})
	train := m.Hub.Host.Train(m.Spoke1.Host.Addr, 50*time.Millisecond)
	m.Hub.Daemon.Kill()
	if err := leads(m.Hub, "172.16.1.0/24", m.Spoke1.Overlay); err != nil {
		t.Error(err)
	}
	m.Hub.Daemon.Start()
	m.Await("the restarted hub knows the prefix", soon, func() error {
		st, err := status(m.Hub)
		if err != nil {
			return err
		}
		for _, b := range st.Bindings() {
			if b.Protocol == m.Spoke1.Overlay &&
				slices.Contains(b.Prefixes, m.Spoke1.LAN.Masked()) {
				return nil
			}
		}
		return fmt.Errorf("bindings %+v", st.Bindings())
	})
	if sent, lost := train.Stop(); lost > 0 {
		t.Errorf("of %d packets %d were lost while the hub's daemon was killed and started", sent,
			lost)
	}

	m.Spoke1.Cygnet("leave")
	m.Await("the hub leads nowhere", soon, func() error {
		return lab.True(leads(m.Hub, "172.16.1.0/24", m.Spoke1.Overlay) != nil,
			"the route to spoke1's LAN is still there")
	})
	alive(m)
	encrypted(m)
}
