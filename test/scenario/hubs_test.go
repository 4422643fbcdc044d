//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// deadWithin is how soon a peer that is gone without a word is given up: after 10 s of silence,
// 11 s without an answer, and 5 s in which its binding waits for it. This is for the default
// dpd_delay and a charon that retransmits as contrib/swanctl configures it.
const deadWithin = 30 * time.Second

// Two spokes with three hubs cannot reach each other directly, so that a hub relays their packets.
// The hub in use dies without a word. The traffic moves to the next hub within the time that dead
// peer detection takes, and returns when the hub does. Nothing goes in clear.
func TestOneOfThreeHubsDies(t *testing.T) {
	m := lab.NewMesh(t)
	hubs := []*lab.Site{m.Hub, m.FurtherHub(2), m.FurtherHub(3)}
	spokes := []*lab.Site{m.Spoke1, m.Spoke2}
	for i, s := range spokes {
		useHubs(s, hubs...)
		other := spokes[1-i]
		s.UseRoutes("172.16.0.0/24 via 10.255.0.1",
			other.LAN.String()+" via "+other.Overlay.String())
		s.Iptables("-A", "INPUT", "-s", other.Public.String(), "-j", "DROP")
	}
	for _, s := range append(hubs, spokes...) {
		s.Start()
	}
	for _, h := range hubs {
		registeredWithHub(m, h, soon, spokes...)
	}
	// When a relay ends, the kernel holds packets until the daemon has the next one. It holds
	// some 250, for 5 s at most: at this interval the time is the limit, also if the daemon stands
	// still.
	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, 50*time.Millisecond)
	flow.Back(time.Now(), soon)
	relayedBy(m, m.Hub, soon)

	died := time.Now()
	m.Hub.Die()
	flow.Back(time.Now(), later)
	// The outage does not count the time for which the whole guest stands still.
	_, _, moved := flow.Loss(died)
	t.Logf("the traffic moved after %s", moved.Round(time.Millisecond))
	if moved > deadWithin {
		t.Errorf("the traffic moved after %s; promised are %s", moved, deadWithin)
	}
	relayedBy(m, hubs[1], soon)
	for _, s := range spokes {
		m.Await("nothing of the dead hub is left at "+s.Name, soon, func() error {
			if at, ok := s.Neighbors("gre1")[m.Hub.Overlay]; ok {
				return fmt.Errorf("neighbour %s at %s", m.Hub.Overlay, at)
			}
			return noneWith(s, m.Hub.Public)
		})
	}

	returned := time.Now()
	m.Hub.Return()
	registeredWithHub(m, m.Hub, later, spokes...)
	t.Logf("registered with the hub again after %s", time.Since(returned).Round(time.Millisecond))
	relayedBy(m, m.Hub, later)
	t.Logf("the traffic is back after %s", time.Since(returned).Round(time.Millisecond))
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(returned); lost > 0 || sent == 0 {
		t.Errorf("with the return of the hub %d of %d packets were lost, for at most %s", lost,
			sent, longest)
	}
	alive(m)
	encrypted(m)
}

// useHubs makes these hubs a spoke's next hop servers.
func useHubs(s *lab.Site, hubs ...*lab.Site) {
	var list []string
	for _, h := range hubs {
		list = append(list, fmt.Sprintf("{ nbma = %q }", h.Public))
	}
	i := slices.IndexFunc(s.Interface, func(line string) bool { return contains(line, "nhs =") })
	s.Interface[i] = "nhs = [" + strings.Join(list, ", ") + "]"
}

// registeredWithHub awaits that the hub and each spoke have each other as neighbours, and that the
// spoke has an SA with the hub.
func registeredWithHub(m *lab.Mesh, h *lab.Site, within time.Duration, spokes ...*lab.Site) {
	m.Helper()
	for _, s := range spokes {
		m.Await(s.Name+" is registered with "+h.Name, within, func() error {
			for at, peer := range map[*lab.Site]*lab.Site{s: h, h: s} {
				if nbma := at.Neighbors("gre1")[peer.Overlay]; nbma != peer.Public {
					return fmt.Errorf("on %s neighbour %s is at %s", at.Name, peer.Overlay, nbma)
				}
			}
			return secured(s, h)
		})
	}
}

// relayedBy awaits that both spokes send packets for each other to a hub.
func relayedBy(m *lab.Mesh, h *lab.Site, within time.Duration) {
	m.Helper()
	m.Await(h.Name+" relays", within, func() error {
		at := map[netip.Addr]bool{
			m.Spoke1.Neighbors("gre1")[m.Spoke2.Overlay]: true,
			m.Spoke2.Neighbors("gre1")[m.Spoke1.Overlay]: true,
		}
		return lab.True(len(at) == 1 && at[h.Public], "the spokes have each other at %v", at)
	})
}

// noneWith returns nil when neither charon nor the kernel of a site has an SA with an address.
// Attempts to make one may be under way.
func noneWith(s *lab.Site, peer netip.Addr) error {
	for _, sa := range s.Charon.With(peer) {
		if sa.State == "ESTABLISHED" {
			return fmt.Errorf("charon on %s still has %+v", s.Name, sa)
		}
	}
	for _, state := range s.XfrmStates() {
		if state.SPI != 0 && (state.Src == peer || state.Dst == peer) {
			return fmt.Errorf("the kernel of %s still has %+v", s.Name, state)
		}
	}
	return nil
}
