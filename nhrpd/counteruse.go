package nhrpd

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// counterUse finds out from the byte counters of the SAs when each peer was last used. The daemon
// needs it on kernels that do not let it watch the tunnel itself. The
// counters are read only at intervals, and they count NHRP as well. So a use may be reported later
// than it was, but never earlier.
type counterUse struct {
	seen map[netip.Addr]*counted // by NBMA address or name
}

// counted has the counters of one peer at the last call, and the use that follows from them.
type counted struct {
	in, out uint64
	use     engine.PeerUse
}

// newCounterUse returns a counterUse that has read nothing.
func newCounterUse() *counterUse {
	return &counterUse{seen: make(map[netip.Addr]*counted)}
}

// read compares the counters with those of the last call, and returns the use of every peer that
// has an SA.
func (c *counterUse) read(now time.Time, device string, sas []vici.SA) []engine.PeerUse {
	in, out := make(map[netip.Addr]uint64), make(map[netip.Addr]uint64)
	for _, sa := range sas {
		if sa.Interface != device {
			continue
		}
		for _, child := range sa.Children {
			in[nbmaOf(sa.Key())] += child.BytesIn
			out[nbmaOf(sa.Key())] += child.BytesOut
		}
	}
	uses := make([]engine.PeerUse, 0, len(in))
	for nbma := range in {
		s := c.seen[nbma]
		if s == nil {
			s = &counted{use: engine.PeerUse{NBMA: nbma}}
			c.seen[nbma] = s
		}
		// A rekeyed SA counts from zero, so any value that differs from the last one is use.
		if in[nbma] != s.in {
			s.use.In = now
		}
		if out[nbma] != s.out {
			s.use.Out = now
		}
		s.in, s.out = in[nbma], out[nbma]
		uses = append(uses, s.use)
	}
	for nbma := range c.seen {
		if _, ok := in[nbma]; !ok {
			delete(c.seen, nbma)
		}
	}
	return uses
}
