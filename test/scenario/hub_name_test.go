//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/test/lab"
)

// A hub has a name with an address of each IP version. A spoke with both registers over IPv6 only.
// When nothing passes over IPv6, it registers over IPv4, and traffic goes on. When IPv6 is there
// again, it goes back after the fallback delay, and loses nothing. Spokes with one IP version use
// that one.
func TestHubNameOfBothIPVersions(t *testing.T) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	underlay6(m.Hub, 0, false)
	underlay6(m.Spoke1, 1, false)
	underlay6(m.Spoke3, 3, true)
	hub4, hub6, spoke4, spoke6 := m.Hub.Public, public6(0), m.Spoke1.Public, public6(1)
	for _, s := range m.Sites()[1:] {
		s.WriteFile("/etc/hosts", 0o644,
			fmt.Sprintf("%s hub.example.net\n%s hub.example.net\n", hub4, hub6))
		useNHS(s, `nhs = [{ nbma = "hub.example.net" }]`)
	}
	m.Spoke1.Interface = append(m.Spoke1.Interface, `fallback_delay = "5s"`)
	m.Start()
	// A slow machine may need more than the head start of IPv6: then IPv4 comes first.
	registeredAt(m, m.Spoke1, spoke6, hub6, later)
	registeredAt(m, m.Spoke2, m.Spoke2.Public, hub4, soon)
	registeredAt(m, m.Spoke3, m.Spoke3.Public, hub6, soon)

	train := m.Spoke1.Host.Train(m.Hub.Host.Addr, 50*time.Millisecond)
	cut := time.Now()
	m.Spoke1.LoseIPv6(true)
	registeredAt(m, m.Spoke1, spoke4, hub4, soon)
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	train.Stop()
	t.Logf("traffic passes over IPv4 %s after IPv6 was cut", time.Since(cut).Round(time.Second/10))

	back := m.Spoke1.Host.Train(m.Hub.Host.Addr, 50*time.Millisecond)
	repaired := time.Now()
	m.Spoke1.LoseIPv6(false)
	registeredAt(m, m.Spoke1, spoke6, hub6, later)
	t.Logf("back on IPv6 %s after it was repaired", time.Since(repaired).Round(time.Second/10))
	if sent, lost := back.Stop(); lost > 0 {
		t.Errorf("the way back to IPv6 lost %d of %d packets", lost, sent)
	}
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	encrypted(m)
	alive(m)
}

// registeredAt awaits that a spoke and the hub know each other at these NBMA addresses, and that
// packets pass.
func registeredAt(m *lab.Mesh, s *lab.Site, spoke, hub netip.Addr, within time.Duration) {
	m.Helper()
	what := fmt.Sprintf("%s is registered from %s at %s", s.Name, spoke, hub)
	m.Await(what, within, func() error {
		if at := m.Hub.Neighbors("gre1")[s.Overlay]; at != spoke {
			return fmt.Errorf("the hub's neighbour %s is at %s, not at %s", s.Overlay, at, spoke)
		}
		if at := s.Neighbors("gre1")[m.Hub.Overlay]; at != hub {
			return fmt.Errorf("the spoke has %s at %s, not at %s", m.Hub.Overlay, at, hub)
		}
		_, err := s.Try("ping", "-c1", "-W1", m.Hub.Overlay.String())
		return err
	})
}
