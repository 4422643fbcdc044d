package lab

import (
	"bufio"
	"encoding/binary"
	"os"
)

// write saves the frames as a pcap file with times in nanoseconds.
func (c *Capture) write(path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
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
	h = le.AppendUint32(h, snapLength)
	h = le.AppendUint32(h, 1) // Ethernet
	w.Write(h)
	for _, p := range c.frames {
		h = le.AppendUint32(h[:0], uint32(p.at.Unix()))
		h = le.AppendUint32(h, uint32(p.at.Nanosecond()))
		h = le.AppendUint32(h, uint32(len(p.data)))
		h = le.AppendUint32(h, uint32(p.length))
		w.Write(h)
		w.Write(p.data)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
