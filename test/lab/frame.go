package lab

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// SendFrame sends an IP packet through a device of the node to the Ethernet address to. The
// kernel sends the packet as it is: it looks up no route and no IPsec policy for the packet.
func (n *Node) SendFrame(device string, to [6]byte, packet []byte) {
	n.net.Helper()
	err := n.Inside(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		protocol := uint16(unix.ETH_P_IP)
		if packet[0]>>4 == 6 {
			protocol = unix.ETH_P_IPV6
		}
		address := &unix.SockaddrLinklayer{
			Protocol: swap(protocol),
			Ifindex:  link.Index,
			Halen:    6,
		}
		copy(address.Addr[:], to[:])
		// The kernel returns ENOBUFS if a filter drops the packet.
		if err := unix.Sendto(fd, packet, 0, address); err != nil && err != unix.ENOBUFS {
			return err
		}
		return nil
	})
	if err != nil {
		n.net.Fatalf("send a frame by %s of %s: %v", device, n.Name, err)
	}
}

// Packet returns the packet of a forgery, from its IP header on.
func (g Forgery) Packet() []byte { return g.packet() }

// Bulk is a TCP connection over which one node sends data to another. The node writes 64 KiB at a
// time, so that the kernel makes packets of many segments.
type Bulk struct {
	net  *Net
	conn net.Conn
	done chan int64
}

// Bulk opens a TCP connection from the node to an address of another node and sends data until
// Stop. It pauses between two writes, so that it does not use the whole processor.
func (n *Node) Bulk(to *Node, address netip.Addr, pause time.Duration) *Bulk {
	n.net.Helper()
	var listener net.Listener
	if err := to.Inside(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(address, 5001).String())
		return err
	}); err != nil {
		n.net.Fatalf("listen on %s: %v", to.Name, err)
	}
	b := &Bulk{net: n.net, done: make(chan int64, 1)}
	go func() {
		var sum int64
		defer func() { b.done <- sum }()
		defer listener.Close()
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buffer := make([]byte, 64<<10)
		for {
			k, err := conn.Read(buffer)
			sum += int64(k)
			if err != nil {
				return
			}
		}
	}()
	if err := n.Inside(func() (err error) {
		b.conn, err = net.Dial("tcp", netip.AddrPortFrom(address, 5001).String())
		return err
	}); err != nil {
		listener.Close()
		n.net.Fatalf("connect from %s to %s: %v", n.Name, address, err)
	}
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			if _, err := b.conn.Write(buffer); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}()
	return b
}

// Stop ends the connection and returns how many bytes arrived.
func (b *Bulk) Stop() int64 {
	b.net.Helper()
	b.conn.Close()
	return <-b.done
}
