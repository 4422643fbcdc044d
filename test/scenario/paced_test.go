//go:build lab

package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// A hub with an NHS of its own and a dozen clients loses its charon. The clients' lines are dead,
// so that each attempt to dial a client stays open. The NHS is among the first that the hub dials.
// charon never has more attempts of the hub's open than max_initiations allows, and the clients get
// their turn one after the other.
func TestInitiationsArePaced(t *testing.T) {
	const clients, atOnce = 12, 2
	m := lab.NewMesh(t)
	m.Hub.Interface[0] = `address = "10.255.0.1/16"`
	m.Hub.DaemonLines = []string{fmt.Sprintf("max_initiations = %d", atOnce)}
	above := m.FurtherHub(2)
	m.Hub.Interface = append(m.Hub.Interface, `nhs = [{ nbma = "192.0.2.2" }]`, "server = true")
	above.Start()
	m.Hub.Start()
	c := newCrowd(m, clients)
	m.Await("all clients are registered", soon, func() error {
		return lab.True(c.registeredSince(time.Time{}) == clients, "%d are",
			c.registeredSince(time.Time{}))
	})
	m.Await("the hub is registered", soon, func() error { return secured(m.Hub, above) })

	c.Lose(100)
	m.Hub.Charon.Kill()
	killed := time.Now()
	m.Hub.Charon.Start()
	tried := map[netip.Addr]bool{}
	// For the first half minute the daemon begins an attempt without an answer anew after two
	// seconds. Later it leaves the attempt open for longer.
	m.Await("half of the clients had their turn", 25*time.Second, func() error {
		open := initiating(m.Hub)
		for _, remote := range open {
			if remote != above.Public {
				tried[remote] = true
			}
		}
		if len(open) > atOnce {
			// charon lists one IKE_SA after the other. One that ended meanwhile and its successor
			// may both be in the list. All that are in the next list too were there at one time.
			again := initiating(m.Hub)
			maps.DeleteFunc(open, func(id string, _ netip.Addr) bool {
				return !again[id].IsValid()
			})
		}
		if len(open) > atOnce {
			t.Fatalf("charon has %d half-open IKE_SAs that the hub initiated: %+v", len(open), open)
		}
		return lab.True(len(tried) >= clients/2, "%d had", len(tried))
	})
	var dialled []netip.Addr // each once, in order; those of one moment in any order
	for _, p := range m.Underlay.Packets(lab.OfKind(lab.IKE), lab.From(m.Hub.Public),
		lab.Since(killed)) {
		if !slices.Contains(dialled, p.Dst) {
			dialled = append(dialled, p.Dst)
		}
	}
	if len(dialled) < atOnce || !slices.Contains(dialled[:atOnce], above.Public) {
		t.Errorf("the hub dialled in the order %v", dialled)
	}
	m.Await("the hub has an SA with its NHS", soon, func() error { return secured(m.Hub, above) })
	alive(m)
	encrypted(m)
}

// initiating returns the half-open IKE_SAs that a site initiated: the peer of each by charon's ID.
func initiating(s *lab.Site) map[string]netip.Addr {
	open := map[string]netip.Addr{}
	for _, sa := range s.Charon.SAs() {
		if sa.Initiator && sa.State == "CONNECTING" {
			open[sa.ID] = sa.Remote
		}
	}
	return open
}
