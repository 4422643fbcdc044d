// Package peeruse finds out from the byte counters of the SAs when each peer was last used.
//
// The daemon needs it on kernels that do not let it watch the tunnel itself. The counters are read
// only at intervals, and they count NHRP as well. So a use may be reported later than it was, but
// never earlier.
package peeruse

import (
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/translate"
	"cygnet/vici"
)

// Counters has the byte counters of the SAs as they were read last. One goroutine at a time may use
// it.
type Counters struct {
	seen map[peerid.ID]*counted
}

// counted has the counters of one peer at the last call, and the use that follows from them.
type counted struct {
	in, out uint64
	use     engine.PeerUse
}

// New returns counters of which none was read yet.
func New() *Counters {
	return &Counters{seen: make(map[peerid.ID]*counted)}
}

// Read compares the counters of the SAs with those of the last call, and returns the use of every
// peer that has an SA of the group. Interfaces that share an SA share its counters, so a peer that
// one of them uses counts as used by all.
func (c *Counters) Read(now time.Time, group string, sas []vici.SA) []engine.PeerUse {
	in, out := make(map[peerid.ID]uint64), make(map[peerid.ID]uint64)
	for _, sa := range sas {
		if sa.Interface != group {
			continue
		}
		for _, child := range sa.Children {
			in[translate.PeerID(sa.Key())] += child.BytesIn
			out[translate.PeerID(sa.Key())] += child.BytesOut
		}
	}
	uses := make([]engine.PeerUse, 0, len(in))
	for id := range in {
		s := c.seen[id]
		if s == nil {
			s = &counted{use: engine.PeerUse{ID: id}}
			c.seen[id] = s
		}
		// A rekeyed SA counts from zero, so any value that differs from the last one is use.
		if in[id] != s.in {
			s.use.In = now
		}
		if out[id] != s.out {
			s.use.Out = now
		}
		s.in, s.out = in[id], out[id]
		uses = append(uses, s.use)
	}
	for id := range c.seen {
		if _, ok := in[id]; !ok {
			delete(c.seen, id)
		}
	}
	return uses
}
