package lab

import (
	"bufio"
	"encoding/binary"
	"os"
)

// cookedLength is the length of a cooked capture's header.
const cookedLength = 16

// WritePcap saves what was captured so far as a pcap file with times in nanoseconds: the first bytes of the first frames, which
// is all of every NHRP packet of a scenario's length.
func (c *Capture) WritePcap(path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring.take(c.add)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	le := binary.LittleEndian
	var h []byte
	h = le.AppendUint32(h, 0xa1b23c4d)
	h = le.AppendUint16(h, 2)
	h = le.AppendUint16(h, 4)
	h = le.AppendUint64(h, 0)
	h = le.AppendUint32(h, snapLength+cookedLength)
	h = le.AppendUint32(h, 113) // Linux cooked capture: what is before the network header is in a header of its own
	w.Write(h)
	for _, p := range c.frames {
		h = le.AppendUint32(h[:0], uint32(p.at.Unix()))
		h = le.AppendUint32(h, uint32(p.at.Nanosecond()))
		h = le.AppendUint32(h, uint32(len(p.data)+cookedLength))
		h = le.AppendUint32(h, uint32(p.length+cookedLength))
		h = binary.BigEndian.AppendUint16(h, uint16(p.from.Pkttype))
		h = binary.BigEndian.AppendUint16(h, p.from.Hatype)
		h = binary.BigEndian.AppendUint16(h, uint16(p.from.Halen))
		h = append(h, p.from.Addr[:]...)
		h = binary.BigEndian.AppendUint16(h, swap(p.from.Protocol))
		w.Write(h)
		w.Write(p.data)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
