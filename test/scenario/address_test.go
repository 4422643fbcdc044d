//go:build lab

package scenario

import (
	"fmt"
	"testing"
	"time"

	"cygnet/test/lab"
)

// renumber gives a spoke another address on the underlay, as DHCP or a new dial-in does: the old one goes, the new one comes.
func renumber(s *lab.Site, from, to string) {
	s.IP("addr del "+from+"/24 dev eth0", "addr add "+to+"/24 dev eth0")
	s.Public = addr(to)
}

// A spoke whose underlay address changes registers from the new one, under the same identity (within two seconds, on a machine that has
// nothing else to do). The hub moves its binding; the shortcut retreats to the hub and comes again; nothing goes in clear, and of the
// old address nothing is left.
func TestAddressChange(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`dpd_delay = "3s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	old := m.Spoke1.Public

	renumber(m.Spoke1, "192.0.2.11", "192.0.2.111")
	begin := time.Now()
	m.Await("the hub has spoke1 at its new address", 5*time.Second, func() error {
		at := m.Hub.Neighbors("gre1")[m.Spoke1.Overlay]
		return lab.True(at == m.Spoke1.Public, "the hub's neighbour %s is at %s", m.Spoke1.Overlay, at)
	})
	t.Logf("registered again after %s", time.Since(begin).Round(time.Millisecond))
	registered(m, m.Spoke1, soon)
	m.Await("spoke1 reaches the hub's LAN", soon, func() error { return m.Spoke1.Host.Reaches(m.Hub.Host.Addr) })
	m.Await("and spoke2's, which does not wait for its dead peer detection", 10*time.Second, func() error { return m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr) })
	t.Logf("all reachable after %s", time.Since(begin).Round(time.Millisecond))
	shortcut(m)
	m.Await("nothing of the old address is left", later, func() error {
		for _, s := range m.Sites() {
			for _, sa := range s.Charon.SAs() {
				if sa.Local == old || sa.Remote == old {
					return fmt.Errorf("charon on %s has %+v", s.Name, sa)
				}
			}
			for _, state := range s.XfrmStates() {
				if state.Src == old || state.Dst == old {
					return fmt.Errorf("the kernel of %s has %+v", s.Name, state)
				}
			}
			for protocol, nbma := range s.Neighbors("gre1") {
				if nbma == old {
					return fmt.Errorf("on %s neighbour %s is at %s", s.Name, protocol, nbma)
				}
			}
		}
		return nil
	})
	t.Logf("nothing left after %s", time.Since(begin).Round(time.Millisecond))
	for _, g := range m.Spoke1.Guards() {
		if g.Src != nil && g.Src.IP.String() == old.String() || g.Dst != nil && g.Dst.IP.String() == old.String() {
			t.Errorf("a guard of the old address is left: %v", g)
		}
	}
	alive(m)
	encrypted(m)
}
