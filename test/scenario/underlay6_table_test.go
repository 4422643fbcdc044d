//go:build lab

package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// The underlay is IPv6 only, and kept apart from the main table: at the hub in a table of its own,
// at the spokes in a VRF. charon takes part in that by `ip vrf exec` at spoke1, and by the example
// of its settings at spoke2. The default route of IPv6 in the main table leads into the tunnel.
// Spokes register, shortcuts come, and the rules lead to the table and go with `cygnet leave`. A
// VRF that is made again with another table gets the devices of the peers again.
func TestIPv6UnderlayApart(t *testing.T) {
	m := lab.NewMesh(t)
	onlyIPv6(m)
	for number, s := range m.Sites() {
		s.Interface[0] = fmt.Sprintf("address = [%q, %q]", s.Overlay.String()+"/24",
			fmt.Sprintf("fd00:255::%d/64", number+1))
		if s != m.Hub {
			s.Interface = append(s.Interface, `underlay_vrf = "inet"`)
			underlayVRF6(s, 101)
		} else {
			s.Interface = append(s.Interface, "underlay_table = 100")
			s.IP("addr flush dev eth0 scope global",
				fmt.Sprintf("addr add %s/128 dev eth0 nodad", s.Public),
				"route add ::/0 dev eth0 table 100",
				"route add unreachable ::/0 metric 4278198272 table 100")
		}
	}
	m.Hub.Start()
	m.Spoke1.Charon = m.Spoke1.CharonIn("inet")
	m.Spoke1.StartDaemon()
	m.Spoke2.Charon = m.Spoke2.Router.Charon()
	m.Spoke2.Sysctl("net.ipv4.udp_l3mdev_accept=1")
	m.Spoke2.StartDaemon()
	m.Await("check says what charon lacks", soon, func() error {
		out, err := m.Spoke2.TryCygnet("check")
		return lab.True(err != nil && contains(out, "set_sourceif = yes"), "%s", out)
	})
	m.Spoke2.Charon.Terminate()
	m.Spoke2.Charon = m.Spoke2.DebianCharon(contrib(t, "swanctl/charon-vrf.conf"))
	for _, s := range m.Sites()[1:] {
		s.IP("route add ::/0 via fd00:255::1 dev gre1 onlink")
	}
	m.Hub.IP("route add ::/0 via fd00:255::2 dev gre1 onlink")
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	for s, table := range map[*lab.Site]string{m.Hub: "100", m.Spoke1: "101", m.Spoke2: "101"} {
		want := "from " + s.Public.String() + " lookup " + table
		if rules := s.Run("ip", "-6", "rule"); !strings.Contains(rules, want) {
			t.Errorf("%s has no rule %q:\n%s", s.Name, want, rules)
		}
		checked(m.Net, s.Router)
	}

	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, beat)
	flow.Back(time.Now(), soon)
	begin := time.Now()
	for _, s := range m.Sites() {
		s.Daemon.Kill()
		s.Daemon.Start()
	}
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	lossless(m, begin, []*lab.Flow{flow})
	flow.Stop()

	m.Spoke2.IP("link del inet")
	underlayVRF6(m.Spoke2, 102)
	registered(m, m.Spoke2, later)
	m.Await("the hosts reach each other", later, func() error {
		return m.Spoke2.Host.Reaches(m.Hub.Host.Addr)
	})
	shortcut(m)
	for _, s := range m.Sites() {
		s.Cygnet("leave")
		if rules := s.Run("ip", "-6", "rule"); strings.Contains(rules, "lookup 10") {
			t.Errorf("a rule is left on %s:\n%s", s.Name, rules)
		}
	}
	alive(m)
	encrypted(m)
}

// underlayVRF6 puts a site's underlay into the new VRF inet, with its IPv6 address, which the
// kernel removes with the move.
func underlayVRF6(s *lab.Site, table int) {
	s.MakeVRF("inet", table)
	s.IP("link set eth0 master inet",
		fmt.Sprintf("addr replace %s/64 dev eth0 nodad", s.Public),
		fmt.Sprintf("route replace ::/0 via fe80::1 dev eth0 table %d", table))
}
