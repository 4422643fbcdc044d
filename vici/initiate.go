package vici

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// attempt is an initiation under way. charon works on it by itself. The reconciler polls what
// became of it, and ends it when its time is up.
type attempt struct {
	started time.Time
	early   bool // it has one of the MaxInitiations places
	missing int  // polls in a row that found nothing of it
	polling bool // a poll is under way
	silent  bool // at the last poll the peer had not answered
	heard   bool // from its start the reason of a failure would have been known
	last    bool // its failure is reported, whether the reason is known or not
}

// queue has a peer dialled when there is room. InitiateFirst peers come before all others.
func (r *reconciler) queue(p *peer) {
	if p.dialling != peerstate.Queued {
		p.dialling.On(peerstate.Queue)
		at := len(r.waiting)
		if p.want == InitiateFirst {
			if i := slices.IndexFunc(r.waiting,
				func(o *peer) bool { return o.want != InitiateFirst }); i >= 0 {
				at = i
			}
		}
		r.waiting = slices.Insert(r.waiting, at, p)
	}
	r.dispatch()
}

// dispatch starts attempts while fewer than MaxInitiations are in their first seconds. An older
// attempt waits for its peer's answer and costs charon little, so it does not keep others from
// starting.
func (r *reconciler) dispatch() {
	for len(r.waiting) > 0 && r.starting < r.inFlight {
		p := r.waiting[0]
		r.waiting = r.waiting[1:]
		applied := r.profiles[p.Interface]
		if applied == nil || !applied.loaded || r.peers[p.Key] != p || p.connection.Busy() ||
			p.connection.ToClose() || !p.want.dials() || p.up != nil || p.withheld != nil {
			p.dialling.On(peerstate.Skip)
			continue
		}
		r.initiate(p, applied)
	}
	r.dispatchRenewals()
	r.dispatchRecalls()
}

// initiate makes charon dial a peer by the peer's connection.
func (r *reconciler) initiate(p *peer, applied *appliedProfile) {
	repeats := p.failure.ToRepeat()
	a := &attempt{started: time.Now(), early: true, heard: r.hears(), last: repeats}
	p.attempt = a
	p.dialling.On(peerstate.Start)
	p.connection.On(peerstate.Use)
	if p.dialledSince.IsZero() {
		p.dialledSince, p.silentSince = a.started, a.started
	}
	r.starting++
	name, command := profile.ConnectionName(p.Interface, p.NBMA), r.times.command
	conn, connErr := applied.newConnection(p.NBMA, false)
	if connErr == nil && p.port != 0 {
		connErr = profile.DialThroughNAT(conn, name, p.port)
	}
	var psk *govici.Message
	if repeats && len(applied.PSK) > 0 {
		psk, _ = applied.NewSharedKey() // an error would have kept the profile from being loaded
	}
	p.hint = nil
	p.failure.On(peerstate.Repeated)
	r.do(func(ctx context.Context, s *session.Session) error {
		if connErr != nil {
			return connErr
		}
		if psk != nil {
			if err := s.LoadSecret(ctx, command, psk); err != nil {
				return err
			}
		}
		return s.Initiate(ctx, command, name, profile.ChildName, conn)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		switch {
		case r.fatal(err):
			return
		case p.attempt != a: // the peer was secured, or is no longer wanted
		case err != nil && strings.Contains(err.Error(), "existing duplicate"):
			// The peer was faster. Its SA is in the table soon, whatever the SA's connection;
			// otherwise the poll finds that it is missing.
			r.compare()
			r.after(r.times.firstCheck, func() { r.pollAttempt(p, a) })
		case err != nil:
			r.fail(p, refusedWords(p.Key, err))
		default:
			r.after(r.times.firstPoll, func() { r.pollAttempt(p, a) })
		}
		r.step(p)
	})
	r.countAttempts(1)
}

// leaveAttempt changes a peer's state by an event that ends an attempt or a pause. It stops
// watching the attempt. charon goes on with it, if it has not ended.
func (r *reconciler) leaveAttempt(p *peer, event peerstate.DiallingEvent) {
	p.dialling.On(event)
	if p.dialling != peerstate.Paused {
		p.pause = nil
	}
	if a := p.attempt; a != nil && p.dialling != peerstate.Attempting {
		p.attempt = nil
		r.endEarly(a)
		r.countAttempts(-1)
	}
}

// endEarly frees an attempt's place among those in their first seconds.
func (r *reconciler) endEarly(a *attempt) {
	if a.early {
		a.early = false
		r.starting--
		r.dispatch()
	}
}

// countAttempts changes the number of attempts under way.
func (r *reconciler) countAttempts(change int) {
	r.attempts += change
	r.status(func(s *Status) { s.Initiating = r.attempts })
}

// pollAttempt asks charon what became of an attempt: charon raises no event for one that never
// establishes.
func (r *reconciler) pollAttempt(p *peer, a *attempt) {
	if p.attempt != a || a.polling {
		return
	}
	a.polling = true
	name := profile.ConnectionName(p.Interface, p.NBMA)
	var found []*SA
	asked := r.serial
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		found, err = listSAs(ctx, s, r.times.command, "ike", name)
		return err
	}, func(err error) {
		a.polling = false
		if r.fatal(err) {
			return
		}
		if err != nil {
			r.log.Warn("list-sas failed", slog.String("connection", name), slog.Any("error", err))
		}
		for _, sa := range found {
			r.listed(sa, asked)
		}
		if p.attempt == a {
			r.evaluateAttempt(p, a, found)
		}
		if p.attempt == a && time.Since(a.started) >= r.times.firstCheck {
			r.endEarly(a)
		}
	})
}

// evaluateAttempt decides about an attempt by the IKE_SAs found under its connection's name. None
// of them protects traffic yet.
func (r *reconciler) evaluateAttempt(p *peer, a *attempt, found []*SA) {
	age := time.Since(a.started)
	open, childless := (*SA)(nil), false
	for _, sa := range found {
		if sa.Stands() {
			childless = true
		} else if sa.HalfOpen() {
			open = sa
		}
	}
	again := r.times.check
	patience, impatient := r.patience(p)
	if impatient {
		again = max(patience-age, r.times.firstCheck/4)
	}
	switch {
	case childless: // pollChildless ends it and reports why
		a.missing = 0
	case open == nil:
		// A busy charon may not have begun yet. An attempt has failed if it is missing twice, or
		// for a known reason.
		a.missing++
		if p.hint != nil || a.missing > 1 {
			r.gaveUp(p, a)
			return
		}
		again = min(again, time.Second)
		if p.want == InitiateFirst {
			again = r.times.firstPoll
		}
	case age < r.times.firstCheck:
		a.missing, again = 0, r.times.firstCheck-age
	case impatient && open.ResponderSPI == 0 && age >= patience:
		// Peers that return miss each other's first packets, and charon waits ever longer before it
		// retransmits.
		place := a.early
		a.early = false
		r.leaveAttempt(p, peerstate.Stop)
		r.stillSilent(p)
		r.abandon(p, open.ID, place)
		return
	case age >= r.times.attempt:
		p.failure.On(peerstate.Silent)
		r.fail(p, r.failureWords(p))
		r.abandon(p, open.ID, false)
		return
	default:
		a.missing, a.silent = 0, open.ResponderSPI == 0
	}
	r.after(again, func() { r.pollAttempt(p, a) })
}

// patience returns how long an attempt may stay without any answer before it is begun anew. ok is
// false where that is not done.
func (r *reconciler) patience(p *peer) (time.Duration, bool) {
	if time.Since(r.arrival) < r.times.returning {
		return r.times.firstCheck, true
	}
	if p.want != InitiateFirst {
		return 0, false
	}
	return min(max(time.Since(p.dialledSince)/15, r.times.firstCheck), r.times.impatience), true
}

// stillSilent reports that a peer does not answer, as often as attempts of full length would.
func (r *reconciler) stillSilent(p *peer) {
	if time.Since(p.silentSince) < r.times.attempt {
		return
	}
	p.silentSince = time.Now()
	p.failure.On(peerstate.Silent)
	r.emit(Failed{p.Key, r.failureWords(p)})
}

// gaveUp reports why charon gave an attempt up. If the reason is not known, it repeats the attempt
// with a subscription to charon's log.
func (r *reconciler) gaveUp(p *peer, a *attempt) {
	switch {
	case p.hint != nil && p.hint.cause != noAnswer:
		p.failure.On(peerstate.Explained)
	case p.hint != nil, a.silent: // charon has retransmitted in vain
		p.failure.On(peerstate.Silent)
	case !a.heard && !a.last:
		r.tryAgain(p)
		return
	default:
		p.hint = &hint{cause: unknown}
		p.failure.On(peerstate.Explained)
	}
	r.fail(p, r.failureWords(p))
}

// abandon makes charon give up a half-open IKE_SA, which it does at once. Until then charon would
// take a new initiation for a duplicate. place tells whether the attempt had a place among those in
// their first seconds, which is free after that.
func (r *reconciler) abandon(p *peer, id uint32, place bool) {
	p.connection.On(peerstate.Clear)
	r.do(func(ctx context.Context, s *session.Session) error {
		return s.Terminate(ctx, r.times.command, id, time.Second)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		if r.fatal(err) {
			return
		}
		if place {
			r.starting--
		}
		r.step(p)
		r.dispatch()
	})
}

// fail ends an attempt, reports why, and has the next one wait.
func (r *reconciler) fail(p *peer, reason string) {
	r.leaveAttempt(p, peerstate.Stop)
	p.port = 0
	r.emit(Failed{p.Key, reason})
	r.log.Debug("no SA", slog.Any("peer", p.Key), slog.String("reason", reason))
	wait := p.backoff.Next()
	if p.want == InitiateFirst {
		wait = min(wait, r.times.impatience)
	}
	r.pauseFor(p, wait)
	r.step(p)
}

// pauseFor has a peer's next attempt wait.
func (r *reconciler) pauseFor(p *peer, length time.Duration) {
	wait := &pause{length}
	if p.dialling.On(peerstate.Pause); p.dialling != peerstate.Paused {
		return // the peer waits for its turn, or an attempt has to be ended first
	}
	p.pause = wait
	r.after(length, func() { r.resume(p, wait) })
}

// resume ends a pause, unless it has ended before.
func (r *reconciler) resume(p *peer, wait *pause) {
	if p.pause == wait {
		r.leaveAttempt(p, peerstate.Resume)
		r.step(p)
	}
}

// terminate makes charon close an IKE_SA. charon raises an event when that is done.
func (r *reconciler) terminate(id uint32) {
	r.ending[id] = true
	r.do(func(ctx context.Context, s *session.Session) error {
		return s.Terminate(ctx, r.times.command, id, 0)
	}, func(err error) {
		if !r.fatal(err) && err != nil {
			delete(r.ending, id)
			r.log.Warn("terminate failed", slog.String("ike-id",
				strconv.FormatUint(uint64(id), 10)), slog.Any("error", err))
		}
	})
}
