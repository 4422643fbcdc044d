//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// The runbook's entries on a shortcut that does not come, on traffic that goes one way only, and on
// a path that flaps, are what an administrator sees and does.
func TestRunbookTraffic(t *testing.T) {
	m := lab.NewMesh(t)
	// A path is proven for a third of this time. A spoke that stands still meanwhile must not fail
	// the proof.
	m.Add(`path_timeout = "15s"`)
	m.Hub.Interface[3] = "redirect = false"
	m.Spoke2.Rules = []string{noDirect(m.Spoke1), everyone}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	dest := m.Spoke2.Host.Addr

	e := runbook(t, m, "A shortcut does not come")
	m.Spoke1.Host.Ping(dest, 2)
	e.follow("spoke1# cygnet explain 172.16.2.10")
	e.follow("hub# cygnet explain 172.16.2.10 from 172.16.1.10")
	m.Hub.Interface[3] = "redirect = true"
	rewrite(m.Hub)
	e.follow("hub# cygnet reload")
	registered(m, m.Spoke1, later)
	registered(m, m.Spoke2, later)
	m.Await("spoke1 asks for spoke2's network", later, func() error {
		nudge(m.Spoke1, dest)
		x, err := account(m.Spoke1, dest, nobody)
		return lab.True(err == nil && x.Verdict.Reason == api.ReasonRefused, "%+v, %v",
			x.Verdict, err)
	})
	e.follow("spoke1# cygnet explain 172.16.2.10")
	e.follow("spoke2# cygnet explain 172.16.1.10")
	m.Spoke2.Rules = []string{everyone}
	rewrite(m.Spoke2)
	e.follow("spoke2# cygnet reload")
	e.follow("spoke1# cygnet resolve 172.16.2.10")
	e.follow("spoke1# cygnet shortcuts")
	e.end()

	e = runbook(t, m, "Traffic is one-way")
	traffic := m.Spoke1.Host.Train(dest, 200*time.Millisecond)
	drop := []string{"INPUT", "-s", m.Spoke1.Public.String(), "-p", "esp", "-j", "DROP"}
	m.Spoke2.Iptables(append([]string{"-A"}, drop...)...)
	e.follow("spoke1# cygnet status")
	m.Spoke2.Iptables(append([]string{"-D"}, drop...)...)
	m.Await("the direct path is back", later, func() error { return up(m.Spoke1, m.Spoke2) })
	e.follow("spoke1# cygnet shortcuts")
	m.Spoke2.IP("route del 172.16.0.0/16")
	e.follow("spoke1# cygnet explain 172.16.2.10")
	e.follow("spoke2# cygnet explain 172.16.1.10")
	m.Spoke2.SetRoutes()
	m.Await("the answers come", soon, func() error { return m.Spoke1.Host.Reaches(dest) })
	// The first answers take the hub. The traffic goes on until they come directly.
	e.shows(false, m.Spoke1, "explain 172.16.2.10", "none came back")
	traffic.Stop()
	e.end()

	e = runbook(t, m, "A path flaps")
	e.follow("spoke1# cygnet events")
	for n := 1; n <= 2; n++ {
		for _, sa := range m.Hub.Charon.With(m.Spoke2.Public) {
			// One that is gone meanwhile cannot be ended, and need not be.
			_, _ = m.Hub.Try("swanctl", "--terminate", "--ike-id", sa.ID)
		}
		m.Await("the hub has lost spoke2 again", later, func() error {
			flaps, err := flapsOf(m.Hub, m.Spoke2)
			return lab.True(err == nil && flaps >= n, "%d times, %v", flaps, err)
		})
		registered(m, m.Spoke2, later)
	}
	e.follow("hub# cygnet status")
	e.follow("hub# cygnet peers --history")
	e.end()
	encrypted(m)
}
