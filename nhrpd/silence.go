package nhrpd

import (
	"maps"
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
)

// charon asks a peer whether it is alive when nothing came from it for a while. What came it learns from the policy of the SA, which the
// kernel applies to packets in clear as well before it drops them: who sends GRE from the address of a peer that is gone would keep its
// SA alive for ever. So where such packets come, the SAs that nothing came through are rekeyed, which a dead peer does not survive.
const (
	silentTime = 10 * time.Second
	askAgain   = time.Minute // a peer that is silent and alive is not asked more often
)

// silence remembers what came through the SAs.
type silence struct {
	clear uint64 // packets in clear, when last counted
	heard map[uint32]heard
	asked map[netip.Addr]time.Time
}

// heard is what came through one ESP state.
type heard struct {
	bytes uint64
	since time.Time // that it is as many
}

// askSilent has those peers prove that they are alive that only packets in clear speak for.
func (d *Daemon) askSilent(s *silence, states []xfrm.ESPState, local netip.Addr) {
	spis := s.look(time.Now(), states, local, func() map[netip.Addr]time.Time { return d.clearFrom(s, local) })
	if len(spis) > 0 {
		d.log.Warn("somebody sends clear GRE in the name of peers that are silent: asking them", "local", local, "peers", len(spis))
		d.strongswan.Probe(spis)
	}
}

// clearFrom says when each peer, or who pretends to be it, sent last, if packets in clear came since it was asked before.
func (d *Daemon) clearFrom(s *silence, local netip.Addr) map[netip.Addr]time.Time {
	count, err := d.platform.ClearIn()
	if err != nil || count == s.clear {
		return nil
	}
	s.clear = count
	uses, err := d.platform.PolicyUse(local)
	if err != nil {
		d.log.Warn("cannot tell in whose name somebody sends clear GRE", "local", local, "error", err)
	}
	return uses
}

// look takes note of what came through the states to the local address, and returns the SPIs of those that were silent while packets in
// clear came from their peers.
func (s *silence) look(now time.Time, states []xfrm.ESPState, local netip.Addr, use func() map[netip.Addr]time.Time) []uint32 {
	before := s.heard
	s.heard = make(map[uint32]heard, len(states))
	maps.DeleteFunc(s.asked, func(_ netip.Addr, at time.Time) bool { return now.Sub(at) >= askAgain })
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
		// The kernel's seconds are whole ones.
		if at, used := uses[st.Src]; used && now.Sub(at) < silentTime && at.After(h.since.Add(time.Second)) {
			s.asked[st.Src] = now
			spis = append(spis, st.SPI)
		}
	}
	return spis
}
