package vici

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cygnet/vici/failure"
	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/session"
)

// limits keep the number of SAs that each identity has within what its profile allows.
type limits struct {
	*table
	closing map[uint32]bool // SAs being closed because their identity has too many
	logged  failure.Repeats[ike.Identity]
}

// limitIdentity closes the oldest SAs of an identity that has more than the profile allows. Each SA
// costs charon and the kernel memory, and this end time with every event; nobody gets a larger
// share of these by dialling often. The peer is told that its SA ends, but nobody waits for its
// answer: otherwise a peer that does not answer would keep its SAs.
func (l *limits) limitIdentity(sa *SA) {
	applied := l.profiles[sa.Interface]
	if applied == nil {
		return
	}
	if l.closing[sa.ID] {
		l.index.Uncount(sa) // this end has told charon to end it
		return
	}
	k, most := sa.Identity(), applied.SAsPerIdentity()
	for list := l.index.OfIdentity(k); len(list) > most; list = l.index.OfIdentity(k) {
		l.closeOldest(k, list[0], most)
	}
}

// closeOldest makes charon forget one SA of an identity; most is how many it may have.
func (l *limits) closeOldest(k ike.Identity, oldest *SA, most int) {
	l.index.Uncount(oldest)
	l.closing[oldest.ID] = true
	l.reason(oldest.Key(), fmt.Sprintf("its identity has more than %d SAs, and this was the oldest",
		most))
	l.status(func(s *Status) { s.OverLimit++ })
	if log, skipped := l.logged.Note(k, "", time.Now()); log {
		l.log.Warn("an identity has too many SAs: the oldest are closed",
			slog.String("interface", k.Interface), slog.String("identity", message.Shorten(k.ID)),
			slog.Any("peer", oldest.Key()), slog.Int("allowed", most),
			slog.Int("suppressed", skipped),
			slog.String("check",
				"that no two routers share the identity, or raise sas in the interface's limits"))
	}
	id := oldest.ID
	l.destroy(id, func() {
		delete(l.closing, id)
		if sa := l.sas[id]; sa != nil {
			l.index.Count(sa) // the next SA of the identity closes it again
		}
	})
}

// expulsion names the SAs that [Client.Expel] is to end.
type expulsion struct {
	Key
	identity string
}

// expulsions end the SAs of identities with peers.
type expulsions struct {
	*table
	due map[expulsion]bool // that charon has not carried out yet
}

// expel ends the SAs of an identity with a peer. While charon is away it notes the expulsion, which
// is carried out when charon is back, and again if the link is lost before charon has answered.
func (x *expulsions) expel(k Key, identity string) {
	k.NBMA = k.NBMA.Unmap()
	e := expulsion{k, identity}
	if !x.synced {
		x.due[e] = true
		return
	}
	var ids []uint32
	for _, sa := range x.index.SAs(k) {
		if sa.RemoteID == identity {
			ids = append(ids, sa.ID)
			x.ending[sa.ID] = true
		}
	}
	if len(ids) == 0 {
		delete(x.due, e)
		return
	}
	x.due[e] = true
	command := x.times.command
	x.do(func(ctx context.Context, s *session.Session) error {
		var errs []error
		for _, id := range ids {
			errs = append(errs, s.Destroy(ctx, command, id))
		}
		return errors.Join(errs...)
	}, func(err error) {
		if x.fatal(err) {
			return
		}
		delete(x.due, e)
		if err != nil {
			x.log.Warn("closing the SAs of an identity failed", slog.Any("peer", k),
				slog.String("identity", identity), slog.Any("error", err))
		}
	})
}
