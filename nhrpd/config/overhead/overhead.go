// Package overhead computes what GRE and IPsec add to a packet of a tunnel in the underlay, and so
// the longest packet that leaves in one piece.
package overhead

import "cygnet/vici/swanctl"

// The headers around a packet in the underlay, in bytes.
const (
	outerIPv4 = 20
	outerIPv6 = 40
	greHeader = 4
	greKey    = 4
	udpHeader = 8 // of UDP encapsulation (RFC 3948)
	espHeader = 8 // SPI and sequence number
	espTail   = 2 // padding length and next header
)

// Tunnel is what the headers of a tunnel depend on.
type Tunnel struct {
	OverIPv6  bool // the underlay is IPv6, which has no NAT
	Keyed     bool // GRE has a key
	Protected bool // by IPsec
	// ESPProposals are those of the SAs that carry GRE; none: strongSwan's default
	ESPProposals []string
}

// Overhead is what stands around a packet of the tunnel in the underlay.
type Overhead struct {
	outer int               // the IP header of the underlay, and UDP's for NAT
	gre   int               // GRE's header
	esp   []swanctl.ESPSize // of all SAs that there may be; empty: no IPsec
}

// Of returns what stands around a packet of a tunnel. With IPsec over IPv4 that includes UDP
// encapsulation, so that it is the same before and behind NAT.
func Of(t Tunnel) Overhead {
	o := Overhead{outer: outerIPv4, gre: greHeader}
	if t.Keyed {
		o.gre += greKey
	}
	if t.Protected {
		o.outer += udpHeader
		o.esp = swanctl.ESPSizes(t.ESPProposals)
	}
	if t.OverIPv6 {
		o.outer = outerIPv6
	}
	return o
}

// Longest returns the length of the longest packet that leaves by the tunnel in one piece, if
// packets of the underlay have up to that many bytes. It assumes the SA that takes most.
func (o Overhead) Longest(underlay int) int {
	if len(o.esp) == 0 {
		return max(0, underlay-o.outer-o.gre)
	}
	least := underlay
	for _, e := range o.esp {
		room := underlay - o.outer - espHeader - e.IV - e.ICV
		least = min(least, room/e.Align*e.Align-espTail-o.gre)
	}
	return max(0, least)
}

// Outer returns how long a packet of the tunnel is in the underlay, under the same assumptions as
// Longest.
func (o Overhead) Outer(inner int) int {
	most := o.outer + o.gre + inner
	for _, e := range o.esp {
		data := (o.gre + inner + espTail + e.Align - 1) / e.Align * e.Align
		most = max(most, o.outer+espHeader+e.IV+data+e.ICV)
	}
	return most
}
