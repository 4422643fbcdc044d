//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/packet"
	"cygnet/test/lab"
)

// renumber replaces a spoke's underlay address, as DHCP or a new dial-in does: the old address goes
// and the new one comes.
func renumber(s *lab.Site, from, to string) {
	s.IP("addr del "+from+"/24 dev eth0", "addr add "+to+"/24 dev eth0")
	s.Public = addr(to)
}

// registersWithin is the longest time that a spoke may take to register again after its underlay
// address changed.
const registersWithin = 2 * time.Second

// A spoke whose underlay address changes registers from the new address within two seconds, under
// the same identity. The hub moves the spoke's binding. The traffic between the spokes goes through
// the hub until the shortcut is back. Nothing goes in clear, and nothing of the old address is
// left.
func TestAddressChange(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`dpd_delay = "3s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	old := m.Spoke1.Public

	atHub, still := m.Hub.Capture("gre1"), lab.NoteStandstills(t)
	renumber(m.Spoke1, "192.0.2.11", "192.0.2.111")
	begin := time.Now()
	registered(m, m.Spoke1, soon)
	again := still.Between(begin, accepted(m, atHub, m.Spoke1))
	t.Logf("registered again after %s", again.Round(time.Millisecond))
	if again > registersWithin {
		t.Errorf("registered again after %s; promised are %s", again.Round(time.Millisecond),
			registersWithin)
	}
	m.Await("spoke1 reaches the hub's LAN", soon, func() error {
		return m.Spoke1.Host.Reaches(m.Hub.Host.Addr)
	})
	m.Await("and spoke2's, which does not wait for its dead peer detection", 10*time.Second,
		func() error {
			return m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr)
		})
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
		if g.Src != nil && g.Src.IP.String() == old.String() ||
			g.Dst != nil && g.Dst.IP.String() == old.String() {
			t.Errorf("a guard of the old address is left: %v", g)
		}
	}
	alive(m)
	encrypted(m)
}

// accepted awaits that the hub has accepted a registration from the spoke's present underlay
// address, and returns the time at which the hub's answer left its tunnel. The hub's kernel may
// have the spoke's neighbour before that.
func accepted(m *lab.Mesh, atHub *lab.Capture, s *lab.Site) (at time.Time) {
	m.Helper()
	m.Await("the hub accepts a registration from "+s.Public.String(), soon, func() error {
		replies := atHub.NHRP(packet.RegistrationReply)
		i := slices.IndexFunc(replies, func(p lab.NHRP) bool {
			return p.Sent && p.SourceProtocol == s.Overlay && p.SourceNBMA == s.Public &&
				len(p.CIEs) > 0 && p.CIEs[0].Code == packet.CodeSuccess
		})
		if i < 0 {
			return fmt.Errorf("its replies are %+v", replies)
		}
		at = replies[i].At
		return nil
	})
	return at
}
