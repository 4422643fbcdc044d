//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/test/lab"
)

// runGuard does what cygnet-guard.service does at boot, and returns what it printed. It fails the
// test unless cygnetd -guard ends with the exit code that is expected.
func runGuard(t *testing.T, s *lab.Site, code int) string {
	t.Helper()
	guard := s.Guard()
	if got := guard.Wait(soon); got != code {
		t.Errorf("cygnetd -guard ends with %d, not %d:\n%s", got, code, guard.Output())
	}
	return guard.Output()
}

// adopted sets up a tunnel as another program does at boot, with everything that it needs to send
// to the hub in clear.
func adopted(s *lab.Site, hub *lab.Site) {
	s.IP("link add gre1 type gre local "+s.NBMA.String()+" key 42 ttl 64",
		"addr add "+s.Overlay.String()+"/24 dev gre1",
		"link set gre1 arp on up",
		"neigh add "+hub.Overlay.String()+" lladdr "+hub.NBMA.String()+" dev gre1 nud permanent",
		"route add 172.16.0.0/24 via "+hub.Overlay.String()+" dev gre1 onlink")
}

// A tunnel is up before the daemon, and hosts send into it. Once the guard's unit has run, nothing
// leaves or is accepted in clear: before the daemon starts, while it runs, and after it. That holds
// whatever is wrong with the rest of the configuration.
func TestGuardBeforeTheDaemon(t *testing.T) {
	m := lab.NewMesh(t)
	s := m.Spoke1
	s.Interface[1] = `underlay = "192.0.2.11"`
	s.WriteFile(lab.CygnetConfig, 0o640, s.Config())
	adopted(s, m.Hub)
	train := s.Host.Train(m.Hub.Host.Addr, 20*time.Millisecond)
	clear := lab.OfKind(lab.GRE)
	m.Await("the tunnel sends in clear", soon, func() error {
		n := m.Underlay.Count(clear)
		return lab.True(n > 0, "%d packets", n)
	})

	// The key is not there yet, so the daemon would not start.
	runGuard(t, s, 1)
	guarded := time.Now()
	if n := len(s.Guards()); n != 6 {
		t.Errorf("the unit sets %d policies that block GRE: want the guard and the four of the front guard",
			n)
	}
	m.Await("the kernel stops what hosts send", soon, func() error {
		n := s.XfrmStat("XfrmOutPolBlock")
		return lab.True(n > 20, "it stopped %d packets", n)
	})
	m.Hub.SendGRE(s.NBMA, 42, 0x0800,
		[]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 172, 16, 0, 10, 172, 16, 1, 10})
	m.Await("the kernel drops what comes in clear", soon, func() error {
		return lab.True(s.XfrmStat("XfrmInPolBlock") == 1, "it dropped %d packets",
			s.XfrmStat("XfrmInPolBlock"))
	})

	m.Hub.Start()
	s.Start()
	registered(m, s, soon)
	m.Await("hosts reach the hub's LAN", soon, func() error {
		return s.Host.Reaches(m.Hub.Host.Addr)
	})
	// The daemon ends first. It would remove the neighbour of a hub whose SA is gone for 5 s, and
	// the kernel would have nothing to stop.
	s.Daemon.Terminate()
	s.Charon.Terminate()
	before := s.XfrmStat("XfrmOutPolBlock")
	m.Await("the guard holds without the daemon", soon, func() error {
		n := s.XfrmStat("XfrmOutPolBlock")
		return lab.True(n > before+20, "the kernel stopped %d packets", n-before)
	})
	train.Stop()
	if n := m.Underlay.Count(clear, lab.Since(guarded), lab.From(s.Public)); n != 0 {
		t.Errorf("%d GRE packets left in clear after the guard", n)
	}
}

// The underlay has no address yet. The guard is set for the address of the last run, so that a
// tunnel that comes up with that address is guarded.
func TestGuardKnowsTheLastAddress(t *testing.T) {
	m := lab.NewMesh(t)
	m.Unprotect() // charon plays no part
	s := m.Spoke1
	s.IPsec = []string{`identity = "spoke1.example.net"`, `psk_file = "/etc/cygnet/gre1.psk"`}
	s.Interface = s.Interface[:len(s.Interface)-1]
	s.StartDaemon()
	m.Await("the address is saved", soon, func() error {
		return saved(s, s.NBMA.String())
	})
	s.Daemon.Kill()

	// A boot: nothing of the kernel's state is left.
	s.IP("link del gre1", "addr flush dev eth0")
	s.RemoveGuards()
	if out := runGuard(t, s, 0); !contains(out, "gre1: no clear GRE from or to "+s.NBMA.String()) {
		t.Errorf("it says %s", out)
	}
	s.IP("addr add " + s.NBMA.String() + "/24 dev eth0")
	adopted(s, m.Hub)
	begun := time.Now()
	s.Host.Train(m.Hub.Host.Addr, 20*time.Millisecond)
	m.Await("the kernel stops what hosts send", soon, func() error {
		n := s.XfrmStat("XfrmOutPolBlock")
		return lab.True(n > 20, "it stopped %d packets", n)
	})
	if n := m.Underlay.Count(lab.OfKind(lab.GRE), lab.Since(begun)); n != 0 {
		t.Errorf("%d GRE packets in clear", n)
	}
}

// A router is upgraded from a version whose SAs had charon's own priority. These SAs go on working,
// and the guard moves in front of other policies once the last of these SAs has been replaced. In
// between no packet is lost or leaves in clear. An SA that has charon's own priority again is not
// cut off either, and neither are the SAs of the older version when that is started again.
func TestGuardAcrossVersions(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`child = { priority = "366975" }`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	for _, s := range m.Sites() {
		if n := len(s.Guards()); n != 2 {
			t.Errorf("the guard of %s consists of %d policies", s.Name, n)
		}
	}
	flows := []*lab.Flow{m.Hub.Host.Flow(m.Spoke1.Host.Addr, 20*time.Millisecond),
		m.Hub.Host.Flow(m.Spoke2.Host.Addr, 20*time.Millisecond)}
	begun := time.Now()
	for _, s := range m.Sites() {
		s.IPsec = s.IPsec[:len(s.IPsec)-1]
		s.WriteFile(lab.CygnetConfig, 0o640, s.Config())
		s.Daemon.Terminate()
		s.Daemon.Start()
	}
	registered(m, m.Spoke1, soon)
	for _, s := range m.Sites() {
		if n := len(s.Guards()); n != 2 {
			t.Errorf("with SAs of the older version the guard of %s consists of %d policies",
				s.Name, n)
		}
	}
	for _, f := range flows {
		if sent, lost, _ := f.Loss(begun); sent == 0 || lost > 0 {
			t.Errorf("%s: %d of %d packets were lost by the upgrade", f.Name, lost, sent)
		}
		f.Stop()
	}
	inFront := func(s *lab.Site, want bool) func() error {
		return func() error {
			n := len(s.Guards())
			return lab.True(n == 6 && want || n == 2 && !want, "the guard consists of %d policies",
				n)
		}
	}
	for i, spoke := range []*lab.Site{m.Spoke1, m.Spoke2} {
		spoke.Run("swanctl", "--terminate", "--ike", "cygnet-gre1-"+m.Hub.Public.String())
		registered(m, spoke, later)
		m.Await("the guard of "+spoke.Name+" is in front", soon, inFront(spoke, true))
		if i == 0 {
			if err := inFront(m.Hub, false)(); err != nil {
				t.Errorf("with one SA of the older version left: %v", err)
			}
		}
	}
	m.Await("the guard of the hub is in front", soon, inFront(m.Hub, true))
	for _, spoke := range []*lab.Site{m.Spoke1, m.Spoke2} {
		m.Hub.Host.Ping(spoke.Host.Addr, 3)
	}

	// The policy of an SA has charon's own priority, as that of another connection may have.
	const other = "dir out src 192.0.2.1 dst 192.0.2.99 proto gre"
	m.Hub.IP("xfrm policy add " + other + " priority 366975 tmpl proto esp mode transport reqid 99")
	m.Await("the guard of the hub steps back", soon, inFront(m.Hub, false))
	m.Hub.IP("xfrm policy del " + other)
	m.Await("the guard of the hub is in front again", soon, inFront(m.Hub, true))
	m.Hub.Host.Ping(m.Spoke1.Host.Addr, 3)

	// A downgrade: the daemon stops, and the SAs of the older version have charon's own priority
	// again.
	m.Hub.Daemon.Terminate()
	if err := inFront(m.Hub, false)(); err != nil {
		t.Errorf("after the daemon's stop: %v", err)
	}
	m.Hub.IPsec = append(m.Hub.IPsec, `child = { priority = "366975" }`)
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	m.Hub.Daemon.Start()
	m.Spoke1.Run("swanctl", "--terminate", "--ike", "cygnet-gre1-"+m.Hub.Public.String())
	registered(m, m.Spoke1, later)
	m.Hub.Host.Ping(m.Spoke1.Host.Addr, 3)
	encrypted(m)
}
