//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"cygnet/test/lab"
)

// headed returns nil when a site's kernel has a host route into the tunnel to each of these
// routers, and to no other router of the overlay.
func headed(s *lab.Site, routers ...*lab.Site) error {
	want := map[string]bool{}
	for _, r := range routers {
		want[r.Overlay.String()] = true
	}
	routes := s.Routes("10.255.0.0/24")
	for _, r := range routes {
		if _, err := netip.ParseAddr(r.Dst); err != nil {
			continue // a prefix
		}
		if !want[r.Dst] || r.Gateway.IsValid() || r.Device != "gre1" {
			return fmt.Errorf("%s has the route %+v", s.Name, r)
		}
		delete(want, r.Dst)
	}
	return lab.True(len(want) == 0, "%s has no host route to %v, only %+v", s.Name, want, routes)
}

// awaitHeaded awaits that headed returns nil.
func awaitHeaded(m *lab.Mesh, what string, s *lab.Site, routers ...*lab.Site) {
	m.Helper()
	m.Await(what, soon, func() error { return headed(s, routers...) })
}

// The tunnels have host prefixes, as with FRR, VyOS and Alpine. The host route to each router comes
// and goes with its neighbour. Spokes register, send through the hub and find each other, by the
// hub's indication (phase 3) and by routes that lead to the other spoke (phase 2). Then the hub
// gets the usual prefix while the spokes keep theirs.
func TestHostPrefixes(t *testing.T) {
	m := lab.NewMesh(t)
	m.Add(`idle_time = "4s"`)
	m.Hub.SetAddress(32, `overlay = "10.255.0.0/24"`)
	m.Spoke1.SetAddress(32)
	m.Spoke2.SetAddress(32, `overlay = "10.255.0.0/24"`)
	one, two := m.Spoke1.Host, m.Spoke2.Host
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	awaitHeaded(m, "the hub has a host route to each spoke", m.Hub, m.Spoke1, m.Spoke2)
	awaitHeaded(m, "spoke1 has a host route to the hub", m.Spoke1, m.Hub)
	awaitHeaded(m, "spoke2 has a host route to the hub", m.Spoke2, m.Hub)
	m.Spoke1.Ping(m.Hub.Overlay, 2)
	m.Hub.Ping(m.Spoke2.Overlay, 2)
	one.Ping(m.Hub.Host.Addr, 2)

	shortcut(m)
	atHub := m.Hub.Capture("gre1")
	direct := goesStraight(m, m.Spoke1, m.Spoke2, 10)
	if n := atHub.Count(direct.Requests()) + atHub.Count(direct.Replies()); n != 0 {
		t.Errorf("%d packets between the spokes came to the hub", n)
	}
	m.Await("the shortcuts end without traffic", later, func() error {
		if err := down(m, m.Spoke1, m.Spoke2); err != nil {
			return err
		}
		return down(m, m.Spoke2, m.Spoke1)
	})
	awaitHeaded(m, "no host route of a shortcut is left", m.Spoke1, m.Hub)

	// Phase 2: spoke1 has a route through spoke2, whose NBMA address it does not know. Spoke2
	// answers through the hub until it finds a shortcut of its own. The flow goes on, because the
	// host route ends with the neighbour when that was not used for the idle time.
	m.Spoke1.IP("route replace 172.16.2.0/24 via 10.255.0.12 dev gre1 onlink")
	flow := one.Flow(two.Addr, 50*time.Millisecond)
	m.Await("spoke1 sends directly to spoke2", soon, func() error {
		return adjacent(m.Spoke1, m.Spoke2)
	})
	flow.Back(time.Now(), soon)
	awaitHeaded(m, "spoke1 has a host route to the next hop that it missed", m.Spoke1, m.Hub,
		m.Spoke2)
	m.Spoke1.Ping(m.Spoke2.Overlay, 2)
	flow.Stop()
	m.Spoke1.IP("route del 172.16.2.0/24 via 10.255.0.12 dev gre1 onlink")

	// The other way round than usual: the hub has the overlay's prefix on its tunnel, and the
	// spokes have host prefixes.
	m.Hub.SetAddress(24)
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	m.Hub.Daemon.Signal(syscall.SIGHUP)
	m.Await("the hub has the usual prefix", soon, func() error {
		out := m.Hub.Run("ip", "-o", "-4", "addr", "show", "dev", "gre1")
		return lab.True(contains(out, "10.255.0.1/24") && !contains(out, "10.255.0.1/32"),
			"its addresses are %s", out)
	})
	m.Hub.SetRoutes()
	registered(m, m.Spoke1, later)
	registered(m, m.Spoke2, later)
	awaitHeaded(m, "the hub needs no host route", m.Hub)
	awaitHeaded(m, "spoke1 has one to the hub", m.Spoke1, m.Hub)
	m.Spoke1.Ping(m.Hub.Overlay, 2)
	shortcut(m)
	alive(m)
	encrypted(m)
}
