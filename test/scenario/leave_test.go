//go:build lab

package scenario

import (
	"fmt"
	"syscall"
	"testing"

	"cygnet/test/lab"
)

// forsaken returns nil when a site has nothing of ours any more in its kernel and its charon. The
// tunnel has to remain if kept is set, and has to be gone if not.
func forsaken(s *lab.Site, kept bool) error {
	switch guards := s.Guards(); {
	case len(guards) > 0:
		return fmt.Errorf("%s has block policies for GRE: %v", s.Name, guards)
	case s.HasDevice("gre1") != kept:
		return fmt.Errorf("%s has gre1: %v", s.Name, !kept)
	case len(s.Charon.Connections()) > 0:
		return fmt.Errorf("charon on %s has %q", s.Name, s.Charon.Connections())
	case len(s.Charon.SAs()) > 0 || len(s.XfrmStates()) > 0:
		return fmt.Errorf("%s has SAs: %v, %v", s.Name, s.Charon.SAs(), s.XfrmStates())
	}
	for _, r := range s.Routes("172.16.0.0/12") {
		if r.Device == "gre1" && !kept {
			return fmt.Errorf("%s has the route %+v", s.Name, r)
		}
	}
	return nil
}

// The daemon is stopped, and then the package is removed. What the daemon left goes all the same:
// SAs, routes, the tunnel, and the guard last. While the daemon runs, nobody but the daemon says
// goodbye.
func TestLeaveStopped(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	if out, err := m.Spoke1.LeaveStopped(); err == nil || !contains(out, "the daemon runs") {
		t.Errorf("beside the daemon: %v: %s", err, out)
	}
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	m.Spoke1.Daemon.Terminate()
	if out, err := m.Spoke1.LeaveStopped(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.Await("nothing of ours is left on spoke1", soon, func() error {
		return forsaken(m.Spoke1, false)
	})
	m.Await("the others have nothing of spoke1", later, func() error {
		for _, s := range []*lab.Site{m.Hub, m.Spoke2} {
			if at, ok := s.Neighbors("gre1")[m.Spoke1.Overlay]; ok {
				return fmt.Errorf("%s has neighbour %s at %s", s.Name, m.Spoke1.Overlay, at)
			}
			if err := unsecured(s, m.Spoke1); err != nil {
				return err
			}
		}
		return nil
	})
	if out, err := m.Spoke1.LeaveStopped(); err != nil || out != "" {
		t.Errorf("with nothing left: %v: %s", err, out)
	}
	encrypted(m)
}

// An administrator takes IPsec out of the file, and reloads or restarts. The mesh then works in
// clear, and nothing is left that blocks it or that would come back. The hub is first: what a spoke
// registers with a hub that is about to leave the old network ends with that network, and without
// an SA nothing tells the spoke so.
func TestProtectionTakenAway(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	encrypted(m)
	m.Unprotect()
	m.Spoke2.Daemon.Terminate()
	for _, s := range m.Sites() {
		s.WriteFile(lab.CygnetConfig, 0o640, s.Config())
	}
	m.Hub.Daemon.Signal(syscall.SIGHUP)
	m.Await("no IPsec is left on the hub", soon, func() error { return forsaken(m.Hub, true) })
	m.Spoke1.Daemon.Signal(syscall.SIGHUP)
	m.Spoke2.Daemon.Start()
	for _, s := range m.Sites() {
		m.Await("no IPsec is left on "+s.Name, soon, func() error { return forsaken(s, true) })
	}
	m.Await("traffic passes in clear", later, func() error {
		return m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr)
	})
	if m.Underlay.Count(lab.OfKind(lab.GRE)) == 0 {
		t.Error("no clear GRE on the underlay: the capture proves nothing")
	}
	for _, s := range m.Sites() {
		if err := forsaken(s, true); err != nil {
			t.Errorf("once traffic passes: %v", err)
		}
	}
	alive(m)
}
