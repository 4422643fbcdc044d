//go:build lab

package scenario

import (
	"os"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// The daemon ends, by SIGTERM or SIGKILL, and comes back. Neither costs the network a packet or an
// SA.
func TestRestartOfTheDaemonKeepsTraffic(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	// Both spokes may have dialled. One of the two SAs then goes after some seconds.
	m.Await("spoke1 has one SA with each router", soon, func() error {
		sas := m.Spoke1.Charon.SAs()
		return lab.True(len(sas) == 2, "%+v", sas)
	})
	before := m.Spoke1.Charon.SAs()
	direct := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 20*time.Millisecond)
	viaHub := m.Hub.Host.Train(m.Spoke1.Host.Addr, 20*time.Millisecond)

	for _, s := range []*lab.Site{m.Spoke1, m.Hub, m.Spoke2} {
		s.Daemon.Terminate()
		if err := up(m.Spoke1, m.Spoke2); err != nil {
			t.Errorf("after SIGTERM of %s: %v", s.Name, err)
		}
		s.Daemon.Start()
		s.Daemon.Kill()
		if err := up(m.Spoke1, m.Spoke2); err != nil {
			t.Errorf("after SIGKILL of %s: %v", s.Name, err)
		}
		s.Daemon.Start()
	}
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		registeredAnew(m, s, soon)
	}
	if err := up(m.Spoke1, m.Spoke2); err != nil {
		t.Errorf("after all: %v", err)
	}
	for name, train := range map[string]*lab.Train{
		"between the spokes":     direct,
		"between hub and spoke1": viaHub,
	} {
		if sent, lost := train.Stop(); lost > 0 || sent == 0 {
			t.Errorf("%s %d of %d packets were lost", name, lost, sent)
		}
	}
	if after := m.Spoke1.Charon.SAs(); len(after) != len(before) {
		t.Errorf("charon on spoke1 had %d SAs and has %d: %+v", len(before), len(after), after)
	}
	encrypted(m)
}

// registeredAnew awaits that the daemon of a spoke, which was started anew, says that it is
// registered. The kernels know the way all the time, so registered does not show it.
func registeredAnew(m *lab.Mesh, s *lab.Site, within time.Duration) {
	m.Helper()
	m.Await(s.Name+" is registered with the daemon started anew", within, func() error {
		n, err := nhs(s)
		if err != nil {
			return err
		}
		return lab.True(n.State == "registered", "%+v", n)
	})
}

// charon is killed, so that its peers learn nothing of its end, or terminated, so that all of its
// SAs are gone. The mesh comes back by itself, and meanwhile nothing goes in clear.
func TestRestartOfCharonHeals(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`dpd_delay = "3s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	train := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 100*time.Millisecond)

	ends := []struct {
		name string
		end  func(*lab.Charon)
	}{
		{"killed", func(c *lab.Charon) { c.Kill() }},
		{"terminated", func(c *lab.Charon) { c.Terminate() }},
	}
	for _, s := range []*lab.Site{m.Spoke1, m.Hub} {
		for _, e := range ends {
			t.Logf("charon on %s is %s", s.Name, e.name)
			e.end(s.Charon)
			s.Charon.Start()
			for _, spoke := range []*lab.Site{m.Spoke1, m.Spoke2} {
				registered(m, spoke, later)
				m.Await(spoke.Name+" reaches the hub's LAN", later, func() error {
					return spoke.Host.Reaches(m.Hub.Host.Addr)
				})
			}
			m.Await("spoke1 reaches spoke2's LAN", later, func() error {
				return m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr)
			})
		}
	}
	for _, s := range m.Sites() {
		m.Await("the kernel of "+s.Name+" has no ESP state of an earlier charon", later,
			func() error {
				return noOrphans(s)
			})
	}
	m.Await("the shortcut is back", later, func() error { return up(m.Spoke1, m.Spoke2) })
	if sent, lost := train.Stop(); sent == lost {
		t.Errorf("all of %d packets were lost", sent)
	}
	alive(m)
	encrypted(m)
}

// noOrphans returns an error if the kernel has an ESP state that charon does not list. A state
// under negotiation has no SPI yet and does not count.
func noOrphans(s *lab.Site) error {
	known := make(map[uint32]bool)
	for _, sa := range s.Charon.SAs() {
		for _, spi := range sa.SPIs {
			known[spi] = true
		}
	}
	for _, st := range s.XfrmStates() {
		if st.SPI != 0 && !known[st.SPI] {
			return lab.True(false,
				"the state from %s to %s with SPI %08x is in no list of charon's", st.Src, st.Dst,
				st.SPI)
		}
	}
	return nil
}

// A spoke's charon was stopped while its daemon was away, and the spokes cannot make a new SA with
// each other. The shortcut of the earlier daemon has no SA: its traffic takes the hub as soon as
// the spoke is registered, whether the daemon was killed before it saved the shortcut or after.
// Once the spokes can make an SA, the way is short again.
func TestShortcutWithoutSATakesTheHub(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	for _, remembered := range []bool{true, false} {
		t.Logf("the next daemon remembers the shortcut: %v", remembered)
		shortcut(m)
		withoutSA(m, remembered)
		m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
		if hop := m.Spoke1.NextHop(m.Spoke2.Host.Addr); hop != m.Hub.Overlay {
			t.Errorf("without an SA spoke1 sends what is for spoke2's LAN via %s", hop)
		}

		spokesDial(m, true)
		train := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 50*time.Millisecond)
		m.Await("the shortcut is back", later, func() error { return up(m.Spoke1, m.Spoke2) })
		m.Await("so is the other way's", later, func() error { return up(m.Spoke2, m.Spoke1) })
		train.Stop()
	}
	alive(m)
	encrypted(m)
}

// withoutSA has spoke1's daemon and charon end and come back while the spokes cannot dial each
// other, and awaits that spoke1 is registered again. It takes from the next daemon what the earlier
// one saved, unless that daemon is to remember the shortcut.
func withoutSA(m *lab.Mesh, remembered bool) {
	m.Helper()
	prefix := m.Spoke2.LAN.Masked().String()
	m.Await("the shortcut is saved", soon, func() error { return saved(m.Spoke1, prefix) })
	m.Spoke1.Daemon.Kill()
	if !remembered {
		if err := os.Remove(m.Spoke1.Path(savedState)); err != nil {
			m.Fatalf("%v", err)
		}
	}
	m.Spoke1.Charon.Terminate()
	// The answers of spoke2's LAN have to take the hub, too.
	m.Await("spoke2 has nothing of its shortcut to spoke1", soon, func() error {
		return down(m, m.Spoke2, m.Spoke1)
	})
	spokesDial(m, false)
	m.Spoke1.Charon.Start()
	m.Spoke1.Daemon.Start()
	registered(m, m.Spoke1, later)
	registeredAnew(m, m.Spoke1, soon)
}

// spokesDial allows or forbids that the spokes make SAs with each other.
func spokesDial(m *lab.Mesh, allowed bool) {
	m.Helper()
	change := "-A"
	if allowed {
		change = "-D"
	}
	for s, peer := range map[*lab.Site]*lab.Site{m.Spoke1: m.Spoke2, m.Spoke2: m.Spoke1} {
		s.Iptables(change, "INPUT", "-s", peer.Public.String(), "-p", "udp", "-j", "DROP")
	}
}

// savedState is where a site's daemon saves its state.
const savedState = "/var/lib/cygnet/state.json"

// saved returns nil if a site's saved state has a text.
func saved(s *lab.Site, text string) error {
	state, err := os.ReadFile(s.Path(savedState))
	if err != nil {
		return err
	}
	return lab.True(strings.Contains(string(state), text), "%s is not in %s", text, state)
}
