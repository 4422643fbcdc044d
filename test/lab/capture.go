package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Capture reads all frames that cross a device, keeps what kind of packet each was, and the first bytes of all of them for
// a pcap file.
type Capture struct {
	net    *Net
	fd     int
	ended  chan struct{}
	closed chan struct{}

	mu      sync.Mutex
	buf     []byte
	oob     []byte
	packets []Packet
	frames  []frame
	dropped uint32
	err     error
}

// frame is what goes into the pcap file.
type frame struct {
	at     time.Time
	length int
	data   []byte
}

// snapLength bounds what is kept of each frame, captureMax how many frames are kept; all of them are counted.
const (
	snapLength = 256
	captureMax = 100_000
)

func newCapture(n *Net, node *Node, device string) *Capture {
	n.Helper()
	c := &Capture{net: n, ended: make(chan struct{}), closed: make(chan struct{}), buf: make([]byte, 65536), oob: make([]byte, 256)}
	if err := node.inside(func() (err error) {
		c.fd, err = listen(device)
		return err
	}); err != nil {
		n.Fatalf("capture on %s: %v", device, err)
	}
	go c.run()
	return c
}

// listen opens a packet socket in the thread's network namespace.
func listen(device string) (int, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return 0, err
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: link.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func (c *Capture) run() {
	defer close(c.ended)
	for {
		select {
		case <-c.closed:
			return
		default:
		}
		fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); n > 0 && err == nil {
			c.mu.Lock()
			c.drain()
			c.mu.Unlock()
		}
	}
}

// drain reads all that has arrived.
func (c *Capture) drain() {
	for {
		n, oobn, _, _, err := unix.Recvmsg(c.fd, c.buf, c.oob, unix.MSG_TRUNC)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			if !errors.Is(err, unix.EAGAIN) && c.err == nil {
				c.err = err
			}
			return
		}
		c.add(stamp(c.oob[:oobn]), c.buf[:min(n, len(c.buf))], n)
	}
}

// stamp is the kernel's time of reception.
func stamp(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}

func (c *Capture) add(at time.Time, data []byte, length int) {
	if p, ok := classify(data); ok {
		p.At, p.Length = at, length
		c.packets = append(c.packets, p)
	}
	if len(c.frames) < captureMax {
		c.frames = append(c.frames, frame{at, length, append([]byte(nil), data[:min(len(data), snapLength)]...)})
	}
}

// Packets returns the IP packets seen so far that pass all filters. It fails the test if the capture missed any.
func (c *Capture) Packets(filters ...Filter) []Packet {
	c.net.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drain()
	if c.err != nil {
		c.net.Fatalf("capture: %v", c.err)
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		c.net.Fatalf("capture: %v", err)
	}
	if c.dropped += stats.Drops; c.dropped > 0 {
		c.net.Fatalf("capture: missed %d packets, so its counts prove nothing", c.dropped)
	}
	var list []Packet
next:
	for _, p := range c.packets {
		for _, pass := range filters {
			if !pass(p) {
				continue next
			}
		}
		list = append(list, p)
	}
	return list
}

// Count is the number of Packets.
func (c *Capture) Count(filters ...Filter) int {
	c.net.Helper()
	return len(c.Packets(filters...))
}

func (c *Capture) close() {
	close(c.closed)
	<-c.ended
	unix.Close(c.fd)
}

// Filter chooses packets of a capture.
type Filter func(Packet) bool

// OfKind passes packets of one of these kinds.
func OfKind(kinds ...Kind) Filter {
	return func(p Packet) bool {
		for _, k := range kinds {
			if p.Kind == k {
				return true
			}
		}
		return false
	}
}

// Between passes packets between two addresses, either way.
func Between(a, b netip.Addr) Filter {
	return func(p Packet) bool { return p.Src == a && p.Dst == b || p.Src == b && p.Dst == a }
}

// From passes packets with this source.
func From(a netip.Addr) Filter { return func(p Packet) bool { return p.Src == a } }

// To passes packets with this destination.
func To(a netip.Addr) Filter { return func(p Packet) bool { return p.Dst == a } }

// Since passes packets that were seen at t or later.
func Since(t time.Time) Filter { return func(p Packet) bool { return !p.At.Before(t) } }
