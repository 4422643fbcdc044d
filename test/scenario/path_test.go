//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// A firewall between two spokes drops ESP in one direction, and lets IKE pass. The SA comes up, and
// no shortcut: the traffic stays on the hub without a loss. Once the firewall is gone, the shortcut
// comes, without a loss either. When the firewall comes back while the direct path is in use, and
// drops ESP both ways, the traffic goes back to the hub.
func TestDirectPathIsProven(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	firewall := func(change string, at, from *lab.Site) {
		at.Iptables(change, "INPUT", "-s", from.Public.String(), "-p", "esp", "-j", "DROP")
	}
	firewall("-A", m.Spoke2, m.Spoke1)
	begun := time.Now()
	order := orderOf(m, m.Spoke1, m.Spoke2)
	flow := order.start(beat)
	pathIs(m, m.Spoke1, m.Spoke2, api.PathFailed, soon)
	if via := m.Spoke1.NextHop(m.Spoke2.Host.Addr); via != m.Hub.Overlay {
		t.Errorf("spoke1 sends by %s; want by the hub, since the direct path is cut", via)
	}
	order.noneCame([2]int{}, "while the direct path was cut")
	firewall("-D", m.Spoke2, m.Spoke1)
	pathIs(m, m.Spoke1, m.Spoke2, api.PathProven, later)
	directBothWays(m, later)
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(begun); lost > 0 || sent == 0 {
		t.Errorf("until the path was proven %d of %d packets were lost, for at most %s",
			lost, sent, longest)
	}

	firewall("-A", m.Spoke2, m.Spoke1)
	firewall("-A", m.Spoke1, m.Spoke2)
	cut, came := time.Now(), order.came()
	t.Logf("back on the hub after %s", flow.Back(cut, soon).Sub(cut).Round(time.Millisecond))
	m.Await("both spokes are back on the hub", soon, func() error {
		for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
			for _, r := range s.Routes("172.16.0.0/12") {
				if r.Protocol == ownProtocol {
					return fmt.Errorf("%s still has the route %+v of a shortcut", s.Name, r)
				}
			}
		}
		return nil
	})
	order.noneCame(came, "while the direct path was cut again")
	healed := time.Now()
	firewall("-D", m.Spoke2, m.Spoke1)
	firewall("-D", m.Spoke1, m.Spoke2)
	pathIs(m, m.Spoke1, m.Spoke2, api.PathProven, later)
	directBothWays(m, later)
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(healed); lost > 0 || sent == 0 {
		t.Errorf("on the way back %d of %d packets were lost, for at most %s", lost, sent, longest)
	}
	order.check()
	alive(m)
	encrypted(m)
}

// Packets of full size travel in fragments between two spokes, and a firewall drops the fragments.
// The spoke with the default settings stays on the hub; the other one, with large_packets =
// "smaller_mtu", has a shortcut with an MTU that passes. When fragments pass again, both have
// shortcuts without an MTU of their own. Then the underlay loses long packets as a whole while the
// shortcuts are in use: the first spoke returns to the hub, the other one gets the MTU again.
// Packets of full size arrive all the time.
func TestPathThatLosesLargePackets(t *testing.T) {
	m := lab.NewMesh(t)
	m.Add(`path_timeout = "1s"`)
	m.Spoke1.Interface = append(m.Spoke1.Interface, `large_packets = "smaller_mtu"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.IP("route add 192.0.2.12/32 dev eth0 src 192.0.2.11 mtu lock 1400")
	// INPUT sees packets that are whole again.
	fragments := []string{
		"PREROUTING", "-t", "raw", "-s", m.Spoke1.Public.String(), "-f", "-j", "DROP",
	}
	m.Spoke2.Iptables(append([]string{"-A"}, fragments...)...)
	begun := time.Now()
	order := orderOf(m, m.Spoke1, m.Spoke2)
	flow := order.start(beat)
	losesLarge(m)
	m.Spoke2.Iptables(append([]string{"-D"}, fragments...)...)
	pathIs(m, m.Spoke1, m.Spoke2, api.PathProven, later)
	pathIs(m, m.Spoke2, m.Spoke1, api.PathProven, later)
	directBothWays(m, later)
	for _, r := range m.Spoke1.Routes(m.Spoke2.LAN.String()) {
		if r.MTU != 0 {
			t.Errorf("a route keeps its MTU: %+v", r)
		}
	}
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(begun); lost > 0 || sent == 0 {
		t.Errorf("%d of %d packets were lost, for at most %s", lost, sent, longest)
	}
	order.check()

	m.Spoke2.Iptables("-A", "INPUT", "-s", m.Spoke1.Public.String(), "-p", "esp",
		"-m", "length", "--length", "1300:", "-j", "DROP")
	begun = time.Now()
	losesLarge(m)
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(begun); lost > 0 || sent == 0 {
		t.Errorf("on the way back %d of %d packets were lost, for at most %s", lost, sent, longest)
	}
	for i := range order.halves {
		order.halves[i].checkOrder(m)
	}
	alive(m)
	encrypted(m)
}

// losesLarge awaits what spokes do about a direct path that loses packets of full size, and that
// such packets arrive all the same. Spoke1 has large_packets = "smaller_mtu", spoke2 the default.
func losesLarge(m *lab.Mesh) {
	m.Helper()
	pathIs(m, m.Spoke1, m.Spoke2, api.PathSmall, later)
	pathIs(m, m.Spoke2, m.Spoke1, api.PathFailed, later)
	m.Await("spoke1 has a shortcut with a smaller MTU, and spoke2 sends by the hub", soon,
		func() error {
			if via := m.Spoke2.NextHop(m.Spoke1.Host.Addr); via != m.Hub.Overlay {
				return fmt.Errorf("spoke2 sends by %s", via)
			}
			for _, r := range m.Spoke1.Routes(m.Spoke2.LAN.String()) {
				if r.Gateway == m.Spoke2.Overlay && r.MTU >= 1100 && r.MTU < 1400 {
					return nil
				}
			}
			return lab.True(false, "the routes are %+v", m.Spoke1.Routes(m.Spoke2.LAN.String()))
		})
	for _, way := range [][2]*lab.Host{
		{m.Spoke1.Host, m.Spoke2.Host}, {m.Spoke2.Host, m.Spoke1.Host},
	} {
		err := way[0].PingAs(way[1].Addr, 3, lab.Request{Length: 1400, DF: "dont"})
		if err != nil {
			m.Errorf("packets of full size: %v", err)
		}
	}
}

// The NAT in front of a spoke forgets its mapping to another spoke, which alone talks. What comes
// from there is dropped, and the spoke behind the NAT has no reason to send. The traffic goes back
// to the hub, and over the direct path again once that has a mapping.
func TestNATForgetsAMapping(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"))
	m.Spoke1.NAT.Close()
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	pathIs(m, m.Spoke2, m.Spoke1, api.PathProven, soon)
	order := orderOf(m, m.Spoke2, m.Spoke1)
	m.Spoke1.NAT.Forget(m.Spoke2.Public)
	flow := order.start(beat)
	begun := time.Now()
	t.Logf("on the hub after %s", flow.Back(begun, soon).Sub(begun).Round(time.Millisecond))
	settled := time.Now()
	directBothWays(m, later)
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(settled); lost > 0 || sent == 0 {
		t.Errorf("on the way back %d of %d packets were lost, for at most %s", lost, sent, longest)
	}
	order.check()
	alive(m)
	encrypted(m)
}

// Packets each millisecond take a proven path while its CHILD_SAs are rekeyed and its shortcut is
// asked for again. None is lost, and the path stays proven.
func TestProvenPathLosesNothing(t *testing.T) {
	m := lab.NewMesh(t)
	m.Add(`holding_time = "10s"`)
	m.AddIPsec(`child_rekey_time = "10s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	order := orderOf(m, m.Spoke1, m.Spoke2)
	flow := order.start(time.Millisecond)
	directBothWays(m, later)
	pathIs(m, m.Spoke1, m.Spoke2, api.PathProven, soon)
	flow.Back(time.Now(), soon)
	begun := time.Now()
	keys, answers := map[uint32]bool{}, map[time.Time]bool{}
	m.Await("two rekeyings and three answers", later, func() error {
		for _, st := range m.Spoke1.XfrmStates() {
			if st.SPI != 0 && st.Dst == m.Spoke2.Public {
				keys[st.SPI] = true
			}
		}
		var shortcuts []api.Shortcut
		if err := m.Spoke1.CygnetJSON(&shortcuts, "shortcuts"); err != nil {
			return err
		}
		for _, c := range shortcuts {
			answers[c.Expires] = true
		}
		return lab.True(len(keys) >= 3 && len(answers) >= 4,
			"%d SAs and %d answers were seen", len(keys), len(answers))
	})
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(begun); lost > 0 || sent == 0 {
		t.Errorf("%d of %d packets were lost, for at most %s", lost, sent, longest)
	}
	if err := provenTo(m.Spoke1, m.Spoke2); err != nil {
		t.Error(err)
	}
	order.check()
	alive(m)
	encrypted(m)
}

// directBothWays awaits shortcuts between the spokes, both at the same time, while traffic passes.
// One after the other would not do, for the reason that shortcutFrom gives.
func directBothWays(m *lab.Mesh, within time.Duration) {
	m.Helper()
	m.Await("shortcuts from both spokes", within, func() error {
		return errors.Join(up(m.Spoke1, m.Spoke2), up(m.Spoke2, m.Spoke1))
	})
}

// pathIs awaits that a site's direct path to a peer has a state.
func pathIs(m *lab.Mesh, s, peer *lab.Site, state api.PathState, within time.Duration) {
	m.Helper()
	m.Await(s.Name+"'s path to "+peer.Name+" is "+string(state), within, func() error {
		var peers []api.Peer
		if err := s.CygnetJSON(&peers, "peers"); err != nil {
			return err
		}
		for _, p := range peers {
			if p.NBMA == peer.Public && p.Path != nil {
				return lab.True(p.Path.State == state, "it is %+v", *p.Path)
			}
		}
		return lab.True(false, "no such path in %+v", peers)
	})
}

// provenTo returns nil when a site has a shortcut to the LAN of a peer, by a proven path.
func provenTo(s, peer *lab.Site) error {
	var shortcuts []api.Shortcut
	if err := s.CygnetJSON(&shortcuts, "shortcuts"); err != nil {
		return err
	}
	for _, c := range shortcuts {
		if c.Prefix.Contains(peer.Host.Addr) && c.Path == api.PathProven {
			return nil
		}
	}
	return lab.True(false, "its shortcuts are %+v", shortcuts)
}
