package espstate

import (
	"maps"
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
)

const (
	silentTime = 10 * time.Second // how long nothing may come through an SA
	probeAgain = time.Minute      // how long a silent peer that was probed is not probed again
)

// silence remembers what came through the SAs of one local address.
//
// charon asks a peer whether it is alive if nothing has come from the peer for a while. charon
// learns when something came from the use time of the SA's policy. The kernel updates that time for
// packets in clear as well, before it drops them. So somebody who sends GRE from the address of a
// dead peer would keep the peer's SA alive for ever.
//
// The daemon therefore finds the SAs through which nothing came while packets in clear came from
// their peers, and has charon rekey them. The SA of a dead peer does not survive that.
type silence struct {
	clear  uint64                   // packets in clear, by the last count
	heard  map[uint32]heard         // by SPI
	probed map[netip.Addr]time.Time // when a peer was probed last
}

// heard is what came through one ESP state.
type heard struct {
	bytes uint64
	since time.Time // since when the count has not changed
}

// probeSilent has charon probe the peers of the local address that seem alive only because of
// packets in clear.
func (w *Watch) probeSilent(states []xfrm.ESPState, local netip.Addr) {
	s := w.silences[local]
	if s == nil {
		s = &silence{probed: make(map[netip.Addr]time.Time)}
		w.silences[local] = s
	}
	spis := s.update(time.Now(), states, local, func() map[netip.Addr]time.Time {
		return w.clearFrom(s, local)
	})
	if len(spis) > 0 {
		w.log.Warn("somebody sends clear GRE in the name of peers that are silent: asking them",
			"local", local, "peers", len(spis))
		w.charon.Probe(spis)
	}
}

// clearFrom returns when each peer, or somebody in its name, sent last. It returns nothing if no
// packet in clear came since the last call.
func (w *Watch) clearFrom(s *silence, local netip.Addr) map[netip.Addr]time.Time {
	count, err := w.kernel.ClearIn()
	if err != nil || count == s.clear {
		return nil
	}
	s.clear = count
	uses, err := w.kernel.PolicyUse(local)
	if err != nil {
		w.log.Warn("cannot tell in whose name somebody sends clear GRE",
			"local", local, "error", err)
	}
	return uses
}

// update records what came through the states to the address local. It returns the SPIs of the
// states through which nothing came while packets in clear came from their peers. It calls use,
// which says when each peer sent last, only if a state was silent.
func (s *silence) update(
	now time.Time, states []xfrm.ESPState, local netip.Addr, use func() map[netip.Addr]time.Time,
) []uint32 {
	before := s.heard
	s.heard = make(map[uint32]heard, len(states))
	maps.DeleteFunc(s.probed, func(_ netip.Addr, at time.Time) bool {
		return now.Sub(at) >= probeAgain
	})
	var silent []xfrm.ESPState
	for _, st := range states {
		if !st.GRE || st.Dst != local {
			continue
		}
		h, known := before[st.SPI]
		if !known || h.bytes != st.Bytes {
			h = heard{bytes: st.Bytes, since: now}
		}
		if now.Sub(h.since) >= silentTime {
			silent = append(silent, st)
		}
		s.heard[st.SPI] = h
	}
	if len(silent) == 0 {
		return nil
	}
	var spis []uint32
	uses := use()
	for _, st := range silent {
		h := s.heard[st.SPI]
		if _, done := s.probed[st.Src]; done {
			continue
		}
		// The kernel gives the time in whole seconds.
		if at, used := uses[st.Src]; used && now.Sub(at) < silentTime &&
			at.After(h.since.Add(time.Second)) {
			s.probed[st.Src] = now
			spis = append(spis, st.SPI)
		}
	}
	return spis
}
