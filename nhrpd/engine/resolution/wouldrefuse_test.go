package resolution

import (
	"testing"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// This router indicates a shorter way only if the other router's question for it could have a
// positive answer.
func TestWouldRefuse(t *testing.T) {
	from := addr(spoke1NBMA)
	ahead := neighbors.Path{Peer: peerid.At(addr(spoke2NBMA))}
	back := neighbors.Path{Peer: peerid.At(from)}
	backByNHS := neighbors.Path{Peer: peerid.At(from), ByNHS: true}
	for _, tt := range []struct {
		name  string
		dest  string
		way   neighbors.Path
		fault neighbors.PathError
		why   overlay.DropReason
		is    bool
	}{
		{"another router is the way", "172.16.2.10", ahead, neighbors.PathOK, 0, false},
		{
			"an NHS knows more", "172.16.2.10",
			neighbors.Path{Peer: peerid.At(addr(upperNBMA)), ByNHS: true},
			neighbors.PathOK, 0, false,
		},
		{"there is no route", "172.16.2.10", neighbors.Path{}, neighbors.PathNoRoute,
			overlay.DropUnreachable, true},
		{"this router is the answer", "172.16.0.10", neighbors.Path{}, neighbors.PathElsewhere,
			overlay.DropUnreachable, true},
		{"nobody has the next hop", "172.16.7.10", neighbors.Path{}, neighbors.PathNoBinding,
			overlay.DropNoBinding, true},
		{"the way leads back", "172.16.1.10", back, neighbors.PathOK, overlay.DropLoop, true},
		{"the NHS sent the packet here", "172.16.2.10", backByNHS, neighbors.PathOK,
			overlay.DropNoBinding, true},
		{"a multicast", "224.0.0.5", ahead, neighbors.PathOK, overlay.DropUnreachable, true},
		{"a broadcast", "255.255.255.255", ahead, neighbors.PathOK, overlay.DropUnreachable, true},
	} {
		why, is := wouldRefuse(peerid.At(from), addr(tt.dest), tt.way, tt.fault)
		if is != tt.is || is && why != tt.why {
			t.Errorf("%s: refused %t (%s), want %t (%s)", tt.name, is, why, tt.is, tt.why)
		}
	}
}
