package lab

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is a packet socket's receive ring (TPACKET_V2 of Linux, Documentation/networking/packet_mmap.rst):
// memory that the kernel writes packets into, so that reading one takes no system call. In a guest a
// system call for each packet cost more than everything that the packets went through.
type ring struct {
	memory []byte
	next   int // the slot that the kernel fills next
}

// A ring has room for what crosses a device while the test waits for the processor.
const (
	ringSlots = 8192
	slotSize  = 512 // a packet's first bytes, behind some 70 of header
	ringBlock = 64 << 10
)

// newRing gives a packet socket, which is not bound yet, a ring.
func newRing(fd int) (*ring, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return nil, fmt.Errorf("set the version of the ring: %w", err)
	}
	const size = ringSlots * slotSize
	request := unix.TpacketReq{Block_size: ringBlock, Block_nr: size / ringBlock,
		Frame_size: slotSize, Frame_nr: ringSlots}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return nil, fmt.Errorf("make a ring of %d bytes: %w", size, err)
	}
	memory, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the ring: %w", err)
	}
	return &ring{memory: memory}, nil
}

// take calls packet for each packet that has arrived, oldest first. The data is the first bytes from the
// network header on, and valid during the call; length is that of the whole packet.
func (r *ring) take(packet func(at time.Time, from *unix.RawSockaddrLinklayer, data []byte, length int)) {
	for {
		slot := r.memory[r.next*slotSize : (r.next+1)*slotSize]
		h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
		if atomic.LoadUint32(&h.Status)&unix.TP_STATUS_USER == 0 {
			return
		}
		from := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&slot[headerSpace]))
		packet(time.Unix(int64(h.Sec), int64(h.Nsec)), from, slot[h.Net:uint32(h.Net)+h.Snaplen], int(h.Len))
		atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % ringSlots
	}
}

// headerSpace is the size of a slot's header, aligned: the sender's address follows.
const headerSpace = (unix.SizeofTpacket2Hdr + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)

func (r *ring) close() error { return unix.Munmap(r.memory) }
