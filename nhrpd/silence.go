package nhrpd

import (
	"maps"
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
)

// charon asks a peer whether it is alive if nothing has come from the peer for a while. charon
// learns when something came from the use time of the SA's policy. The kernel updates that time for
// packets in clear as well, before it drops them. So somebody who sends GRE from the address of a
// dead peer would keep the peer's SA alive for ever.
//
// The daemon therefore finds the SAs through which nothing came while packets in clear came from
// their peers, and has charon rekey them. The SA of a dead peer does not survive that.
const (
	silentTime = 10 * time.Second // how long nothing may come through an SA
	askAgain   = time.Minute      // how long a silent peer that was asked is not asked again
)

// silence remembers what came through the SAs of one local address.
type silence struct {
	clear uint64                   // packets in clear, by the last count
	heard map[uint32]heard         // by SPI
	asked map[netip.Addr]time.Time // when a peer was asked last
}

// heard is what came through one ESP state.
type heard struct {
	bytes uint64
	since time.Time // since when the count has not changed
}

// askSilent has the peers prove that they are alive for which only packets in clear speak.
func (d *Daemon) askSilent(s *silence, states []xfrm.ESPState, local netip.Addr) {
	spis := s.look(time.Now(), states, local, func() map[netip.Addr]time.Time {
		return d.clearFrom(s, local)
	})
	if len(spis) > 0 {
		d.log.Warn("somebody sends clear GRE in the name of peers that are silent: asking them",
			"local", local, "peers", len(spis))
		d.strongswan.Probe(spis)
	}
}

// clearFrom returns when each peer, or somebody in its name, sent last. It returns nothing if no
// packet in clear came since the last call.
func (d *Daemon) clearFrom(s *silence, local netip.Addr) map[netip.Addr]time.Time {
	count, err := d.platform.ClearIn()
	if err != nil || count == s.clear {
		return nil
	}
	s.clear = count
	uses, err := d.platform.PolicyUse(local)
	if err != nil {
		d.log.Warn("cannot tell in whose name somebody sends clear GRE",
			"local", local, "error", err)
	}
	return uses
}

// look records what came through the states to the address local. It returns the SPIs of the states
// through which nothing came while packets in clear came from their peers. It calls use, which says
// when each peer sent last, only if a state was silent.
func (s *silence) look(
	now time.Time, states []xfrm.ESPState, local netip.Addr, use func() map[netip.Addr]time.Time,
) []uint32 {
	before := s.heard
	s.heard = make(map[uint32]heard, len(states))
	maps.DeleteFunc(s.asked, func(_ netip.Addr, at time.Time) bool {
		return now.Sub(at) >= askAgain
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
		if _, asked := s.asked[st.Src]; asked {
			continue
		}
		// The kernel gives the time in whole seconds.
		if at, used := uses[st.Src]; used && now.Sub(at) < silentTime &&
			at.After(h.since.Add(time.Second)) {
			s.asked[st.Src] = now
			spis = append(spis, st.SPI)
		}
	}
	return spis
}
