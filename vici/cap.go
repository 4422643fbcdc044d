package vici

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// DefaultMaxSAs is how many SAs one identity may have unless the profile says otherwise. A router
// has one, and a few more while both ends dial or after it lost its state or its address; where
// several routers have one identity, as many as they are.
const DefaultMaxSAs = 32

// limitIdentity closes the oldest SAs of an identity that has more than it may have. Each SA costs
// charon and the kernel memory, and this end time with every event: nobody gets more of that by
// dialling often. The other end is told, but not waited for: one that does not answer would keep
// its SAs.
func (r *reconciler) limitIdentity(sa *SA) {
	profile := r.profiles[sa.Interface]
	if profile == nil {
		return
	}
	if r.capped[sa.ID] {
		r.index.uncount(sa) // charon was told to end it
		return
	}
	k, most := sa.identityKey(), profile.maxSAs()
	for list := r.index.byIdentity[k]; len(list) > most; list = r.index.byIdentity[k] {
		r.closeOldest(k, list[0], most)
	}
}

func (p *profile) maxSAs() int {
	if p.MaxSAs > 0 {
		return p.MaxSAs
	}
	return DefaultMaxSAs
}

// closeOldest has charon forget one SA of an identity.
func (r *reconciler) closeOldest(k identityKey, oldest *SA, most int) {
	r.index.uncount(oldest)
	r.capped[oldest.ID], r.ending[oldest.ID] = true, true
	r.reason(oldest.Key(), fmt.Sprintf("its identity has more than %d SAs, and this was the oldest", most))
	r.status(func(s *Status) { s.OverLimit++ })
	if tell, untold := r.overLimit.note(k, "", time.Now()); tell {
		r.log.Warn("an identity has too many SAs: the oldest are closed",
			slog.String("interface", k.iface), slog.String("identity", shorten(k.identity)),
			slog.Any("peer", oldest.Key()), slog.Int("allowed", most), slog.Int("untold", untold),
			slog.String("check", "that no two routers share the identity, or raise sas in the interface's limits"))
	}
	id, command := oldest.ID, r.times.command
	r.do(func(ctx context.Context, s *session) error {
		return destroy(ctx, s, command, id)
	}, func(err error) {
		if r.fatal(err) || err == nil {
			return
		}
		r.log.Warn("terminate failed", slog.Uint64("ike-id", uint64(id)), slog.Any("error", err))
		delete(r.ending, id)
		delete(r.capped, id)
		if sa := r.sas[id]; sa != nil {
			r.index.count(sa) // the next SA of the identity has it closed again
		}
	})
}
