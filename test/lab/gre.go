package lab

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// SendGRE sends one GRE packet with a key from the node's own address, without a tunnel device. Any
// unauthenticated sender could send such a packet.
func (n *Node) SendGRE(to netip.Addr, key uint32, protocol uint16, payload []byte) {
	n.net.Helper()
	packet := append(greHeader(key, protocol), payload...)
	err := n.Inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_GRE)
		if err != nil {
			return fmt.Errorf("open a raw socket: %w", err)
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()})
	})
	if err != nil {
		n.net.Fatalf("send GRE from %s to %s: %v", n.Name, to, err)
	}
}
