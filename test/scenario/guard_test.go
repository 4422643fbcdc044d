//go:build lab

package scenario

import (
	"os"
	"testing"
	"time"

	"cygnet/test/lab"
)

// runGuard does what cygnet-guard.service does at boot. It is told the exit code that is to be expected.
func runGuard(t *testing.T, s *lab.Site, code int) string {
	t.Helper()
	guard := s.Guard()
	if got := guard.Wait(soon); got != code {
		t.Errorf("cygnetd -guard ends with %d, not %d:\n%s", got, code, guard.Output())
	}
	return guard.Output()
}

// adopted brings up a tunnel as another program does at boot: with all that it needs to send in clear to the hub.
func adopted(s *lab.Site, hub *lab.Site) {
	s.IP("link add gre1 type gre local "+s.NBMA.String()+" key 42 ttl 64",
		"addr add "+s.Overlay.String()+"/24 dev gre1",
		"link set gre1 arp on up",
		"neigh add "+hub.Overlay.String()+" lladdr "+hub.NBMA.String()+" dev gre1 nud permanent",
		"route add 172.16.0.0/24 via "+hub.Overlay.String()+" dev gre1 onlink")
}

// A tunnel that is up before the daemon, with hosts that send into it: after the guard's unit has run, whatever is wrong with the rest of
// the configuration, nothing leaves or is taken in clear, before the daemon, with it and after it.
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

	// The key is not there yet: the daemon would not start.
	runGuard(t, s, 1)
	guarded := time.Now()
	m.Await("the kernel stops what hosts send", soon, func() error {
		n := s.XfrmStat("XfrmOutPolBlock")
		return lab.True(n > 20, "it stopped %d packets", n)
	})
	m.Hub.SendGRE(s.NBMA, 42, 0x0800, []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 172, 16, 0, 10, 172, 16, 1, 10})
	m.Await("the kernel drops what a stranger sends", soon, func() error {
		return lab.True(s.XfrmStat("XfrmInPolBlock") == 1, "it dropped %d packets", s.XfrmStat("XfrmInPolBlock"))
	})

	m.Hub.Start()
	s.Start()
	registered(m, s, soon)
	m.Await("hosts reach the hub's LAN", soon, func() error { return s.Host.Reaches(m.Hub.Host.Addr) })
	s.Charon.Terminate()
	s.Daemon.Terminate()
	before := s.XfrmStat("XfrmOutPolBlock")
	m.Await("the guard holds without the daemon", soon, func() error {
		n := s.XfrmStat("XfrmOutPolBlock")
		return lab.True(n > before+20, "the kernel stopped %d packets", n-before)
	})
	train.Stop()
	if n := m.Underlay.Count(clear, lab.Since(guarded), by(s)); n != 0 {
		t.Errorf("%d GRE packets left in clear after the guard", n)
	}
}

// An underlay without an address yet: the guard is for the one of the last run, so that a tunnel that comes up with it is guarded.
func TestGuardKnowsTheLastAddress(t *testing.T) {
	m := lab.NewMesh(t)
	m.Unprotect() // charon plays no part
	s := m.Spoke1
	s.IPsec = []string{`identity = "spoke1.example.net"`, `psk_file = "/etc/cygnet/gre1.psk"`}
	s.Interface = s.Interface[:len(s.Interface)-1]
	s.StartDaemon()
	m.Await("the address is saved", soon, func() error {
		state, err := os.ReadFile(s.Path("/var/lib/cygnet/state.json"))
		return lab.True(contains(string(state), s.NBMA.String()), "%v: %s", err, state)
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
