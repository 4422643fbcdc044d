package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Capture reads all packets that cross a device. It keeps the kind of each packet and, for a pcap
// file, the first bytes of each.
type Capture struct {
	net    *Net
	name   string
	fd     int
	ended  chan struct{} // closed once run has returned
	closed chan struct{} // closed to end run

	mu      sync.Mutex
	ring    *ring
	packets []Packet
	frames  []frame
	dropped uint32 // packets for which the ring had no room
}

// frame is a packet as the pcap file has it.
type frame struct {
	at     time.Time
	from   unix.RawSockaddrLinklayer
	length int
	data   []byte
}

// snapLength is how many bytes of a data packet a capture keeps, and captureMax how many frames it
// keeps. NHRP and other GRE in clear is kept whole: probes are as long as the tunnel's MTU. The
// counts include the other frames, too.
const (
	snapLength = 256
	captureMax = 100_000
)

// Capture starts a capture on a device of the node. On a tunnel, the capture sees the inner
// packets, and Packet.Link is the outer source.
func (n *Node) Capture(device string) *Capture {
	n.net.Helper()
	return n.capture(device, nil)
}

// CaptureFrom is Capture for the IPv4 packets of one source only. The kernel filters out all other
// packets, so that a flood of them cannot fill the ring.
func (n *Node) CaptureFrom(device string, source netip.Addr) *Capture {
	n.net.Helper()
	a := source.As4()
	return n.capture(device, []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(a[:]), SkipFalse: 1},
		bpf.RetConstant{Val: 65535},
		bpf.RetConstant{Val: 0},
	})
}

// capture starts a capture of the packets that pass a filter, or of all packets if filter is nil.
func (n *Node) capture(device string, filter []bpf.Instruction) *Capture {
	n.net.Helper()
	c := &Capture{
		net:    n.net,
		name:   n.Name + "-" + device,
		ended:  make(chan struct{}),
		closed: make(chan struct{}),
	}
	if err := n.Inside(func() (err error) {
		c.fd, c.ring, err = listen(device, filter)
		return err
	}); err != nil {
		n.net.Fatalf("capture on %s of %s: %v", device, n.Name, err)
	}
	go c.run()
	n.net.captures = append(n.net.captures, c)
	return c
}

// listen opens a packet socket with a ring in the network namespace of the calling thread. The
// socket delivers packets from the network header on, so that those of Ethernet and of GRE look the
// same.
func listen(device string, filter []bpf.Instruction) (int, *ring, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return 0, nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	r, err := newRing(fd)
	if err != nil {
		unix.Close(fd)
		return 0, nil, err
	}
	err = errors.Join(
		attach(fd, filter),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ALL), Ifindex: link.Index}),
	)
	if err != nil {
		return 0, nil, errors.Join(err, r.close(), unix.Close(fd))
	}
	return fd, r, nil
}

// attach makes the kernel pass a socket only the packets that pass the filter. An empty filter
// passes all packets.
func attach(fd int, filter []bpf.Instruction) error {
	if len(filter) == 0 {
		return nil
	}
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// swap converts a protocol number between the host's byte order and the network's, either way.
func swap(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// emptied is the time after which run empties the ring again. The ring has room for many more
// packets than arrive in that time.
const emptied = 100 * time.Millisecond

// run empties the ring regularly until the capture is closed.
func (c *Capture) run() {
	defer close(c.ended)
	tick := time.NewTicker(emptied)
	defer tick.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-tick.C:
			c.mu.Lock()
			c.ring.take(c.add)
			c.mu.Unlock()
		}
	}
}

// add takes one packet from the ring.
func (c *Capture) add(at time.Time, from *unix.RawSockaddrLinklayer, data []byte, length int) {
	keep := min(len(data), snapLength)
	if swap(from.Protocol) == etherNHRP {
		keep = len(data)
	}
	if p, ok := classify(swap(from.Protocol), data); ok {
		if p.Kind == GRE {
			keep = len(data)
		}
		p.At, p.Length, p.Sent = at, length, from.Pkttype == unix.PACKET_OUTGOING
		p.Link, _ = netip.AddrFromSlice(from.Addr[:min(int(from.Halen), len(from.Addr))])
		if from.Halen == 6 {
			p.Ether = [6]byte(from.Addr[:])
		}
		c.packets = append(c.packets, p)
	}
	if len(c.frames) < captureMax {
		c.frames = append(c.frames, frame{
			at,
			*from,
			length,
			slices.Clone(data[:keep]),
		})
	}
}

// Packets returns the IP packets that the capture has seen so far and that pass all filters. It
// fails the test if the capture missed a packet.
func (c *Capture) Packets(filters ...Filter) []Packet {
	c.net.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring.take(c.add)
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

// Count returns how many packets Packets returns for the same filters.
func (c *Capture) Count(filters ...Filter) int {
	c.net.Helper()
	return len(c.Packets(filters...))
}

// close ends the capture.
func (c *Capture) close() {
	close(c.closed)
	<-c.ended
	if err := errors.Join(c.ring.close(), unix.Close(c.fd)); err != nil {
		c.net.Errorf("close the capture on %s: %v", c.name, err)
	}
}

// Filter reports whether a packet of a capture is among those that a caller wants.
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

// Between passes packets between two addresses, in both directions.
func Between(a, b netip.Addr) Filter {
	return func(p Packet) bool { return p.Src == a && p.Dst == b || p.Src == b && p.Dst == a }
}

// From passes packets with this source.
func From(a netip.Addr) Filter { return func(p Packet) bool { return p.Src == a } }

// To passes packets with this destination.
func To(a netip.Addr) Filter { return func(p Packet) bool { return p.Dst == a } }

// Since passes packets that the capture saw at t or later.
func Since(t time.Time) Filter { return func(p Packet) bool { return !p.At.Before(t) } }
