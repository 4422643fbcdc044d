// Package nhrpsocket sends and receives NHRP packets (RFC 2332) through a packet socket on a GRE
// tunnel. The socket moves packets in batches and gives each received packet its sender's NBMA
// address. The package also overhears packets which show that a peer has other IPsec settings.
package nhrpsocket

import (
	"cygnet/kernel/rtnl"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxPacket is the size in bytes of the longest packet that a Socket receives. It is larger than
// the MTU of a tunnel over an underlay with jumbo frames. A Socket drops and counts longer packets.
const MaxPacket = 9216

const (
	// usualPacket is the least size in bytes of a message's memory. Hardly any packet is longer.
	usualPacket = 512

	socketBatch  = 128      // the most messages that one system call moves
	socketBuffer = 16 << 20 // receive buffer in bytes: a burst of registrations must fit
	controlSpace = 64       // bytes for the control messages of a packet; the mark takes 24
	linkSize     = int(unsafe.Sizeof(linkAddress{}))
	linkPrefix   = int(unsafe.Offsetof(linkAddress{}.addr)) // bytes before the address itself
)

// Message is a packet of the socket's protocol that was received from an NBMA address, or is to be
// sent to one.
type Message struct {
	NBMA netip.Addr // outer source or destination: IPv4 on a gre device, IPv6 on an ip6gre device
	Data []byte     // the packet without the GRE header

	// Mark is the mark of a received packet, such as the mark that its inbound SA set. It is 0
	// before Linux 5.19. WriteBatch ignores it.
	Mark uint32
}

// Stats counts the packets that a Socket dropped since it was opened.
type Stats struct {
	Overflow   uint64 // dropped by the kernel, because the receive buffer was full
	Truncated  uint64 // longer than MaxPacket
	BadAddress uint64 // without a usable outer source
}

// Socket exchanges the packets of one link-layer protocol with the peers of one tunnel device. One
// goroutine may read while another writes and others ask for statistics. The Socket receives only
// packets that arrive on the device. While the device is down, nothing arrives; the Socket works
// again once the device is up. After the device is deleted, nothing arrives any more.
type Socket struct {
	file     *os.File
	conn     syscall.RawConn
	index    int32
	protocol uint16 // network byte order
	length   int    // of the device's link-layer addresses, in bytes
	buffer   int    // see Buffer
	closed   atomic.Bool

	overflow, truncated, badAddress atomic.Uint64

	rx, tx transfer

	// rests holds the ends of received packets that are longer than usual. The operating system
	// provides its pages only when such packets arrive.
	rests *[socketBatch][MaxPacket - usualPacket]byte
}

// linkAddress is struct sockaddr_ll with room for an IPv6 address. The struct of the system
// libraries has room for 8 bytes only.
type linkAddress struct {
	family   uint16
	protocol uint16
	ifindex  int32
	hatype   uint16
	pkttype  uint8
	halen    uint8
	addr     [16]byte
}

// controlBuffer is aligned as control messages must be.
type controlBuffer struct {
	_     [0]uint64
	bytes [controlSpace]byte
}

// transfer holds the arguments of the system calls of one direction. They are allocated once, so
// that no packet costs an allocation.
type transfer struct {
	mu      sync.Mutex
	headers [socketBatch]unix.Mmsghdr
	vectors [socketBatch][2]unix.Iovec
	links   [socketBatch]linkAddress
	control [socketBatch]controlBuffer

	first, count int                   // the headers that the next call moves
	done         int                   // how many headers the last call moved
	errno        syscall.Errno         // of the last call
	call         func(fd uintptr) bool // see prepare
}

// Listen opens a Socket for a link-layer protocol, such as NHRP's 0x2001, on the tunnel device with
// this interface index. It looks for the device in the network namespace of the calling thread. It
// needs CAP_NET_RAW, and CAP_NET_ADMIN for its large receive buffer.
func Listen(index int, protocol uint16) (*Socket, error) {
	s, err := listenPacket(index, protocol)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open packet socket on interface %d: %w (the daemon needs CAP_NET_RAW)",
			index, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open packet socket on interface %d: %w", index, err)
	}
	return s, nil
}

// listenPacket is Listen without the explanation of errors.
func listenPacket(index int, protocol uint16) (*Socket, error) {
	// The socket is opened without a protocol, so that no packet of another device arrives before
	// bind names both the protocol and the device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &Socket{index: int32(index), protocol: rtnl.NetworkOrder(protocol)}
	if err := s.setUp(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s.file = os.NewFile(uintptr(fd), "nhrp")
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	s.rests = new([socketBatch][MaxPacket - usualPacket]byte)
	s.rx.prepare(unix.SYS_RECVMMSG, 2)
	s.tx.prepare(unix.SYS_SENDMMSG, 1)
	return s, nil
}

// setUp sets the options of the socket and binds it to the protocol and the device.
func (s *Socket) setUp(fd int) error {
	if err := unix.SetsockoptInt(
		fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer,
	); err != nil {
		if err := unix.SetsockoptInt(
			fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer,
		); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	buffer, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_RCVBUF", err)
	}
	s.buffer = buffer
	if err := unix.SetsockoptInt(
		fd, unix.SOL_SOCKET, unix.SO_RCVMARK, 1,
	); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return os.NewSyscallError("setsockopt SO_RCVMARK", err)
	}
	if err := unix.SetsockoptInt(
		fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1,
	); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{
		Protocol: s.protocol,
		Ifindex:  int(s.index),
	}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return s.checkDevice(fd)
}

// checkDevice checks that the device is a GRE tunnel, and sets the length of its link-layer
// addresses. The length is needed because the kernel also accepts addresses that are too short or
// too long.
func (s *Socket) checkDevice(fd int) error {
	var name linkAddress
	size := uint32(linkSize)
	_, _, errno := unix.Syscall(unix.SYS_GETSOCKNAME,
		uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return os.NewSyscallError("getsockname", errno)
	}
	switch {
	case name.hatype == unix.ARPHRD_IPGRE && name.halen == 4,
		name.hatype == unix.ARPHRD_IP6GRE && name.halen == 16:
		s.length = int(name.halen)
		return nil
	}
	return fmt.Errorf("the device is not a gre or ip6gre tunnel: hardware type %d, addresses of %d bytes",
		name.hatype, name.halen)
}

// Buffer returns the size in bytes of the receive buffer that the kernel granted. In the kernel's
// accounting a packet takes its length and several hundred bytes more. A small value means that
// net.core.rmem_max limits the buffer because CAP_NET_ADMIN is missing.
func (s *Socket) Buffer() int { return s.buffer }

// Stats returns how many packets were dropped so far.
func (s *Socket) Stats() (Stats, error) {
	var stats *unix.TpacketStats
	var err error
	// The kernel resets its counter with each reading.
	if controlErr := s.conn.Control(func(fd uintptr) {
		stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); controlErr != nil {
		return s.stats(), s.fault(controlErr)
	}
	if err != nil {
		return s.stats(), os.NewSyscallError("getsockopt PACKET_STATISTICS", err)
	}
	s.overflow.Add(uint64(stats.Drops))
	return s.stats(), nil
}

// stats returns the counters as they are.
func (s *Socket) stats() Stats {
	return Stats{
		Overflow:   s.overflow.Load(),
		Truncated:  s.truncated.Load(),
		BadAddress: s.badAddress.Load(),
	}
}

// Close closes the socket. Calls that are under way return net.ErrClosed.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	return s.file.Close()
}

// fault returns the reason why the runtime did not wait for the socket, or did not make the call:
// net.ErrClosed after Close, and otherwise err.
func (s *Socket) fault(err error) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// prepare connects each header with its address and its vectors, of which it has the given number.
// It also makes the function call, which makes the system call trap.
//
// The system call bypasses Go's scheduler, which need not know about it: with MSG_DONTWAIT it never
// waits. Telling the scheduler would cost more. If the process was idle, the scheduler wakes the
// runtime's monitor thread, which then checks on this thread every 20 µs. Those are more system
// calls than a packet that comes alone takes otherwise.
func (t *transfer) prepare(trap uintptr, vectors int) {
	for i := range t.headers {
		h := &t.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&t.links[i]))
		h.Iov = &t.vectors[i][0]
		h.SetIovlen(vectors)
	}
	t.call = func(fd uintptr) bool {
		for {
			n, _, errno := unix.RawSyscall6(trap, fd,
				uintptr(unsafe.Pointer(&t.headers[t.first])), uintptr(t.count),
				unix.MSG_DONTWAIT, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			t.done, t.errno = int(n), errno
			return errno != unix.EAGAIN
		}
	}
}

// SyscallConn returns the socket's raw connection. ReadBatch does not get the packets that are read
// from it.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return s.conn, nil }
