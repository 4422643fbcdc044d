package nhrpsocket

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"cygnet/kernel/xfrm"
)

// ReadBatch waits until at least one packet is there, and moves the waiting packets into ms, from
// the front. It returns how many messages it filled.
//
// Data belongs to the caller. ReadBatch uses the memory of Data again, up to its capacity. It
// replaces the memory if that is too small for a usual packet or for the packet received. Calls
// with the same ms therefore allocate nothing for usual packets. After Close the error is
// net.ErrClosed.
func (s *Socket) ReadBatch(ms []Message) (int, error) {
	s.rx.mu.Lock()
	defer s.rx.mu.Unlock()
	for {
		if err := s.receive(ms); err != nil {
			return 0, err
		}
		if n := s.collect(ms); n > 0 || len(ms) == 0 {
			return n, nil
		}
	}
}

// receive reads packets from the kernel. It leaves them in the headers of s.rx, in the buffers of
// ms and in s.rests.
func (s *Socket) receive(ms []Message) error {
	t := &s.rx
	t.first, t.count = 0, min(len(ms), socketBatch)
	if t.count == 0 {
		t.done = 0
		return nil
	}
	for i := range t.count {
		if cap(ms[i].Data) < usualPacket {
			ms[i].Data = make([]byte, usualPacket)
		}
		ms[i].Data = ms[i].Data[:min(cap(ms[i].Data), MaxPacket)]
		t.vectors[i][0].Base = &ms[i].Data[0]
		t.vectors[i][0].SetLen(len(ms[i].Data))
		t.vectors[i][1].Base = &s.rests[i][0]
		t.vectors[i][1].SetLen(MaxPacket - len(ms[i].Data))
		h := &t.headers[i].Hdr
		h.Namelen = uint32(linkSize)
		h.Control = &t.control[i].bytes[0]
		h.SetControllen(controlSpace)
		h.Flags = 0
	}
	for {
		if err := s.conn.Read(t.call); err != nil {
			return s.fault(err)
		}
		switch t.errno {
		case 0:
			return nil
		case unix.ENETDOWN: // the kernel reports it once when the device goes down
		default:
			return os.NewSyscallError("recvmmsg", t.errno)
		}
	}
}

// collect moves the valid packets to the front of ms, and returns how many there are. It counts
// those that are too long or have no usable outer source.
func (s *Socket) collect(ms []Message) int {
	n := 0
	for i := range s.rx.done {
		h, link := &s.rx.headers[i], &s.rx.links[i]
		switch {
		case link.pkttype == unix.PACKET_OUTGOING || link.pkttype == unix.PACKET_OTHERHOST:
			continue
		case h.Hdr.Flags&unix.MSG_TRUNC != 0:
			s.truncated.Add(1)
			continue
		case int(link.halen) != s.length || int(h.Hdr.Namelen) < linkPrefix+s.length:
			s.badAddress.Add(1)
			continue
		}
		nbma, _ := netip.AddrFromSlice(link.addr[:s.length])
		mark := mark(s.rx.control[i].bytes[:h.Hdr.Controllen])
		// The packet of a linked peer has no outer header any more. The program at the tunnel's
		// ingress lets nobody else's packet have such a mark.
		if linked, is := xfrm.LinkedBy(mark); is {
			nbma = linked
		}
		if nbma.IsUnspecified() || nbma.IsMulticast() {
			s.badAddress.Add(1)
			continue
		}
		ms[i].Data = s.packet(ms[i].Data, i)
		ms[n].Data, ms[i].Data = ms[i].Data, ms[n].Data
		ms[n].NBMA = nbma
		ms[n].Mark = mark
		n++
	}
	return n
}

// packet returns the packet of the header with this index. Its first bytes are in data. If it is
// longer than data, the others are in s.rests.
func (s *Socket) packet(data []byte, header int) []byte {
	length := int(s.rx.headers[header].Len)
	if length <= len(data) {
		return data[:length]
	}
	return append(data, s.rests[header][:length-len(data)]...)
}

// mark returns the packet's mark, which one of its control messages holds. It returns 0 if there is
// no such message.
func mark(control []byte) uint32 {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if uint64(h.Len) < unix.SizeofCmsghdr || uint64(h.Len) > uint64(len(control)) {
			return 0
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_MARK && int(h.Len) >= unix.CmsgLen(4) {
			return *(*uint32)(unsafe.Pointer(&control[unix.CmsgLen(0)]))
		}
		control = control[min(len(control), unix.CmsgSpace(int(h.Len)-unix.CmsgLen(0))):]
	}
	return 0
}
