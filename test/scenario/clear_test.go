//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"time"

	"cygnet/nhrpd/packet"
	"cygnet/test/lab"
)

// movesInClear gives a spoke another underlay address while the other spoke sends to it directly.
// Without IPsec the other spoke has no dead peer detection that would tell it of the move: the
// spoke that moved tells it, by way of the hub.
func movesInClear(m *lab.Mesh) {
	m.Helper()
	shortcut(m)
	atSpoke1 := m.Spoke1.Capture("gre1")
	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, 50*time.Millisecond)
	old := m.Spoke2.Public
	begin := time.Now()
	renumber(m.Spoke2, old.String(), "192.0.2.112")
	registered(m, m.Spoke2, soon)
	flow.Back(time.Now(), soon)
	sent, lost, longest := flow.Loss(begin)
	m.Logf("a spoke moved without IPsec: %d of %d packets to it lost, for at most %s", lost, sent,
		longest.Round(time.Millisecond))
	flow.Stop()
	m.Await("spoke1 has left the old address", soon, func() error {
		at, there := m.Spoke1.Neighbors("gre1")[m.Spoke2.Overlay]
		return lab.True(!there || at == m.Spoke2.Public, "its neighbour %s is at %s",
			m.Spoke2.Overlay, at)
	})
	byHub := func(p lab.NHRP) bool {
		return !p.Sent && p.SourceProtocol == m.Spoke2.Overlay && p.Link == m.Hub.Public
	}
	// Spoke1 may have learned the new address from a question of spoke2's before the purge came.
	m.Await("spoke1 gets a purge of spoke2's along the hub", soon, func() error {
		purges := atSpoke1.NHRP(packet.PurgeRequest)
		return lab.True(slices.ContainsFunc(purges, byHub), "it got %+v", purges)
	})
	shortcut(m)
}

// leavesInClear has spoke2 leave while spoke1 holds an answer of spoke2's to a Resolution Request.
// Spoke1's reply to the purge comes by way of the hub, so spoke2 takes its leave of the hub last.
func leavesInClear(m *lab.Mesh) {
	m.Helper()
	shortcut(m)
	atSpoke2 := m.Spoke2.Capture("gre1")
	m.Spoke2.Cygnet("leave")
	var order []string
	for _, p := range atSpoke2.NHRP(packet.PurgeRequest, packet.PurgeReply) {
		if p.SourceProtocol == m.Spoke2.Overlay {
			order = append(order, fmt.Sprintf("%s for %s", p.Type, p.DestProtocol))
		}
	}
	want := []string{
		"purge request for 10.255.0.11", "purge reply for 10.255.0.11",
		"purge request for 10.255.0.1", "purge reply for 10.255.0.1",
	}
	// A router that leaves repeats a purge that has no reply after a second, so that each of these
	// may have come several times. What counts is when each came first.
	first, inOrder := -1, true
	for _, step := range want {
		at := slices.Index(order, step)
		first, inOrder = at, inOrder && at > first
	}
	other := func(step string) bool { return !slices.Contains(want, step) }
	if !inOrder || slices.ContainsFunc(order, other) {
		m.Errorf("leaving went %q, want %q", order, want)
	}
	m.Await("nothing of spoke2 is left", soon, func() error {
		for _, s := range []*lab.Site{m.Hub, m.Spoke1} {
			if at, there := s.Neighbors("gre1")[m.Spoke2.Overlay]; there {
				return fmt.Errorf("%s has neighbour %s at %s", s.Name, m.Spoke2.Overlay, at)
			}
		}
		return nil
	})
}
