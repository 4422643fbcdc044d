//go:build lab

package scenario

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/test/lab"
)

// charon, the daemon or both are absent. The kernel still stops what hosts and routers send into
// the tunnel.
func TestFailClosed(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	train := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 50*time.Millisecond)
	m.Hub.Host.Train(m.Spoke1.Host.Addr, 50*time.Millisecond)
	// The daemon removes its neighbours some time after the SA is gone. A neighbour that the
	// administrator added stays, so that the kernel always has packets to stop.
	unheardOf := netip.MustParseAddr("10.255.0.250")
	for at, to := range map[*lab.Site]*lab.Site{m.Hub: m.Spoke1, m.Spoke1: m.Hub} {
		at.IP("neigh replace " + unheardOf.String() + " lladdr " + to.Public.String() +
			" dev gre1 nud permanent")
		at.Train(unheardOf, 50*time.Millisecond)
	}

	// With SIGTERM charon removes its SAs and policies: only the guard is left.
	for _, s := range m.Sites() {
		s.Charon.Terminate()
	}
	blocked(m, "without charon")
	for _, s := range m.Sites() {
		s.Daemon.Kill()
	}
	blocked(m, "without charon and daemon")
	for _, s := range m.Sites() {
		s.Daemon.Start()
	}
	blocked(m, "with a daemon that finds no charon")
	train.Stop()
	encrypted(m)

	for _, s := range m.Sites() {
		s.Charon.Start()
	}
	registered(m, m.Spoke1, later)
	registered(m, m.Spoke2, later)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	encrypted(m)
}

// blocked awaits that the kernels of the hub and of spoke1 each stop some packets more, which
// proves that packets were sent.
func blocked(m *lab.Mesh, when string) {
	m.Helper()
	for _, s := range []*lab.Site{m.Hub, m.Spoke1} {
		before := s.XfrmStat("XfrmOutPolBlock")
		m.Await(s.Name+" stops packets "+when, soon, func() error {
			now := s.XfrmStat("XfrmOutPolBlock")
			return lab.True(now >= before+20, "the kernel stopped %d packets", now-before)
		})
	}
}

// An unauthenticated sender on the underlay sends GRE in clear. The hub's kernel drops all of it.
func TestUnauthenticatedSender(t *testing.T) {
	m := lab.NewMesh(t)
	sender := m.Router("sender", lab.Addr("192.0.2.66/24"))
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	inside := m.Hub.Capture("gre1")
	for range 10 {
		sender.SendGRE(m.Hub.Public, 42, 0x2001, []byte("not NHRP at all"))
		sender.SendGRE(m.Hub.Public, 42, 0x0800,
			[]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 172, 16, 1, 10, 172, 16, 0, 10})
	}
	m.Await("the hub's kernel drops what comes in clear", soon, func() error {
		c, err := clearGRE(m.Hub)
		if err != nil {
			return err
		}
		return lab.True(c.StoppedIn == 20 && len(c.Leaks) == 0,
			"it dropped %d packets, and tells of %v", c.StoppedIn, c.Leaks)
	})
	if n := inside.Count(func(p lab.Packet) bool { return p.Link == sender.NBMA }); n != 0 {
		t.Errorf("%d of the unauthenticated sender's packets came into the tunnel", n)
	}
	alive(m)
}

// Without IPsec anybody can send anything to the hub. The hub drops what is not NHRP, and counts
// it.
func TestMalformedPacketsAreCounted(t *testing.T) {
	m := lab.NewMesh(t)
	m.Unprotect()
	sender := m.Router("sender", lab.Addr("192.0.2.66/24"))
	m.Start()
	registered(m, m.Spoke1, soon)
	// The kernel itself drops a packet with less than four bytes of payload.
	for size := 4; size < 104; size++ {
		junk := make([]byte, size)
		for i := range junk {
			junk[i] = byte(i * size)
		}
		sender.SendGRE(m.Hub.Public, 42, 0x2001, junk)
	}
	m.Await("the hub counts the drops", soon, func() error {
		st, err := status(m.Hub)
		if err != nil {
			return err
		}
		var dropped uint64
		for _, n := range st.Counters.Dropped {
			dropped += n
		}
		return lab.True(dropped >= 100, "dropped: %v", st.Counters.Dropped)
	})
	registered(m, m.Spoke2, soon)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	alive(m)
}
