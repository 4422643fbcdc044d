package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wire is a packet socket on the generator's end of the underlay. It sends and receives complete
// frames in batches.
type wire struct {
	fd      int
	head    [ethernetLen]byte
	headers [wireBatch]messageHeader
	vectors [wireBatch]unix.Iovec
	buffers [wireBatch][2048]byte
	control [wireBatch][64]byte
}

const (
	wireBatch   = 256
	ethernetLen = 14
	ipLen       = 20
	greLen      = 4
	headLen     = ethernetLen + ipLen + greLen
	protoNHRP   = 0x2001
	protoIPv4   = 0x0800
)

// messageHeader is struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	length uint32
	_      [4]byte
}

// frame is a received GRE packet without its headers.
type frame struct {
	to      netip.Addr // outer destination address
	kind    uint16     // protocol number in the GRE header
	payload []byte     // valid until the next receive
	at      time.Time  // when the kernel received it
}

func openWire(mac net.HardwareAddr) (*wire, error) {
	link, err := net.InterfaceByName(genDevice)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	w := &wire{fd: fd}
	copy(w.head[:], mac)
	copy(w.head[6:], link.HardwareAddr)
	binary.BigEndian.PutUint16(w.head[12:], unix.ETH_P_IP)
	for _, err := range []error{
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		// ETH_P_IP in network byte order
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 8, Ifindex: link.Index}),
	} {
		if err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set up the packet socket on %s: %w", genDevice, err)
		}
	}
	return w, nil
}

func (w *wire) close() { unix.Close(w.fd) }

// frame puts Ethernet, IP and GRE headers in front of a payload.
func (w *wire) frame(from netip.Addr, kind uint16, payload []byte) []byte {
	b := make([]byte, headLen, headLen+len(payload))
	copy(b, w.head[:])
	ip := b[ethernetLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_GRE
	binary.BigEndian.PutUint16(ip[2:], uint16(ipLen+greLen+len(payload)))
	src, dst := from.As4(), hubNBMA.As4()
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipLen]))
	binary.BigEndian.PutUint16(ip[ipLen+2:], kind)
	return append(b, payload...)
}

// checksum returns the Internet checksum of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// send sends all frames.
func (w *wire) send(frames [][]byte) error {
	for len(frames) > 0 {
		n := min(len(frames), wireBatch)
		for i, f := range frames[:n] {
			w.vectors[i].Base = &f[0]
			w.vectors[i].SetLen(len(f))
			w.headers[i] = messageHeader{Msghdr: unix.Msghdr{Iov: &w.vectors[i], Iovlen: 1}}
		}
		done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(w.fd),
			uintptr(unsafe.Pointer(&w.headers[0])), uintptr(n), 0, 0, 0)
		if errno == unix.EAGAIN || errno == unix.ENOBUFS || errno == unix.EINTR {
			w.wait(time.Millisecond)
			continue
		}
		if errno != 0 {
			return fmt.Errorf("send: %w", errno)
		}
		frames = frames[done:]
	}
	return nil
}

// wait waits until something can be read. It reports false if the time is over.
func (w *wire) wait(d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(d); ; {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll(fds, int((left + time.Millisecond - 1).Milliseconds()))
		if err != unix.EINTR || left == 0 { // the Go runtime's signals interrupt system calls
			return n > 0 && err == nil
		}
	}
}

// receive calls f with the GRE packets that have arrived. It returns when there are no more.
func (w *wire) receive(f func(frame)) error {
	for {
		for i := range w.headers {
			w.vectors[i].Base = &w.buffers[i][0]
			w.vectors[i].SetLen(len(w.buffers[i]))
			w.headers[i] = messageHeader{
				Msghdr: unix.Msghdr{Iov: &w.vectors[i], Iovlen: 1, Control: &w.control[i][0]},
			}
			w.headers[i].SetControllen(len(w.control[i]))
		}
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(w.fd),
			uintptr(unsafe.Pointer(&w.headers[0])), wireBatch, 0, 0, 0)
		switch {
		case errno == unix.EAGAIN:
			return nil
		case errno == unix.EINTR || errno == unix.ENETDOWN:
			continue
		case errno != 0:
			return fmt.Errorf("receive: %w", errno)
		}
		for i := range n {
			h := &w.headers[i]
			data := w.buffers[i][:min(int(h.length), len(w.buffers[i]))]
			if len(data) < headLen || data[ethernetLen] != 0x45 ||
				data[ethernetLen+9] != unix.IPPROTO_GRE {
				continue
			}
			f(frame{
				to:      netip.AddrFrom4([4]byte(data[ethernetLen+16:])),
				kind:    binary.BigEndian.Uint16(data[ethernetLen+ipLen+2:]),
				payload: data[headLen:],
				at:      stamp(w.control[i][:h.Controllen]),
			})
		}
		if int(n) < wireBatch {
			return nil
		}
	}
}

// stamp returns the time at which the kernel received a packet.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil && len(messages) > 0 && len(messages[0].Data) >= 16 {
		data := messages[0].Data
		return time.Unix(int64(binary.NativeEndian.Uint64(data)),
			int64(binary.NativeEndian.Uint64(data[8:])))
	}
	return time.Now()
}
