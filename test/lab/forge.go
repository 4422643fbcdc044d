package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Forgery is a GRE packet without IPsec whose source address may be any.
type Forgery struct {
	From, To netip.Addr
	Key      uint32
	Protocol uint16 // type of the payload: 0x0800 data, 0x2001 NHRP
	Payload  []byte
}

// Forger sends forgeries in turn, over and over, until Stop or the end of the network. In a
// capture, Packet.Ether tells the Forger's packets from others.
type Forger struct {
	stop  chan struct{}
	ended sync.WaitGroup
	close func() // may be called any number of times
	sent  int
}

// Forge starts to send forgeries from the node, one per interval. All are of one IP version.
func (n *Node) Forge(interval time.Duration, forgeries ...Forgery) *Forger {
	n.net.Helper()
	f := &Forger{stop: make(chan struct{})}
	family := unix.AF_INET
	if len(forgeries) > 0 && forgeries[0].To.Is6() {
		family = unix.AF_INET6
	}
	var fd int
	err := n.Inside(func() (err error) {
		// With IPPROTO_RAW the kernel sends the IP header that it is given.
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		n.net.Fatalf("forge on %s: %v", n.Name, err)
	}
	f.close = sync.OnceFunc(func() { endTraffic(f.stop, &f.ended, fd) })
	f.ended.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				g := forgeries[f.sent%len(forgeries)]
				if unix.Sendto(fd, g.packet(), 0, g.destination()) == nil {
					f.sent++
				}
			}
		}
	})
	n.net.forgers = append(n.net.forgers, f)
	return f
}

// packet returns the packet, from its IP header on.
func (g Forgery) packet() []byte {
	gre := append(greHeader(g.Key, g.Protocol), g.Payload...)
	if g.To.Is6() {
		return ipv6(g.From, g.To, unix.IPPROTO_GRE, gre)
	}
	return IPv4(g.From, g.To, unix.IPPROTO_GRE, gre)
}

// destination returns the address to send the packet to.
func (g Forgery) destination() unix.Sockaddr {
	if g.To.Is6() {
		return &unix.SockaddrInet6{Addr: g.To.As16()}
	}
	return &unix.SockaddrInet4{Addr: g.To.As4()}
}

// ipv6 returns an IPv6 packet with this payload.
func ipv6(from, to netip.Addr, next uint8, payload []byte) []byte {
	src, dst := from.As16(), to.As16()
	h := []byte{0x60, 0, 0, 0}
	h = binary.BigEndian.AppendUint16(h, uint16(len(payload)))
	h = append(h, next, 64)
	return slices.Concat(h, src[:], dst[:], payload)
}

// IPv4 returns an IPv4 packet with this payload.
func IPv4(from, to netip.Addr, protocol uint8, payload []byte) []byte {
	src, dst := from.As4(), to.As4()
	h := []byte{0x45, 0}
	h = binary.BigEndian.AppendUint16(h, uint16(20+len(payload)))
	h = append(h, 0, 0, 0, 0, 64, protocol, 0, 0)
	h = append(append(h, src[:]...), dst[:]...)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, payload...)
}

// Stop ends the sending and returns how many packets the Forger sent.
func (f *Forger) Stop() int {
	f.close()
	return f.sent
}

// Ether returns the Ethernet address of a device of the node.
func (n *Node) Ether(device string) [6]byte {
	n.net.Helper()
	var link *net.Interface
	if err := n.Inside(func() (err error) {
		link, err = net.InterfaceByName(device)
		return err
	}); err != nil || len(link.HardwareAddr) != 6 {
		n.net.Fatalf("the Ethernet address of %s of %s: %v", device, n.Name, err)
	}
	return [6]byte(link.HardwareAddr)
}
