package lab

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"cygnet/nhrpd/packet"
)

// etherNHRP is the protocol type of NHRP in a GRE header.
const etherNHRP = 0x2001

// NHRP is an NHRP packet that a capture on a tunnel saw.
type NHRP struct {
	packet.Packet
	At   time.Time
	Link netip.Addr // the outer source of a received packet
	Sent bool       // the captured device sent the packet; false: it received the packet
}

// NHRP returns the NHRP packets that a capture on a tunnel has seen so far: those of the given
// types, or all if no type is given. It fails the test if the capture did not keep every packet
// whole.
func (c *Capture) NHRP(types ...packet.Type) []NHRP {
	c.net.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring.take(c.add)
	if len(c.frames) == captureMax {
		c.net.Fatalf("capture: %d frames are all that is kept, so there may be more NHRP packets",
			captureMax)
	}
	var list []NHRP
	for _, f := range c.frames {
		if swap(f.from.Protocol) != etherNHRP {
			continue
		}
		p := NHRP{At: f.at, Sent: f.from.Pkttype == unix.PACKET_OUTGOING}
		p.Link, _ = netip.AddrFromSlice(f.from.Addr[:min(int(f.from.Halen), len(f.from.Addr))])
		if err := p.Parse(f.data); err != nil {
			c.net.Fatalf("capture: an NHRP packet of %d bytes, of which %d are kept: %v",
				f.length, len(f.data), err)
		}
		if len(types) == 0 || slices.Contains(types, p.Type) {
			list = append(list, p)
		}
	}
	return list
}
