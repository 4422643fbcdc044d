package vici

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/session"
)

// limitIdentity closes the oldest SAs of an identity that has more than the profile allows. Each SA
// costs charon and the kernel memory, and this end time with every event; nobody gets a larger
// share of these by dialling often. The peer is told that its SA ends, but nobody waits for its
// answer: otherwise a peer that does not answer would keep its SAs.
func (r *reconciler) limitIdentity(sa *SA) {
	applied := r.profiles[sa.Interface]
	if applied == nil {
		return
	}
	if r.capped[sa.ID] {
		r.index.Uncount(sa) // this end has told charon to end it
		return
	}
	k, most := sa.Identity(), applied.SAsPerIdentity()
	for list := r.index.OfIdentity(k); len(list) > most; list = r.index.OfIdentity(k) {
		r.closeOldest(k, list[0], most)
	}
}

// closeOldest makes charon forget one SA of an identity; most is how many it may have.
func (r *reconciler) closeOldest(k ike.Identity, oldest *SA, most int) {
	r.index.Uncount(oldest)
	r.capped[oldest.ID], r.ending[oldest.ID] = true, true
	r.reason(oldest.Key(), fmt.Sprintf("its identity has more than %d SAs, and this was the oldest",
		most))
	r.status(func(s *Status) { s.OverLimit++ })
	if tell, untold := r.overLimit.note(k, "", time.Now()); tell {
		r.log.Warn("an identity has too many SAs: the oldest are closed",
			slog.String("interface", k.Interface), slog.String("identity", message.Shorten(k.ID)),
			slog.Any("peer", oldest.Key()), slog.Int("allowed", most), slog.Int("untold", untold),
			slog.String("check",
				"that no two routers share the identity, or raise sas in the interface's limits"))
	}
	id, command := oldest.ID, r.times.command
	r.do(func(ctx context.Context, s *session.Session) error {
		return s.Destroy(ctx, command, id)
	}, func(err error) {
		if r.fatal(err) || err == nil {
			return
		}
		r.log.Warn("terminate failed", slog.Uint64("ike-id", uint64(id)), slog.Any("error", err))
		delete(r.ending, id)
		delete(r.capped, id)
		if sa := r.sas[id]; sa != nil {
			r.index.Count(sa) // the next SA of the identity closes it again
		}
	})
}
