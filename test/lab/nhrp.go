package lab

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"cygnet/nhrpd/packet"
)

// etherNHRP is NHRP's number among the payloads of GRE.
const etherNHRP = 0x2001

// NHRP is an NHRP packet that a capture on a tunnel saw.
type NHRP struct {
	packet.Packet
	At   time.Time
	Link netip.Addr // of a received packet the outer source
	Sent bool       // by the device that the capture is on, not received
}

// NHRP returns the NHRP packets of these types, or of all, that a capture on a tunnel saw so far. It fails the test where it did not keep
// all of them, whole.
func (c *Capture) NHRP(types ...packet.Type) []NHRP {
	c.net.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring.take(c.add)
	if len(c.frames) == captureMax {
		c.net.Fatalf("capture: %d frames are all that is kept, so there may be more NHRP packets", captureMax)
	}
	var list []NHRP
	for _, f := range c.frames {
		if swap(f.from.Protocol) != etherNHRP {
			continue
		}
		p := NHRP{At: f.at, Sent: f.from.Pkttype == unix.PACKET_OUTGOING}
		p.Link, _ = netip.AddrFromSlice(f.from.Addr[:min(int(f.from.Halen), len(f.from.Addr))])
		if err := p.Parse(f.data); err != nil {
			c.net.Fatalf("capture: an NHRP packet of %d bytes, of which %d are kept: %v", f.length, len(f.data), err)
		}
		if len(types) == 0 || slices.Contains(types, p.Type) {
			list = append(list, p)
		}
	}
	return list
}
