//go:build lab

package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// eventsOf returns what cygnet events lists on a site.
func eventsOf(s *lab.Site, args ...string) ([]api.Event, error) {
	out, err := s.TryCygnet(append([]string{"events", "--json"}, args...)...)
	if err != nil {
		return nil, err
	}
	return parseEvents(out)
}

// parseEvents reads events that are JSON objects, one a line.
func parseEvents(text string) (events []api.Event, err error) {
	for line := range strings.Lines(text) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("%q is no event: %w", line, err)
		}
		events = append(events, e)
	}
	return events, nil
}

// happened awaits that cygnet events on a site lists an event of a kind that concerns a peer, and
// returns the last one.
func happened(m *lab.Mesh, s, peer *lab.Site, kind api.EventKind) api.Event {
	m.Helper()
	var found api.Event
	what := fmt.Sprintf("%s has the event %s about %s", s.Name, kind, peer.Name)
	m.Await(what, later, func() error {
		events, err := eventsOf(s, "--peer", peer.Public.String())
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Event == kind {
				found = e
			}
		}
		return lab.True(found.Number > 0, "there are %+v", events)
	})
	return found
}

// flapsOf returns how often a site's status says that a peer lost its SA.
func flapsOf(s, peer *lab.Site) (int, error) {
	var peers []api.Peer
	if err := s.CygnetJSON(&peers, "peers"); err != nil {
		return 0, err
	}
	i := slices.IndexFunc(peers, func(p api.Peer) bool { return p.NBMA == peer.Public })
	if i < 0 {
		return 0, fmt.Errorf("there is no peer %s: %+v", peer.Public, peers)
	}
	return peers[i].Flaps, nil
}

// The daemon keeps what happened, with the reason, and lists it by peer: registrations, shortcuts,
// a peer that was lost, and how often that was. A reader goes on by number, and one that follows
// goes on over a restart of the daemon and is told of it.
func TestEvents(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)

	e := happened(m, m.Hub, m.Spoke1, api.EventClientRegistered)
	if e.Protocol != m.Spoke1.Overlay || e.NBMA != m.Spoke1.Public || e.Interface != "gre1" {
		t.Errorf("the hub has %+v of spoke1's registration", e)
	}
	if e := happened(m, m.Spoke1, m.Hub, api.EventRegistered); e.NextHop != m.Hub.Overlay {
		t.Errorf("spoke1 has %+v of its registration", e)
	}
	e = happened(m, m.Spoke1, m.Spoke2, api.EventShortcutUp)
	if e.NextHop != m.Spoke2.Overlay || !e.Prefix.Contains(m.Spoke2.Host.Addr) || e.Took <= 0 {
		t.Errorf("spoke1 has %+v of its shortcut", e)
	}

	last := happened(m, m.Hub, m.Spoke2, api.EventPeerSecured)
	follower := m.Hub.StartCygnet("events", "events", "-f", "--json", "--since",
		strconv.FormatUint(last.Number, 10))
	const flaps = 3
	for n := 1; n <= flaps; n++ {
		sas := m.Hub.Charon.With(m.Spoke2.Public)
		m.Hub.Run("swanctl", "--terminate", "--ike-id", sas[len(sas)-1].ID)
		m.Await("the hub has lost spoke2 again", later, func() error {
			events, err := eventsOf(m.Hub, "--peer", m.Spoke2.Public.String())
			got := 0
			for _, e := range events {
				if e.Event == api.EventPeerLost {
					got++
				}
			}
			return lab.True(err == nil && got >= n, "%d losses in %+v, %v", got, events, err)
		})
		registered(m, m.Spoke2, later)
	}
	if got, err := flapsOf(m.Hub, m.Spoke2); err != nil || got < flaps {
		t.Errorf("the hub counts %d flaps of spoke2, want %d: %v", got, flaps, err)
	}
	lost := happened(m, m.Hub, m.Spoke2, api.EventPeerLost)
	if lost.Reason == "" || lost.Level != api.EventWarning {
		t.Errorf("the hub has %+v of a loss", lost)
	}
	happened(m, m.Spoke2, m.Hub, api.EventHubLost)
	happened(m, m.Spoke2, m.Hub, api.EventHubBack)
	if out := m.Hub.Cygnet("status"); !contains(out, "flapping", "times in the last hour") {
		t.Errorf("the hub's status names no flapping peer:\n%s", out)
	}
	history := m.Hub.Cygnet("peers", "--history", m.Spoke2.Public.String())
	if !contains(history, "peer lost its SA", lost.Reason, m.Spoke2.Overlay.String()) ||
		contains(history, m.Spoke1.Overlay.String()) {
		t.Errorf("the history of spoke2 on the hub is\n%s", history)
	}
	happened(m, m.Hub, m.Spoke1, api.EventClientRegistered) // spoke2 has not pushed it out

	m.Hub.Cygnet("log", "debug", "--peer", lost.Identity, "--for", "10m")
	if out := m.Hub.Cygnet("status"); !contains(out, "the level debug for "+lost.Identity) {
		t.Errorf("the hub's status does not show the level of the log:\n%s", out)
	}
	m.Hub.Cygnet("log", "default")

	m.Hub.Daemon.Kill()
	m.Hub.Daemon.Start()
	m.Await("the follower knows of the restart and goes on", later, func() error {
		log, err := os.ReadFile(follower.Log)
		if err != nil {
			return err
		}
		events, err := parseEvents(string(log))
		if err != nil {
			return err
		}
		return inOrder(events, last.Number)
	})
	encrypted(m)
}

// inOrder returns nil if events have the numbers after a number one by one, then a gap, and then
// those from 1 on one by one, with the start of the daemon among them.
func inOrder(events []api.Event, after uint64) error {
	again, started := false, false
	for _, e := range events {
		switch {
		case e.Event == api.EventGap && !again && e.Number == 0:
			again, after = true, 0
			continue
		case e.Number != after+1:
			return fmt.Errorf("after %d came %+v", after, e)
		}
		after = e.Number
		started = started || again && e.Event == api.EventStarted
	}
	return lab.True(started, "there was no gap and no start in %+v", events)
}

// Programs of the administrator run when a shortcut comes, when the hub is lost and when it is
// back, with the event on their standard input. They run without capabilities.
func TestHooks(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.WriteFile("/etc/cygnet/hooks.d/note", 0o755,
		"#!/bin/sh\n{ grep CapEff /proc/self/status; cat; } >> /run/hooks.txt\n")
	unit := m.Spoke1.StartHooks("/run/position")
	m.Await("the hooks follow the events", soon, func() error {
		var st api.Status
		err := m.Spoke1.CygnetJSON(&st, "status")
		return lab.True(err == nil && st.Events.Readers == 1, "%+v, %v", st.Events, err)
	})
	shortcut(m)
	hooked(m, "shortcut-up", m.Spoke2)
	m.Hub.Charon.Terminate()
	hooked(m, "hub-lost", m.Hub)
	hooked(m, "peer-down", m.Hub)

	// A restart of the hooks goes on with what happened meanwhile.
	unit.Terminate()
	m.Hub.Charon.Start()
	registered(m, m.Spoke1, later)
	m.Spoke1.StartHooks("/run/position")
	hooked(m, "hub-back", m.Hub)
	encrypted(m)
}

// hooked awaits that a program of spoke1 got an event of a hook about a router, and had no
// capability.
func hooked(m *lab.Mesh, hook string, about *lab.Site) {
	m.Helper()
	m.Await("spoke1 runs the hook "+hook, later, func() error {
		text, err := os.ReadFile(m.Spoke1.Path("/run/hooks.txt"))
		if err != nil {
			return err
		}
		for input := range strings.Lines(string(text)) {
			if capabilities, ok := strings.CutPrefix(input, "CapEff:"); ok {
				if strings.Trim(capabilities, "\t\n0") != "" {
					return fmt.Errorf("the program has the capabilities %s", capabilities)
				}
				continue
			}
			var e struct {
				Hook string `json:"hook"`
				api.Event
			}
			if err := json.Unmarshal([]byte(input), &e); err != nil {
				return fmt.Errorf("a program got %q: %w", input, err)
			}
			if e.Hook == hook && e.NBMA == about.Public {
				return nil
			}
		}
		return fmt.Errorf("the programs got\n%s", text)
	})
}
