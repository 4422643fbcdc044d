//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// Somebody deletes the tunnel, or empties the tables of neighbours and routes, on a spoke and on
// the hub. The daemon restores all of it at once.
func TestFaultTablesEmptied(t *testing.T) {
	f := newFaultyMesh(t, nil)
	start := time.Now()
	for _, s := range []*lab.Site{f.Spoke1, f.Hub} {
		t.Logf("the neighbours and the routes of the daemon's are flushed on %s", s.Name)
		flushed := time.Now()
		s.Run("ip", "neigh", "flush", "dev", "gre1", "nud", "all")
		s.Run("ip", "neigh", "flush", "dev", "gre1", "nud", "permanent")
		s.Run("ip", "route", "flush", "dev", "gre1", "proto", ownProtocol)
		for _, flow := range f.flows() {
			f.outage(flow, flushed, 2*time.Second)
		}
		f.settle(flushed)

		t.Logf("the tunnel of %s is deleted", s.Name)
		f.closed()
		index := f.tunnelIndex(s)
		deleted := time.Now()
		s.IP("link del gre1")
		f.Await("the tunnel is back", soon, func() error {
			return lab.True(s.HasDevice("gre1") && f.tunnelIndex(s) != index, "it is not")
		})
		f.Await("the tunnel is up", soon, func() error {
			_, err := s.Try("ip", "route", "get", "10.255.0.99", "oif", "gre1")
			return err
		})
		f.inside[s] = s.CaptureFrom("gre1", forged)
		t.Logf("it is up again after %s", time.Since(deleted).Round(time.Millisecond))
		s.SetRoutes() // the administrator's routes went with the tunnel
		restored := time.Now()
		for _, flow := range f.flows() {
			f.outage(flow, restored, 2*time.Second)
		}
		f.settle(restored)
		if s == f.Spoke1 {
			f.lossless(f.bystander, start)
		}
	}
	f.end()
}

// outage awaits that a flow passes, and fails the test if nothing passed for longer than promised
// at any time after since.
func (f *faultyMesh) outage(flow *lab.Flow, since time.Time, promised time.Duration) {
	f.Helper()
	flow.Back(time.Now(), later)
	sent, lost, longest := flow.Loss(since)
	f.Logf("%s: %d of %d packets lost, longest outage %s", flow.Name, lost, sent,
		longest.Round(time.Millisecond))
	if longest > promised {
		f.Errorf("%s: nothing passed for %s; promised are %s", flow.Name,
			longest.Round(time.Millisecond), promised)
	}
}

// tunnelIndex returns the interface index of a site's tunnel, which tells a new gre1 from the old
// one. It returns 0 if the site has no tunnel.
func (f *faultyMesh) tunnelIndex(s *lab.Site) int {
	var links []struct {
		Index int `json:"ifindex"`
	}
	if !s.HasDevice("gre1") {
		return 0
	}
	s.RunJSON(&links, "ip", "-j", "link", "show", "dev", "gre1")
	return links[0].Index
}

// The clock is set forward by an hour, which is twice the longest time that anything here is held,
// and back again. Nothing ends before its time. A daemon that is killed in between corrects the
// times in its saved state by as much as the clock was set.
func TestFaultClock(t *testing.T) {
	f := newFaultyMesh(t, nil)
	start := time.Now()
	for _, step := range []string{"+1 hour", "-1 hour"} {
		t.Logf("the clock is set to %s", step)
		f.Hub.Run("date", "-s", step)
		f.settle(time.Now())
		killed := time.Now()
		for _, s := range []*lab.Site{f.Hub, f.Spoke1} {
			s.Daemon.Kill()
			s.Daemon.Start()
		}
		f.Await("the hub knows its clients", soon, func() error {
			st, err := status(f.Hub)
			if err != nil {
				return err
			}
			for _, s := range f.Sites()[1:] {
				if !slices.ContainsFunc(st.Bindings(), bindingOf(s)) {
					return fmt.Errorf("its bindings are %+v", st.Bindings())
				}
			}
			return nil
		})
		f.settle(killed)
	}
	for _, flow := range f.flows() {
		f.lossless(flow, start)
	}
	f.end()
}
