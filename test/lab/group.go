package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// GroupSocket sends datagrams to an IPv4 group through one device of a node, and receives those of
// others while the node is a member of the group there.
type GroupSocket struct {
	node  *Node
	fd    int
	group *unix.SockaddrInet4
	at    *unix.IPMreqn
	sent  uint32
}

// groupPort is the UDP port of all datagrams to groups.
const groupPort = 5004

// GroupSocket opens a socket for a group on a device. The socket ends with the network.
func (n *Node) GroupSocket(device string, group netip.Addr) *GroupSocket {
	n.net.Helper()
	g := &GroupSocket{node: n, group: &unix.SockaddrInet4{Port: groupPort, Addr: group.As4()}}
	err := n.Inside(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		g.at = &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(link.Index)}
		g.fd, err = unix.Socket(unix.AF_INET,
			unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		n.net.Cleanup(func() { unix.Close(g.fd) })
		return errors.Join(
			unix.Bind(g.fd, g.group),
			unix.SetsockoptIPMreqn(g.fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, g.at),
			unix.SetsockoptInt(g.fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 16),
			unix.SetsockoptInt(g.fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0))
	})
	if err != nil {
		n.net.Fatalf("%s: open a socket for %s: %v", n.Name, group, err)
	}
	return g
}

// Join makes the node a member of the group: it sends an IGMP report.
func (g *GroupSocket) Join() {
	g.node.net.Helper()
	g.member(unix.SetsockoptIPMreqn(g.fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, g.at))
}

// JoinSource makes the node a member of the group for what one source sends (IGMPv3). The default
// route leads to the device.
func (g *GroupSocket) JoinSource(source netip.Addr) {
	g.node.net.Helper()
	var anyDevice [4]byte
	membership := slices.Concat(g.group.Addr[:], anyDevice[:], source.AsSlice())
	g.member(unix.SetsockoptString(g.fd, unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP,
		string(membership)))
}

// Leave ends the membership.
func (g *GroupSocket) Leave() {
	g.node.net.Helper()
	g.member(unix.SetsockoptIPMreqn(g.fd, unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, g.at))
}

// member fails the test if a membership could not be changed.
func (g *GroupSocket) member(err error) {
	g.node.net.Helper()
	if err != nil {
		g.node.net.Fatalf("%s: join or leave a group: %v", g.node.Name, err)
	}
}

// Send sends the next datagram to the group, and returns its number.
func (g *GroupSocket) Send() uint32 {
	g.node.net.Helper()
	g.sent++
	datagram := binary.BigEndian.AppendUint32(nil, g.sent)
	if err := unix.Sendto(g.fd, datagram, 0, g.group); err != nil {
		g.node.net.Fatalf("%s: send to a group: %v", g.node.Name, err)
	}
	return g.sent
}

// Received returns the numbers of the datagrams that came from a source since the last call, in
// the order in which they came.
func (g *GroupSocket) Received(from netip.Addr) []uint32 {
	g.node.net.Helper()
	var numbers []uint32
	buf := make([]byte, 16)
	for {
		n, source, err := unix.Recvfrom(g.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return numbers
		}
		if err != nil {
			g.node.net.Fatalf("%s: receive from a group: %v", g.node.Name, err)
		}
		at, ok := source.(*unix.SockaddrInet4)
		if ok && n == 4 && netip.AddrFrom4(at.Addr) == from {
			numbers = append(numbers, binary.BigEndian.Uint32(buf))
		}
	}
}
