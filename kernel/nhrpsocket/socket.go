// Package nhrpsocket carries NHRP packets: a packet socket on a GRE tunnel that moves batches and
// knows the sender's NBMA address. It also overhears packets that show a peer's other idea of
// IPsec.
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

// MaxPacket is the longest packet that a Socket receives, in bytes. It is more than the MTU of a
// tunnel over an underlay with jumbo frames leaves; a longer packet is dropped and counted.
const MaxPacket = 9216

const (
	usualPacket  = 512      // bytes that have room in the memory of every message: hardly any packet is longer
	socketBatch  = 128      // messages that one system call moves
	socketBuffer = 16 << 20 // bytes; a burst of registrations must fit
	controlSpace = 64       // bytes for the control messages of a packet; the mark takes 24
	linkSize     = int(unsafe.Sizeof(linkAddress{}))
	linkPrefix   = int(unsafe.Offsetof(linkAddress{}.addr))
)

// Message is a packet of the tunnel's protocol, received from or to be sent to an NBMA address.
type Message struct {
	NBMA netip.Addr // outer source or destination: IPv4 on a gre device, IPv6 on an ip6gre device
	Data []byte     // the packet without the GRE header
	Mark uint32     // received: the packet's mark, such as the inbound SA's; 0 before Linux 5.19. Not used when sending
}

// Stats counts what a Socket dropped since it was opened.
type Stats struct {
	Overflow   uint64 // by the kernel, because the receive buffer was full
	Truncated  uint64 // longer than MaxPacket
	BadAddress uint64 // without a usable outer source
}

// Socket exchanges the packets of one link-layer protocol with the peers of one tunnel device. One
// goroutine may read while another writes and others ask for statistics. It sees only packets that
// arrive on the device. When the device goes down the socket rests and works on once the device is
// up; after the device is deleted nothing arrives any more.
type Socket struct {
	file     *os.File
	conn     syscall.RawConn
	index    int32
	protocol uint16 // network byte order
	length   int    // bytes of the device's link-layer addresses
	buffer   int
	closed   atomic.Bool

	overflow, truncated, badAddress atomic.Uint64

	rx, tx transfer
	rests  *[socketBatch][MaxPacket - usualPacket]byte // of packets received that are longer than usual; its pages are not there before
}

// linkAddress is struct sockaddr_ll with room for an IPv6 address, which the one of the system
// libraries lacks.
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

// transfer is what one direction hands to the kernel, kept so that no packet costs an allocation.
type transfer struct {
	mu      sync.Mutex
	headers [socketBatch]unix.Mmsghdr
	vectors [socketBatch][2]unix.Iovec
	links   [socketBatch]linkAddress
	control [socketBatch]controlBuffer

	first, count int // the headers to move
	done         int
	errno        syscall.Errno
	call         func(fd uintptr) bool
}

// Listen opens a socket for a link-layer protocol, such as NHRP's 0x2001, on the tunnel device with
// that interface index, in the network namespace of the calling thread. It needs CAP_NET_RAW, and
// CAP_NET_ADMIN for its large receive buffer.
func Listen(index int, protocol uint16) (*Socket, error) {
	s, err := listenPacket(index, protocol)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open packet socket on interface %d: %w (the daemon needs CAP_NET_RAW)", index, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open packet socket on interface %d: %w", index, err)
	}
	return s, nil
}

func listenPacket(index int, protocol uint16) (*Socket, error) {
	// Without a protocol nothing arrives until bind names both protocol and device.
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

func (s *Socket) setUp(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer); err != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	buffer, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_RCVBUF", err)
	}
	s.buffer = buffer
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVMARK, 1); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return os.NewSyscallError("setsockopt SO_RCVMARK", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: s.protocol, Ifindex: int(s.index)}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return s.checkDevice(fd)
}

// checkDevice learns the length of the device's addresses: the kernel takes shorter and longer ones
// for good.
func (s *Socket) checkDevice(fd int) error {
	var name linkAddress
	size := uint32(linkSize)
	_, _, errno := unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return os.NewSyscallError("getsockname", errno)
	}
	switch {
	case name.hatype == unix.ARPHRD_IPGRE && name.halen == 4, name.hatype == unix.ARPHRD_IP6GRE && name.halen == 16:
		s.length = int(name.halen)
		return nil
	}
	return fmt.Errorf("the device is not a gre or ip6gre tunnel: hardware type %d, addresses of %d bytes", name.hatype, name.halen)
}

// Buffer returns the size of the receive buffer that the kernel granted, in bytes as the kernel
// accounts them: a packet takes its length and several hundred bytes. A small value means that
// net.core.rmem_max limits it because CAP_NET_ADMIN is missing.
func (s *Socket) Buffer() int { return s.buffer }

// Stats returns what was dropped so far.
func (s *Socket) Stats() (Stats, error) {
	var stats *unix.TpacketStats
	var err error
	// The kernel sets its counter back with each reading.
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

func (s *Socket) stats() Stats {
	return Stats{Overflow: s.overflow.Load(), Truncated: s.truncated.Load(), BadAddress: s.badAddress.Load()}
}

// Close closes the socket. Calls under way return net.ErrClosed.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	return s.file.Close()
}

// fault names the reason for which the runtime refused to wait or to call.
func (s *Socket) fault(err error) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// prepare ties the parts of each header together, so many vectors with each, and sets the call to
// make.
//
// The call is raw: with MSG_DONTWAIT it never waits, and Go's scheduler need not know of it. Where
// the process was idle, to tell the scheduler of a system call wakes the runtime's monitor thread,
// which then looks after this one every 20 µs. That is more system calls than a packet that comes
// alone takes otherwise.
func (t *transfer) prepare(trap uintptr, vectors int) {
	for i := range t.headers {
		h := &t.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&t.links[i]))
		h.Iov = &t.vectors[i][0]
		h.SetIovlen(vectors)
	}
	t.call = func(fd uintptr) bool {
		for {
			n, _, errno := unix.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(&t.headers[t.first])), uintptr(t.count), unix.MSG_DONTWAIT, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			t.done, t.errno = int(n), errno
			return errno != unix.EAGAIN
		}
	}
}

// SyscallConn returns the socket's raw connection. Reading from it takes packets away from
// ReadBatch.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return s.conn, nil }
