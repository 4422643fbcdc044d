//go:build lab

package scenario

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// ownProtocol is the protocol number on the daemon's own neighbours and routes in the kernel.
const ownProtocol = "84"

// cygnetd ends and comes back, on a spoke, on the hub or everywhere, by SIGKILL or SIGTERM. The
// traffic loses nothing. What an earlier daemon left in the kernel goes when peers have had time to
// come back, and nothing else goes.
func TestFaultDaemonEnds(t *testing.T) {
	f := newFaultyMesh(t, nil)
	start := time.Now()
	ends := []struct {
		name string
		end  func(*lab.Cygnetd)
	}{
		{"SIGKILL", func(d *lab.Cygnetd) { d.Kill() }},
		{"SIGTERM", func(d *lab.Cygnetd) { d.Terminate() }},
	}
	for _, e := range ends {
		for _, sites := range [][]*lab.Site{{f.Spoke1}, {f.Hub}, f.Sites()} {
			t.Logf("%s of cygnetd on %d sites, the first %s", e.name, len(sites), sites[0].Name)
			for _, s := range sites {
				e.end(s.Daemon)
			}
			for _, s := range sites {
				s.Daemon.Start()
			}
			f.settle(time.Now())
		}
	}
	f.killedWithNewClient()

	t.Log("what an earlier daemon left in the kernel goes when peers had time to come back, and nothing else")
	for _, s := range f.Sites() {
		s.Run("ip", "neigh", "add", "10.255.0.99", "lladdr", "192.0.2.99", "dev", "gre1", "nud",
			"permanent", "protocol", ownProtocol)
		s.Daemon.Kill()
		s.Daemon.Start()
	}
	f.settle(time.Now())
	f.lossless(f.hub, start)
	f.lossless(f.direct, start)
	f.end()
}

// killedWithNewClient has spoke3 register anew and kills the hub's daemon as soon as the
// registration is saved. The daemon saves it at once, even right after it saved another change. The
// next daemon knows the client, and no packet is lost.
func (f *faultyMesh) killedWithNewClient() {
	f.Helper()
	const spoke3 = `"10.255.0.13"`
	f.closed()
	f.Spoke3.Cygnet("leave")
	f.Await("the hub has forgotten spoke3", soon, func() error {
		return lab.True(saved(f.Hub, spoke3) != nil, "it is in the saved state")
	})
	f.Spoke3.Daemon.Signal(syscall.SIGHUP)
	f.Await("spoke3 has its tunnel again", soon, func() error {
		return lab.True(f.Spoke3.IsUp("gre1"), "gre1 is not up")
	})
	f.inside[f.Spoke3] = f.Spoke3.CaptureFrom("gre1", forged)
	f.Spoke3.SetRoutes()
	f.Await("spoke3 is at the hub", soon, func() error {
		return lab.True(f.Hub.Neighbors("gre1")[f.Spoke3.Overlay] == f.Spoke3.Public, "it is not")
	})
	f.prompt("the hub has saved it", time.Second, func() error {
		return saved(f.Hub, spoke3)
	})
	f.bystander.Back(time.Now(), soon)
	killed := time.Now()
	f.Hub.Daemon.Kill()
	f.Hub.Daemon.Start()
	if st, err := status(f.Hub); err != nil ||
		!slices.ContainsFunc(st.Bindings(), bindingOf(f.Spoke3)) {
		f.Errorf("after the restart the hub lists %+v (%v)", st.Bindings(), err)
	}
	f.settle(killed)
	f.lossless(f.bystander, killed)
}

// bindingOf returns a function that reports whether a binding is a site's.
func bindingOf(s *lab.Site) func(api.Binding) bool {
	return func(b api.Binding) bool { return b.Protocol == s.Overlay && b.NBMA == s.Public }
}

// cygnetd and charon end together and come back, as in a restart of all services. Traffic passes
// again within 3 s, and where they end on a spoke, another spoke loses nothing.
func TestFaultDaemonAndCharonEnd(t *testing.T) {
	f := newFaultyMesh(t, nil)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for _, s := range []*lab.Site{f.Spoke1, f.Hub} {
			t.Logf("%v of cygnetd and charon on %s", sig, s.Name)
			begin := time.Now()
			for _, p := range []*lab.Process{s.Daemon.Process, s.Charon.Process} {
				p.Signal(sig)
			}
			for _, p := range []*lab.Process{s.Daemon.Process, s.Charon.Process} {
				p.Wait(20 * time.Second)
			}
			s.Charon.Start()
			s.Daemon.Start()
			returned := time.Now()
			for _, flow := range f.flows() {
				f.outage(flow, returned, 3*time.Second)
			}
			if s == f.Spoke1 {
				f.lossless(f.bystander, begin)
			}
			f.settle(returned)
		}
	}
	f.end()
}
