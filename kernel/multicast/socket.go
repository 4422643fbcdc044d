package multicast

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"cygnet/kernel/rtnl"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// maxFrame is the size in bytes of the longest packet that is replicated in user space.
	maxFrame = 65535

	// senderBatch is how many copies one system call sends.
	senderBatch = 100

	// readerBuffer is the size in bytes of the receive buffer.
	readerBuffer = 4 << 20

	// firstGroup is the first byte of the lowest address that is not one host's.
	firstGroup = 224
)

// groupReader reads what this host sends on a tunnel to an outer address that is not one peer's.
type groupReader struct {
	file   *os.File
	conn   syscall.RawConn
	closed atomic.Bool
}

// openReader opens a groupReader on the device with this index.
func openReader(index int) (*groupReader, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := setUpReader(fd, index); err != nil {
		unix.Close(fd)
		return nil, err
	}
	g := &groupReader{file: os.NewFile(uintptr(fd), "groups")}
	if g.conn, err = g.file.SyscallConn(); err != nil {
		g.file.Close()
		return nil, err
	}
	return g, nil
}

// setUpReader sets the filter before the socket is bound, so that nothing else gets in.
func setUpReader(fd, index int) error {
	filter, err := bpf.Assemble(groupFilter())
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		code[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, readerBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, readerBuffer)
	}
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{
		Protocol: rtnl.NetworkOrder(unix.ETH_P_ALL), // no other socket gets what this host sends
		Ifindex:  index,
	}))
}

// groupFilter passes what this host sends, if the first byte of its outer destination is that of no
// host. The copies are to one peer each, so they do not pass.
func groupFilter() []bpf.Instruction {
	const destination = 16
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 3},
		bpf.LoadAbsolute{Off: destination, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: firstGroup, SkipTrue: 1},
		bpf.RetConstant{Val: maxFrame},
		bpf.RetConstant{Val: 0},
	}
}

// next waits for a packet and reads it. It returns net.ErrClosed after close.
func (g *groupReader) next(buffer []byte) (n int, err error) {
	wait := g.conn.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if g.closed.Load() {
		return 0, net.ErrClosed
	}
	if wait != nil {
		return 0, wait
	}
	return n, err
}

// close makes next return.
func (g *groupReader) close() error {
	g.closed.Store(true)
	return g.file.Close()
}

// copySender sends copies of packets to peers.
type copySender struct {
	fd       int
	index    int
	messages []unix.Mmsghdr
	links    []unix.RawSockaddrLinklayer
	part     unix.Iovec // of all messages: the copies are the same
}

// openSender opens a copySender on the device with this index.
func openSender(index int) (*copySender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &copySender{fd: fd, index: index}, nil
}

// address sets the peers to send to. It leaves out those with marks, since the route look-up of
// the tunnel itself does not take a mark, and those with links, which need eBPF too.
func (c *copySender) address(peers []Peer) {
	c.links = make([]unix.RawSockaddrLinklayer, 0, len(peers))
	for _, p := range peers {
		if p.Mark != 0 || p.Link != 0 {
			continue
		}
		link := unix.RawSockaddrLinklayer{
			Family: unix.AF_PACKET, Ifindex: int32(c.index), Halen: 4,
		}
		outer := p.Outer.As4()
		copy(link.Addr[:], outer[:])
		c.links = append(c.links, link)
	}
	c.messages = make([]unix.Mmsghdr, len(c.links))
	for i := range c.messages {
		h := &c.messages[i].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.links[i])), unix.SizeofSockaddrLinklayer
		h.Iov = &c.part
		h.SetIovlen(1)
	}
}

// empty reports whether there is no peer to send to.
func (c *copySender) empty() bool { return len(c.messages) == 0 }

// send sends a packet to all peers. It returns how many copies the kernel took, and how many it
// refused.
func (c *copySender) send(kind uint16, packet []byte) (sent, refused int) {
	if c.empty() {
		return 0, 0
	}
	protocol := rtnl.NetworkOrder(kind)
	if c.links[0].Protocol != protocol {
		for i := range c.links {
			c.links[i].Protocol = protocol
		}
	}
	c.part.Base = &packet[0]
	c.part.SetLen(len(packet))
	for i := 0; i < len(c.messages); {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd),
			uintptr(unsafe.Pointer(&c.messages[i])), uintptr(min(senderBatch, len(c.messages)-i)),
			0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0: // the first one of the batch
			refused++
			i++
		default:
			sent += int(n)
			i += int(n)
		}
	}
	return sent, refused
}

// close releases the socket.
func (c *copySender) close() error { return unix.Close(c.fd) }
