//go:build lab

package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// programsVariable has the folder of the release's programs. It is set in the guest only.
const programsVariable = "CYGNET_TEST_PROGRAMS"

// Routers of the release before and of this version are in one network: two spokes of this version
// and one of the release, under a hub of the release, which is then upgraded. All spokes register
// with the hub, old or new, and any two of them find a direct path, whichever asks. The upgrade of
// the hub loses nothing.
//
// The test needs no machine of its own: the network is in a guest that has the files of the host,
// where the release was built.
func TestReleasesTogether(t *testing.T) {
	if programs := os.Getenv(programsVariable); programs != "" {
		together(t, programs)
		return
	}
	project, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{T: t, project: project}
	programs := filepath.Join(buildRelease(m), "bin")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(project, "test/uml/run"), self,
		"-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=9m")
	cmd.Env = append(os.Environ(), "UML_TIME=600", programsVariable+"="+programs)
	out, err := cmd.CombinedOutput()
	t.Logf("in the guest:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// together is TestReleasesTogether in the guest.
func together(t *testing.T, programs string) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	m.Add(`idle_time = "4s"`)
	m.Hub.Programs, m.Spoke3.Programs = programs, programs
	m.Start()
	for _, s := range m.Sites()[1:] {
		join(m, s)
	}
	runsRelease(m, m.Hub, true)
	runsRelease(m, m.Spoke3, true)
	runsRelease(m, m.Spoke1, false)
	directly(m, m.Spoke1, m.Spoke2)
	directly(m, m.Spoke1, m.Spoke3)
	directly(m, m.Spoke3, m.Spoke2)

	flows := map[*lab.Site]*lab.Flow{}
	for _, s := range m.Sites()[1:] {
		flows[s] = s.Host.Flow(m.Hub.Host.Addr, beat)
		flows[s].Back(time.Now(), soon)
	}
	upgraded := time.Now()
	m.Hub.Daemon.Terminate()
	m.Hub.Programs = ""
	m.Hub.Daemon.Start()
	for s, f := range flows {
		join(m, s)
		f.Back(time.Now(), soon)
		if sent, lost, longest := f.Loss(upgraded); lost > 0 {
			t.Errorf("%s: the upgrade of the hub lost %d of %d packets, %v at a time", f.Name, lost,
				sent, longest)
		}
		f.Stop()
	}
	runsRelease(m, m.Hub, false)
	directly(m, m.Spoke2, m.Spoke3)
	directly(m, m.Spoke3, m.Spoke1)
	directly(m, m.Spoke2, m.Spoke1)
	if n := m.Underlay.Count(lab.OfKind(lab.GRE)); n != 0 {
		t.Errorf("%d GRE packets were on the underlay in clear", n)
	}
}

// beat is the time between two requests of a flow.
const beat = 50 * time.Millisecond

// runsRelease fails the test if the daemon of a site is not of the release, or is.
func runsRelease(m *lab.Mesh, s *lab.Site, want bool) {
	m.Helper()
	version := s.Cygnet("version")
	if strings.Contains(version, "cygnetd "+release+" ") != want {
		m.Errorf("%s runs the release: want %v, have\n%s", s.Name, want, version)
	}
}

// join awaits that a spoke is registered with the hub, and that their hosts reach each other.
func join(m *lab.Mesh, s *lab.Site) {
	m.Helper()
	m.Await(s.Name+" is registered", later, func() error {
		at, hub := m.Hub.Neighbors("gre1")[s.Overlay], s.Neighbors("gre1")[m.Hub.Overlay]
		if at != s.Public || hub != m.Hub.Public {
			return fmt.Errorf("the hub has it at %v, it has the hub at %v", at, hub)
		}
		return s.Host.Reaches(m.Hub.Host.Addr)
	})
}

// directly awaits that two spokes have no direct path, has the host of one talk to that of the
// other, and awaits that both spokes send directly.
func directly(m *lab.Mesh, s, peer *lab.Site) {
	m.Helper()
	ends := [][2]*lab.Site{{s, peer}, {peer, s}}
	for _, e := range ends {
		m.Await(fmt.Sprintf("no path from %s to %s", e[0].Name, e[1].Name), later, func() error {
			hop := e[0].NextHop(e[1].Host.Addr)
			return lab.True(hop == m.Hub.Overlay, "the next hop is %s", hop)
		})
	}
	f := s.Host.Flow(peer.Host.Addr, beat)
	begun := time.Now()
	for _, e := range ends {
		m.Await(fmt.Sprintf("a path from %s to %s", e[0].Name, e[1].Name), soon, func() error {
			hop, at := e[0].NextHop(e[1].Host.Addr), e[0].Neighbors("gre1")[e[1].Overlay]
			return lab.True(hop == e[1].Overlay && at == e[1].Public, "the next hop is %s, at %s",
				hop, at)
		})
	}
	f.Back(time.Now(), soon)
	sent, lost, _ := f.Loss(begun)
	m.Logf("%s to %s: direct, %d of %d packets lost", s.Name, peer.Name, lost, sent)
	f.Stop()
}
