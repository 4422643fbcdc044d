//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// What becomes of packets that are longer than the path.
const (
	arrives = "all arrive"
	isTold  = "lost, and the sender is told" // with the size
	isLost  = "lost, and nobody is told"
)

// smallPath is a row of the table in test/README.md: what becomes of packets of the tunnel's MTU on
// a path of 1300 bytes, by outer_df.
type smallPath struct {
	outerDF            string
	icmp               bool // the path's router can tell about packets that are too long
	withDF, plain, six string
}

var smallPathRows = []smallPath{
	{"never", true, arrives, arrives, arrives},
	{"never", false, arrives, arrives, arrives},
	{"copy", true, isTold, arrives, arrives},
	{"copy", false, isLost, arrives, arrives},
	{"always", true, isTold, isLost, isLost},
	{"always", false, isLost, isLost, isLost},
}

// Packets of the tunnel's MTU over a path that takes 1300 bytes fare as outer_df says: to the hub,
// through the hub and directly to another spoke, as ESP and as ESP in UDP, over IPv4 with and
// without don't fragment and over IPv6, with and without the path's ICMP.
func TestSmallPaths(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"), lab.SpokeBehindNAT("spoke2"))
	inUDP, plain := m.Spoke1, m.Spoke2
	// The box of spoke2 is a router: its ESP is plain.
	plain.NAT.Iptables("-t", "nat", "-F", "POSTROUTING")
	plain.Public = plain.NBMA
	m.Hub.IP("route add 10.2.0.0/24 via 192.0.2.12")
	inUDP.NAT.IP("route add 10.2.0.0/24 via 192.0.2.12")
	m.Add(`prove_paths = "off"`)
	for i, line := range plain.Interface {
		plain.Interface[i] = strings.Replace(line, "shortcut = true", "shortcut = false", 1)
	}
	m.Start()
	registered(m, inUDP, soon)
	registered(m, plain, soon)
	hosts := withIPv6(m)
	train := inUDP.Host.Train(plain.Host.Addr, 50*time.Millisecond)
	m.Await("a shortcut from spoke1 to spoke2", soon, func() error { return up(inUDP, plain) })
	train.Stop()

	for n, row := range smallPathRows {
		for _, s := range []*lab.Site{inUDP, plain} {
			if n == 0 || row.outerDF != smallPathRows[n-1].outerDF {
				setOuterDF(m, s, row.outerDF)
			}
			narrow(s.NAT, row.icmp)
			other := map[*lab.Site]*lab.Site{inUDP: plain, plain: inUDP}[s]
			row.check(m, s, s.Host.Node, m.Hub.Host.Addr, "do", row.withDF)
			row.check(m, s, s.Host.Node, other.Host.Addr, "do", row.withDF)
			row.check(m, s, s.Host.Node, m.Hub.Host.Addr, "dont", row.plain)
			row.check(m, s, s.Host.Node, other.Host.Addr, "dont", row.plain)
			row.check(m, s, s.Host.Node, hosts[m.Hub], "do", row.six)
			row.check(m, s, s.Host.Node, hosts[other], "do", row.six)
			widen(s.NAT)
		}
	}
	alive(m)
	encrypted(m)
}

// withIPv6 gives the tunnels and the LANs IPv6 addresses beside those of IPv4. The routes take the
// same ways as those of IPv4: from spoke2 to spoke1 through the hub, all others directly. NHRP does
// not know of them. It returns the addresses of the hosts.
func withIPv6(m *lab.Mesh) map[*lab.Site]netip.Addr {
	hosts := map[*lab.Site]netip.Addr{}
	for number, s := range []*lab.Site{m.Hub, m.Spoke1, m.Spoke2} {
		s.IP("addr add " + tunnelIPv6[number] + "/64 dev gre1 nodad")
		neighborsIPv6(m, s)
		hosts[s] = lanIPv6(s, number)
		if s != m.Hub {
			routeIPv6(m.Hub, number, tunnelIPv6[number])
			routeIPv6(s, 0, tunnelIPv6[0])
		}
	}
	routeIPv6(m.Spoke1, 2, tunnelIPv6[2])
	routeIPv6(m.Spoke2, 1, tunnelIPv6[0])
	return hosts
}

// neighborsIPv6 gives a site the others as neighbours in the tunnel.
func neighborsIPv6(m *lab.Mesh, s *lab.Site) {
	for number, peer := range []*lab.Site{m.Hub, m.Spoke1, m.Spoke2} {
		if peer != s {
			s.IP("neigh replace " + tunnelIPv6[number] + " lladdr " + peer.Public.String() +
				" dev gre1 nud permanent")
		}
	}
}

// tunnelIPv6 are the addresses of the hub and the spokes in the tunnel.
var tunnelIPv6 = []string{"fd00:255::1", "fd00:255::11", "fd00:255::12"}

// setOuterDF has a spoke use another outer_df, by a reload. A change of the tunnel's parameters
// resets its broadcast address, and to set that again costs all neighbours. The daemon puts back
// its own, and setOuterDF those for IPv6.
func setOuterDF(m *lab.Mesh, s *lab.Site, word string) {
	m.Helper()
	lines := s.Interface
	s.Interface = append(lines[:len(lines):len(lines)], fmt.Sprintf("outer_df = %q", word))
	s.WriteFile(lab.CygnetConfig, 0o640, s.Config())
	s.Interface = lines
	var st api.Status
	if err := s.CygnetJSON(&st, "status"); err != nil {
		m.Fatalf("%v", err)
	}
	s.Run("kill", "-HUP", fmt.Sprint(st.PID))
	m.Await(s.Name+" has outer_df "+word, soon, func() error {
		if err := s.CygnetJSON(&st, "status"); err != nil {
			return err
		}
		got := st.Interfaces[0].OuterDF
		return lab.True(got == word, "it has %q", got)
	})
	neighborsIPv6(m, s)
	m.Await(s.Name+" reaches the hub", soon, func() error {
		return s.Host.Reaches(m.Hub.Host.Addr)
	})
}

// narrow has a box take no more than 1300 bytes towards the underlay, and tell so unless icmp is
// false.
func narrow(box *lab.NAT, icmp bool) {
	const route = "proto kernel scope link mtu lock 1300 src "
	box.IP("route change 192.0.2.0/24 dev eth0 " + route + box.Public.String())
	if box.Public == netip.MustParseAddr("192.0.2.11") {
		box.IP("route change 10.2.0.0/24 via 192.0.2.12 mtu lock 1300")
	}
	if !icmp {
		box.Iptables("-A", "OUTPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed",
			"-j", "DROP")
	}
}

// widen takes back what narrow did.
func widen(box *lab.NAT) {
	box.IP("route change 192.0.2.0/24 dev eth0 proto kernel scope link src " + box.Public.String())
	if box.Public == netip.MustParseAddr("192.0.2.11") {
		box.IP("route change 10.2.0.0/24 via 192.0.2.12")
	}
	box.Iptables("-F", "OUTPUT")
}

// toldSize finds the size in what ping prints about a packet that is too long.
var toldSize = regexp.MustCompile(`mtu ?[=:] ?(\d+)`)

// check sends packets of 1400 bytes from a spoke or its host, and compares what becomes of them. df
// is ping's word for don't fragment. What routers learned of earlier packets is forgotten first.
func (row smallPath) check(
	m *lab.Mesh, s *lab.Site, from *lab.Node, to netip.Addr, df, want string,
) {
	m.Helper()
	for _, n := range []*lab.Node{from, s.Router.Node} {
		n.Run("ip", "-4", "route", "flush", "cache")
		n.Run("ip", "-6", "route", "flush", "cache")
	}
	headers, longest := 20+8, 1238
	if to.Is6() {
		headers = 40 + 8
	}
	if s == m.Spoke1 {
		longest = 1230
	}
	ping := func(count string, wait string) string {
		out, _ := from.Try("ping", "-n", "-c", count, "-i", "0.2", "-W", wait, "-M", df,
			"-s", fmt.Sprint(1400-headers), to.String())
		return out
	}
	what := fmt.Sprintf("outer_df %q, ICMP %v, from %s to %s, DF %s: %s",
		row.outerDF, row.icmp, from.Name, to, df, want)
	switch want {
	case arrives:
		if err := from.PingAs(to, 3, lab.Request{Length: 1400, DF: df}); err != nil {
			m.Errorf("%s: %v", what, err)
		}
	case isTold:
		m.Await(what, soon, func() error {
			out := ping("1", "1")
			told := toldSize.FindStringSubmatch(out)
			if !strings.Contains(out, " 0 received") {
				m.Errorf("%s:\n%s", what, out)
			}
			return lab.True(told != nil && told[1] == fmt.Sprint(longest),
				"want %d told:\n%s", longest, out)
		})
	case isLost:
		if out := ping("3", "1"); !strings.Contains(out, " 0 received") ||
			toldSize.MatchString(out) {
			m.Errorf("%s:\n%s", what, out)
		}
	}
}
