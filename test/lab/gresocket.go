package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// GRESocket sends and receives GRE packets of a node that needs no tunnel for them, from any of the
// node's addresses. IPsec applies to these packets as to those of a tunnel. One goroutine may send
// while another receives.
type GRESocket struct {
	fd  int
	key uint32
}

// GRESocket opens a socket for GRE packets with a key. The socket ends with the network.
func (n *Node) GRESocket(key uint32) *GRESocket {
	n.net.Helper()
	s := &GRESocket{key: key}
	err := n.Inside(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE)
		return err
	})
	if err == nil {
		err = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
			&unix.Timeval{Usec: 100_000})
	}
	if err != nil {
		n.net.Fatalf("%s: open a GRE socket: %v", n.Name, err)
	}
	n.net.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// Send sends a payload in one GRE packet. It returns an error if the kernel does not take the
// packet.
func (s *GRESocket) Send(from, to netip.Addr, protocol uint16, payload []byte) error {
	source := &unix.Inet4Pktinfo{Spec_dst: from.As4()}
	packet := append(greHeader(s.key, protocol), payload...)
	if _, err := unix.SendmsgN(
		s.fd,
		packet,
		unix.PktInfo4(source),
		&unix.SockaddrInet4{Addr: to.As4()},
		0,
	); err != nil {
		return fmt.Errorf("send GRE from %s to %s: %w", from, to, err)
	}
	return nil
}

// Receive waits up to 0.1 s for a packet with the socket's key. It returns false if no packet came,
// or one without that key.
func (s *GRESocket) Receive(buf []byte) (
	from, to netip.Addr, protocol uint16, payload []byte, ok bool,
) {
	n, _, err := unix.Recvfrom(s.fd, buf, 0)
	if err != nil || n < 28 {
		return
	}
	header := int(buf[0]&15) * 4
	if n < header+8 || buf[header]&0x20 == 0 || binary.BigEndian.Uint32(buf[header+4:]) != s.key {
		return
	}
	return netip.AddrFrom4([4]byte(buf[12:])),
		netip.AddrFrom4([4]byte(buf[16:])),
		binary.BigEndian.Uint16(buf[header+2:]),
		buf[header+8 : n],
		true
}

// greHeader returns a GRE header with a key.
func greHeader(key uint32, protocol uint16) []byte {
	h := []byte{0x20, 0}
	h = binary.BigEndian.AppendUint16(h, protocol)
	return binary.BigEndian.AppendUint32(h, key)
}
