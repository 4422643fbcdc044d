//go:build lab

package scenario

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"cygnet/test/lab"
)

const routingPage = "../../doc/routing.md"

// bfdProfile returns the profile of BFD that doc/routing.md shows, five times as slow: a guest may
// stand still for longer than that profile allows.
func bfdProfile(t *testing.T) string {
	t.Helper()
	return slow(lab.Snippet(t, routingPage, "bfd"))
}

// bfdSession is a session of BFD as FRR's bfdd shows it.
type bfdSession struct {
	Peer   string
	Status string
	Downs  *int `json:"session-down"` // only in the list of counters
}

// bfdSessions returns the sessions of a site, as one of bfdd's lists shows them.
func bfdSessions(s *lab.Site, list string) ([]bfdSession, error) {
	out, err := s.Try("vtysh", "-c", "show bfd "+list+" json")
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var sessions []bfdSession
	if err := json.Unmarshal([]byte(out), &sessions); err != nil {
		return nil, fmt.Errorf("bfdd's answer on %s: %w\n%s", s.Name, err, out)
	}
	return sessions, nil
}

// awaitBFD awaits that sites have this many sessions, and that all are up.
func awaitBFD(m *lab.Mesh, want map[*lab.Site]int) {
	m.Helper()
	for s, count := range want {
		m.Await("BFD is up on "+s.Name, later, func() error {
			sessions, err := bfdSessions(s, "peers")
			if err != nil {
				return err
			}
			up := 0
			for _, x := range sessions {
				if x.Status == "up" {
					up++
				}
			}
			return lab.True(up == count && len(sessions) == count, "sessions %+v, want %d that are up",
				sessions, count)
		})
	}
}

// bfdStaysUp proves that sites have this many sessions, which are up and never were down since they
// came up.
func bfdStaysUp(m *lab.Mesh, want map[*lab.Site]int) {
	m.Helper()
	awaitBFD(m, want)
	for s := range want {
		sessions, err := bfdSessions(s, "peers counters")
		if err != nil {
			m.Fatalf("%v", err)
		}
		for _, x := range sessions {
			switch {
			case x.Downs == nil:
				m.Errorf("bfdd on %s does not tell how often the session with %s was down",
					s.Name, x.Peer)
			case *x.Downs > 0:
				m.Errorf("on %s the session with %s was down %d times", s.Name, x.Peer, *x.Downs)
			}
		}
	}
}

// bfdBetweenSites starts BFD between the LANs of the spokes, as doc/routing.md shows it. The
// sessions stay up while the shortcut beneath them comes and goes, and those with the hub never
// went down.
func bfdBetweenSites(t *testing.T, m *lab.Mesh) {
	t.Helper()
	one, two := m.Spoke1, m.Spoke2
	config := "bfd\n" +
		lab.Snippet(t, routingPage, "peer 172.16.2.1 multihop local-address 172.16.1.1") + "exit\n"
	for s, text := range map[*lab.Site]string{
		one: config,
		two: replace(config, "172.16.2.1", "172.16.1.1", "172.16.1.1", "172.16.2.1"),
	} {
		s.WriteFile("/etc/cygnet/bfd.conf", 0o644, text)
		s.Run("vtysh", "-f", "/etc/cygnet/bfd.conf")
	}
	sessions := map[*lab.Site]int{m.Hub: 2, one: 2, two: 2}
	awaitBFD(m, sessions)
	flow := one.Host.Flow(two.Host.Addr, 20*time.Millisecond)
	for _, next := range []struct{ route, shortcut string }{
		{"172.16.2.32/27", "172.16.2.0/27"},
		{"172.16.2.16/28", "172.16.2.0/28"},
		{"172.16.2.8/29", "172.16.2.0/29"},
	} {
		// Spoke2 takes its answer back, and the next one is for less.
		two.IP("route add " + next.route + " via " + m.Hub.Overlay.String() + " dev gre1 onlink")
		m.Await("a shortcut to "+next.shortcut, soon, func() error {
			return reportsShortcut(one, next.shortcut, "whole")
		})
	}
	flow.Stop()
	bfdStaysUp(m, sessions)
}
