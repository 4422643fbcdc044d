package lab

import (
	"bufio"
	"encoding/binary"
	"math"
	"os"
)

// cookedLength is the length of the header that precedes each packet of a Linux cooked capture.
const cookedLength = 16

// WritePcap writes what the capture has seen so far to a pcap file, with times in nanoseconds. The
// file has the first snapLength bytes of the first captureMax frames, and NHRP packets whole.
// WritePcap returns an error if it cannot write the file.
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
	h = le.AppendUint32(h, math.MaxUint16+cookedLength)
	// Linux cooked capture: a header of its own stands for all that precedes the network header.
	h = le.AppendUint32(h, 113)
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
