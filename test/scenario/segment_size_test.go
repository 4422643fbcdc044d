//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// ssSegments finds the size of the segments that an end of a connection sends, as ss prints it.
var ssSegments = regexp.MustCompile(` mss:(\d+)`)

// TCP connections through the tunnel use segments of the size that one of the two routers is set
// to, in both directions, over IPv4 and IPv6, whichever side opens them. Behind the tunnel tcpdump
// decodes the SYNs with that size and the right checksum, and the receiving kernels find no wrong
// one.
func TestSegmentSizes(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Interface = append(m.Hub.Interface, `mss = "off"`)
	m.Spoke1.Interface = append(m.Spoke1.Interface, `mss = 1200`)
	m.Hub.Start()
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	m.Hub.IP("addr add fd00:255::1/64 dev gre1 nodad",
		"neigh replace fd00:255::11 lladdr 192.0.2.11 dev gre1 nud permanent")
	m.Spoke1.IP("addr add fd00:255::11/64 dev gre1 nodad",
		"neigh replace fd00:255::1 lladdr 192.0.2.1 dev gre1 nud permanent")
	hub, spoke := lanIPv6(m.Hub, 0), lanIPv6(m.Spoke1, 1)
	routeIPv6(m.Hub, 1, "fd00:255::11")
	routeIPv6(m.Spoke1, 0, "fd00:255::1")
	dumps := map[*lab.Host]*lab.Process{}
	for _, h := range []*lab.Host{m.Hub.Host, m.Spoke1.Host} {
		// In IPv6 the flags of TCP are 13 bytes behind the 40 of the header.
		dumps[h] = h.Start("tcpdump", nil, "tcpdump", "-n", "-v", "-l", "-i", "eth0",
			"--immediate-mode", "-Q", "in", "tcp[13] & 2 != 0 or (ip6[6] = 6 and ip6[53] & 2 != 0)")
		m.Await("tcpdump on "+h.Name+" listens", soon, func() error {
			return lab.True(contains(dumps[h].Output(), "listening on"), "%s", dumps[h].Output())
		})
	}

	const stamps = "1188" // less the 12 bytes of timestamps in each segment
	for _, c := range []struct {
		from, to *lab.Node
		address  netip.Addr
	}{
		{m.Spoke1.Host.Node, m.Hub.Host.Node, m.Hub.Host.Addr},
		{m.Hub.Host.Node, m.Spoke1.Host.Node, m.Spoke1.Host.Addr},
		{m.Spoke1.Host.Node, m.Hub.Host.Node, hub},
		{m.Hub.Host.Node, m.Spoke1.Host.Node, spoke},
	} {
		bulk := c.from.Bulk(c.to, c.address, 10*time.Millisecond)
		for _, end := range []*lab.Node{c.from, c.to} {
			m.Await(end.Name+" sends segments of the size that the spoke allows", soon,
				func() error {
					out := end.Run("ss", "-tinH", "state", "established",
						"( sport = 5001 or dport = 5001 )")
					size := ssSegments.FindStringSubmatch(out)
					return lab.True(size != nil && size[1] == stamps, "ss says %s", out)
				})
		}
		if n := bulk.Stop(); n == 0 {
			t.Errorf("nothing arrived at %s", c.address)
		}
	}
	for h, dump := range dumps {
		// A SYN and the answer to one, over IPv4 and over IPv6.
		m.Await("tcpdump on "+h.Name+" has decoded the SYNs of four connections", soon,
			func() error { return rightSYNs(dump.Output(), 4) })
	}
	for _, n := range []*lab.Node{m.Spoke1.Host.Node, m.Hub.Host.Node} {
		out := n.Run("nstat", "-az", "TcpInCsumErrors")
		if f := strings.Fields(out[strings.LastIndex(out, "TcpInCsumErrors"):]); f[1] != "0" {
			t.Errorf("%s found %s wrong checksums", n.Name, f[1])
		}
	}
	encrypted(m)
}

// decodedSYN is how tcpdump -v prints a SYN: its ends, the flags, what it says of the checksum, and
// the maximum segment size.
var decodedSYN = regexp.MustCompile(
	`(\S+ > \S+): Flags \[S\.?\], cksum 0x[0-9a-f]+ \(([^)]*)\),.* options \[mss (\d+)`)

// rightSYNs returns nil when what tcpdump printed has SYNs of so many connections, all with the
// right checksum and the size that the spoke allows. A kernel may repeat a SYN, so rightSYNs counts
// connections and not SYNs.
func rightSYNs(printed string, want int) error {
	connections := map[string]bool{}
	for _, syn := range decodedSYN.FindAllStringSubmatch(printed, -1) {
		if syn[2] != "correct" || syn[3] != "1200" {
			return fmt.Errorf("of a SYN, tcpdump says %q", syn[0])
		}
		connections[syn[1]] = true
	}
	return lab.True(len(connections) == want, "want the SYNs of %d connections, have those of %d:\n%s",
		want, len(connections), printed)
}

// lanIPv6 gives a site's LAN and host IPv6 addresses. It returns the host's address.
func lanIPv6(s *lab.Site, number int) netip.Addr {
	host := fmt.Sprintf("fd00:172:%d::10", number)
	s.IP(fmt.Sprintf("addr add fd00:172:%d::1/64 dev lan0 nodad", number))
	s.Host.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", host),
		fmt.Sprintf("route add ::/0 via fd00:172:%d::1", number))
	return addr(host)
}

// routeIPv6 gives a site the route to another one's LAN, by an address in the tunnel.
func routeIPv6(s *lab.Site, number int, hop string) {
	s.IP(fmt.Sprintf("route add fd00:172:%d::/64 via %s dev gre1", number, hop))
}
