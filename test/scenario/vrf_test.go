//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// daemonRoutes lists the daemon's routes in a table of a site's kernel.
func daemonRoutes(s *lab.Site, table string) []string {
	out := s.Run("ip", "route", "show", "table", table, "proto", "84")
	out += s.Run("ip", "-6", "route", "show", "table", table, "proto", "84")
	return slices.Collect(strings.Lines(out))
}

// inVRF awaits that a site's tunnel is in a VRF, and that its routes of shortcuts are in the VRF's
// table and nowhere else.
func inVRF(m *lab.Mesh, s *lab.Site, vrf, table string) {
	m.Helper()
	m.Await(s.Name+" has its tunnel and its routes in "+vrf, soon, func() error {
		link := s.Run("ip", "link", "show", "gre1")
		main, own := daemonRoutes(s, "main"), daemonRoutes(s, table)
		return lab.True(strings.Contains(link, "master "+vrf+" ") && len(main) == 0 && len(own) > 0,
			"%s\nmain has %q, table %s has %q", link, main, table, own)
	})
}

// The overlay and the LANs are in a VRF, the underlay is not. Spokes register, the hub's indication
// leads to a shortcut in the VRF's table, and source_check takes what comes by it: the programs of
// the data path look into the VRF. A restart of the daemon loses nothing. A tunnel that somebody
// takes out of its VRF comes back into it with all that it had. The spoke explains a way through
// the VRF, also without the daemon.
func TestOverlayInVRF(t *testing.T) {
	m := lab.NewMesh(t)
	m.UseVRF("blue", 10)
	m.Add("source_check = true")
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	inVRF(m, m.Spoke1, "blue", "10")
	inVRF(m, m.Spoke2, "blue", "10")
	atHub, atSpoke2 := m.Hub.Capture("gre1"), m.Spoke2.Capture("gre1")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	to := passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr)
	if straight, hub := atSpoke2.Count(to), atHub.Count(to); straight != 10 || hub != 0 {
		t.Errorf("of 10 packets %d came to spoke2, %d to the hub", straight, hub)
	}

	train := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 20*time.Millisecond)
	for _, s := range m.Sites() {
		s.Daemon.Terminate()
		s.Daemon.Start()
	}
	registered(m, m.Spoke1, soon)
	if sent, lost := train.Stop(); lost > 0 || sent == 0 {
		t.Errorf("a restart of all daemons lost %d of %d packets", lost, sent)
	}
	withoutProblems(m, "blue")

	m.Spoke1.IP("link set gre1 nomaster")
	m.Await("the tunnel is back in its VRF", soon, func() error {
		return lab.True(strings.Contains(m.Spoke1.Run("ip", "link", "show", "gre1"),
			"master blue "), "it is not")
	})
	m.Spoke1.SetRoutes() // the kernel removed them with the tunnel's own
	registered(m, m.Spoke1, soon)
	shortcut(m)
	inVRF(m, m.Spoke1, "blue", "10")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	m.Spoke1.Ping(m.Hub.Overlay, 3)

	route := "172.16.0.0/16 via 10.255.0.1 on gre1 (table 10,"
	evidence(m, m.Spoke1, m.Hub.Host.Addr, m.Hub, route)
	m.Spoke1.Daemon.Kill()
	evidence(m, m.Spoke1, m.Hub.Host.Addr, m.Hub, route)
	m.Spoke1.Daemon.Start()
	registered(m, m.Spoke1, soon)
	encrypted(m)
	alive(m)
}

// withoutProblems awaits that all daemons have their first tunnel in a VRF, and no problems.
func withoutProblems(m *lab.Mesh, vrf string) {
	m.Helper()
	for _, s := range m.Sites() {
		m.Await("the status of "+s.Name+" has no problems", later, func() error {
			st, err := status(s)
			if err != nil {
				return err
			}
			return lab.True(st.Interfaces[0].VRF == vrf && len(st.Problems) == 0,
				"in VRF %q, problems %+v", st.Interfaces[0].VRF, st.Problems)
		})
	}
}

// The VRF comes only after the daemon, as at boot. The daemon waits for it, its status names it,
// and no tunnel is up outside of it. When the VRF is removed the tunnel is down, and when it comes
// back, with another table, so does all that the router had.
func TestVRFComesAndGoes(t *testing.T) {
	m := lab.NewMesh(t)
	m.UseVRF("blue", 10)
	m.Hub.Start()
	s := m.Spoke1
	s.IP("link del blue")
	s.UseRoutes()
	s.Start()
	waits := func() {
		t.Helper()
		m.Await("the daemon waits for the VRF, and says so", soon, func() error {
			st, err := status(s)
			if err != nil {
				return err
			}
			i := st.Interfaces[0]
			return lab.True(!i.Up && strings.Contains(i.Error, "there is no such VRF") &&
				!strings.Contains(s.Run("ip", "-o", "link"), "gre1@NONE: <NOARP,UP"), "%+v", i)
		})
	}
	waits()
	for _, table := range []int{10, 1011} {
		s.MakeVRF("blue", table)
		s.IP("link set lan0 master blue")
		s.LookInto("blue", table)
		registered(m, s, later)
		s.IP("route replace 172.16.0.0/16 via 10.255.0.1 dev gre1 onlink vrf blue")
		m.Await("the LANs reach each other", soon, func() error {
			return s.Host.Reaches(m.Hub.Host.Addr)
		})
		if table == 10 {
			s.IP("link del blue")
			waits()
		}
	}
	fmt.Fprint(t.Output(), s.Cygnet("status"))
	encrypted(m)
	alive(m)
}
