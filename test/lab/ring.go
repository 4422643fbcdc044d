package lab

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is the receive ring of a packet socket (TPACKET_V2 of Linux, see
// Documentation/networking/packet_mmap.rst): memory into which the kernel writes packets, so that
// reading a packet takes no system call. In a guest, one system call for each packet cost more than
// everything else that happened to the packets.
type ring struct {
	memory []byte
	next   int // index of the slot that take reads next
}

// A ring has room for the packets that cross a device while the test waits for the processor.
const (
	ringSlots = 8192
	slotSize  = 2048 // some 70 bytes of header, then a packet; probes are as long as the MTU
	ringBlock = 64 << 10
)

// newRing makes a ring for a packet socket. The socket must not be bound yet.
func newRing(fd int) (*ring, error) {
	if err := unix.SetsockoptInt(
		fd,
		unix.SOL_PACKET,
		unix.PACKET_VERSION,
		unix.TPACKET_V2,
	); err != nil {
		return nil, fmt.Errorf("set the version of the ring: %w", err)
	}
	const size = ringSlots * slotSize
	request := unix.TpacketReq{
		Block_size: ringBlock,
		Block_nr:   size / ringBlock,
		Frame_size: slotSize,
		Frame_nr:   ringSlots,
	}
	if err := unix.SetsockoptTpacketReq(
		fd,
		unix.SOL_PACKET,
		unix.PACKET_RX_RING,
		&request,
	); err != nil {
		return nil, fmt.Errorf("make a ring of %d bytes: %w", size, err)
	}
	memory, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the ring: %w", err)
	}
	return &ring{memory: memory}, nil
}

// take calls packet for each packet that has arrived, the oldest first. The argument data is the
// first bytes of the packet from its network header on, and is valid during the call only. The
// argument length is the length of the whole packet.
func (r *ring) take(
	packet func(at time.Time, from *unix.RawSockaddrLinklayer, data []byte, length int),
) {
	for {
		slot := r.memory[r.next*slotSize : (r.next+1)*slotSize]
		h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
		if atomic.LoadUint32(&h.Status)&unix.TP_STATUS_USER == 0 {
			return
		}
		from := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&slot[headerSpace]))
		packet(
			time.Unix(int64(h.Sec), int64(h.Nsec)),
			from,
			slot[h.Net:uint32(h.Net)+h.Snaplen],
			int(h.Len),
		)
		atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % ringSlots
	}
}

// headerSpace is the size of a slot's header with its padding. The sender's address follows it.
const headerSpace = (unix.SizeofTpacket2Hdr + unix.TPACKET_ALIGNMENT - 1) &^
	(unix.TPACKET_ALIGNMENT - 1)

// close unmaps the ring's memory.
func (r *ring) close() error { return unix.Munmap(r.memory) }
