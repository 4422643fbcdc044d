package vici

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/failure"
	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// attempt is an initiation under way. charon works on it by itself. The reconciler polls what
// became of it, and ends it when its time is up.
type attempt struct {
	started   time.Time
	early     bool // it has one of the MaxInitiations places
	missing   int  // polls in a row that found nothing of it
	polling   bool // a poll is under way
	silent    bool // at the last poll the peer had not answered
	explained bool // from its start charon would have said why it fails
	last      bool // its failure is reported, whether the reason is known or not
}

// dialler dials the peers that are to be dialled and have no SA. [peerstate.Dialling] has the
// states of a peer.
type dialler struct {
	*table
	places    *places
	charonLog *charonLog
	loader    *loader
	waiting   []*peer // to be dialled, in order, when there is room
	attempts  int     // all that are under way

	step    func(*peer)                // takes the next step for a peer
	listed  func(sa *SA, asked uint64) // enters an IKE_SA from a list
	compare func()                     // compares all SAs with charon's
}

// linkLost drops the attempts of the link that ended.
func (d *dialler) linkLost() { d.waiting, d.attempts = nil, 0 }

// queue has a peer dialled when there is room. InitiateFirst peers come before all others.
func (d *dialler) queue(p *peer) {
	if p.dialling != peerstate.Queued {
		p.dialling.On(peerstate.Queue)
		at := len(d.waiting)
		if p.want == InitiateFirst {
			if i := slices.IndexFunc(d.waiting,
				func(o *peer) bool { return o.want != InitiateFirst }); i >= 0 {
				at = i
			}
		}
		d.waiting = slices.Insert(d.waiting, at, p)
	}
	d.places.dispatch()
}

// dispatch starts attempts while there is room.
func (d *dialler) dispatch() {
	for len(d.waiting) > 0 && d.places.free() {
		p := d.waiting[0]
		d.waiting = d.waiting[1:]
		applied := d.profiles[p.Interface]
		if applied == nil || !applied.loaded || d.peers[p.Key] != p || p.connection.Busy() ||
			p.connection.ToClose() || !p.want.dials() || p.up != nil || p.withheld != nil {
			p.dialling.On(peerstate.Skip)
			continue
		}
		d.initiate(p, applied)
	}
}

// initiate makes charon dial a peer by the peer's connection.
func (d *dialler) initiate(p *peer, applied *appliedProfile) {
	repeats := p.failure.ToRepeat()
	a := &attempt{
		started: time.Now(), early: true, explained: d.charonLog.explains(), last: repeats,
	}
	p.attempt = a
	p.dialling.On(peerstate.Start)
	p.connection.On(peerstate.Use)
	if p.dialledSince.IsZero() {
		p.dialledSince, p.silentSince = a.started, a.started
	}
	d.places.taken++
	name, command := profile.ConnectionName(p.Interface, p.NBMA), d.times.command
	conn, connErr := applied.newConnection(p.NBMA, false)
	if connErr == nil && p.port != 0 {
		connErr = profile.DialThroughNAT(conn, name, p.port)
	}
	var psk *govici.Message
	if repeats && len(applied.PSK) > 0 {
		psk, _ = applied.NewSharedKey() // an error would have kept the profile from being loaded
	}
	p.cause = nil
	p.failure.On(peerstate.Repeated)
	d.do(func(ctx context.Context, s *session.Session) error {
		if connErr != nil {
			return connErr
		}
		if psk != nil {
			if err := s.LoadSecret(ctx, command, psk); err != nil {
				return err
			}
		}
		return s.Initiate(ctx, command, name, applied.ChildName(), conn)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		switch {
		case d.fatal(err):
			return
		case p.attempt != a: // the peer was secured, or is no longer wanted
		case err != nil && strings.Contains(err.Error(), "existing duplicate"):
			// The peer was faster. Its SA is in the table soon, whatever the SA's connection;
			// otherwise the poll finds that it is missing.
			d.compare()
			d.after(d.times.firstCheck, func() { d.pollAttempt(p, a) })
		case err != nil:
			d.fail(p, failure.NotBegun, failure.NotBegunWords(p.Key, err))
		default:
			d.after(d.times.firstPoll, func() { d.pollAttempt(p, a) })
		}
		d.step(p)
	})
	d.countAttempts(1)
}

// leave changes a peer's state by an event that ends an attempt or a pause. It stops watching the
// attempt. charon goes on with it, if it has not ended.
func (d *dialler) leave(p *peer, event peerstate.DiallingEvent) {
	p.dialling.On(event)
	if p.dialling != peerstate.Paused {
		p.pause = nil
	}
	if a := p.attempt; a != nil && p.dialling != peerstate.Attempting {
		p.attempt = nil
		d.endEarly(a)
		d.countAttempts(-1)
	}
}

// endEarly frees an attempt's place among those in their first seconds.
func (d *dialler) endEarly(a *attempt) {
	if a.early {
		a.early = false
		d.places.taken--
		d.places.dispatch()
	}
}

// countAttempts changes the number of attempts under way.
func (d *dialler) countAttempts(change int) {
	d.attempts += change
	d.status(func(s *Status) { s.Initiating = d.attempts })
}

// pollAttempt asks charon what became of an attempt: charon raises no event for one that never
// establishes.
func (d *dialler) pollAttempt(p *peer, a *attempt) {
	if p.attempt != a || a.polling {
		return
	}
	a.polling = true
	name := profile.ConnectionName(p.Interface, p.NBMA)
	var found []*SA
	asked := d.serial
	d.do(func(ctx context.Context, s *session.Session) (err error) {
		found, err = salist.List(ctx, s, d.times.command, "ike", name)
		return err
	}, func(err error) {
		a.polling = false
		if d.fatal(err) {
			return
		}
		if err != nil {
			d.log.Warn("list-sas failed", slog.String("connection", name), slog.Any("error", err))
		}
		for _, sa := range found {
			d.listed(sa, asked)
		}
		if p.attempt == a {
			d.evaluateAttempt(p, a, found)
		}
		if p.attempt == a && time.Since(a.started) >= d.times.firstCheck {
			d.endEarly(a)
		}
	})
}

// evaluateAttempt decides about an attempt by the IKE_SAs found under its connection's name. None
// of them protects traffic yet.
func (d *dialler) evaluateAttempt(p *peer, a *attempt, found []*SA) {
	age := time.Since(a.started)
	open, childless := (*SA)(nil), false
	for _, sa := range found {
		switch {
		case sa.Interface != p.Interface: // another one's, which the peer dialled
		case sa.Stands():
			childless = true
		case sa.HalfOpen():
			open = sa
		}
	}
	again := d.times.check
	patience, impatient := d.patience(p)
	if impatient {
		again = max(patience-age, d.times.firstCheck/4)
	}
	switch {
	case childless: // pollChildless ends it and reports why
		a.missing = 0
	case open == nil:
		// A busy charon may not have begun yet. An attempt has failed if it is missing twice, or
		// for a known reason.
		a.missing++
		if p.cause != nil || a.missing > 1 {
			d.gaveUp(p, a)
			return
		}
		again = min(again, time.Second)
		if p.want == InitiateFirst {
			again = d.times.firstPoll
		}
	case age < d.times.firstCheck:
		a.missing, again = 0, d.times.firstCheck-age
	case impatient && open.ResponderSPI == 0 && age >= patience:
		// Peers that return miss each other's first packets, and charon waits ever longer before it
		// retransmits.
		place := a.early
		a.early = false
		d.leave(p, peerstate.Stop)
		d.stillSilent(p)
		d.abandon(p, open.ID, place)
		return
	case age >= d.times.attempt:
		p.failure.On(peerstate.Silent)
		d.fail(p, d.cause(p), d.words(p))
		d.abandon(p, open.ID, false)
		return
	default:
		a.missing, a.silent = 0, open.ResponderSPI == 0
	}
	d.after(again, func() { d.pollAttempt(p, a) })
}

// patience returns how long an attempt may stay without any answer before it is begun anew. ok is
// false where that is not done.
func (d *dialler) patience(p *peer) (time.Duration, bool) {
	if time.Since(d.arrival) < d.times.returning {
		return d.times.firstCheck, true
	}
	if p.want != InitiateFirst {
		return 0, false
	}
	return min(max(time.Since(p.dialledSince)/15, d.times.firstCheck), d.times.impatience), true
}

// stillSilent reports that a peer does not answer, as often as attempts of full length would.
func (d *dialler) stillSilent(p *peer) {
	if time.Since(p.silentSince) < d.times.attempt {
		return
	}
	p.silentSince = time.Now()
	p.failure.On(peerstate.Silent)
	d.countFailure(failure.NoAnswer)
	d.emit(Failed{p.Key, d.words(p)})
}

// gaveUp reports why charon gave an attempt up. If the reason is not known, it repeats the attempt
// with a subscription to charon's log.
func (d *dialler) gaveUp(p *peer, a *attempt) {
	switch {
	case p.cause != nil && p.cause.Cause != failure.NoAnswer:
		p.failure.On(peerstate.Explained)
	case p.cause != nil, a.silent: // charon has retransmitted in vain
		p.failure.On(peerstate.Silent)
	case !a.explained && !a.last:
		d.tryAgain(p)
		return
	default:
		p.cause = &failure.Reason{Cause: failure.Unknown}
		p.failure.On(peerstate.Explained)
	}
	d.fail(p, d.cause(p), d.words(p))
}

// abandon makes charon give up a half-open IKE_SA, which it does at once. Until then charon would
// take a new initiation for a duplicate. place reports whether the attempt had a place among those
// in their first seconds, which is free after that.
func (d *dialler) abandon(p *peer, id uint32, place bool) {
	p.connection.On(peerstate.Clear)
	d.do(func(ctx context.Context, s *session.Session) error {
		return s.Terminate(ctx, d.times.command, id, time.Second)
	}, func(err error) {
		p.connection.On(peerstate.Ended)
		if d.fatal(err) {
			return
		}
		if place {
			d.places.taken--
		}
		d.step(p)
		d.places.dispatch()
	})
}

// fail ends an attempt, counts and reports why, and has the next one wait.
func (d *dialler) fail(p *peer, cause failure.Cause, reason string) {
	d.countFailure(cause)
	d.leave(p, peerstate.Stop)
	p.port = 0
	d.emit(Failed{p.Key, reason})
	d.log.Debug("no SA", slog.Any("peer", p.Key), slog.String("reason", reason))
	wait := p.nextWait()
	if p.want == InitiateFirst {
		wait = min(wait, d.times.impatience)
	}
	d.pauseFor(p, wait)
	d.step(p)
}

// pauseFor has a peer's next attempt wait.
func (d *dialler) pauseFor(p *peer, length time.Duration) {
	wait := &pause{length}
	if p.dialling.On(peerstate.Pause); p.dialling != peerstate.Paused {
		return // the peer waits for its turn, or an attempt has to be ended first
	}
	p.pause = wait
	d.after(length, func() { d.resume(p, wait) })
}

// resume ends a pause, unless it has ended before.
func (d *dialler) resume(p *peer, wait *pause) {
	if p.pause == wait {
		d.leave(p, peerstate.Resume)
		d.step(p)
	}
}

// places bound how many attempts are in their first seconds at the same time. An older attempt
// waits for its peer's answer and costs charon little, so it does not keep others from starting.
type places struct {
	*settings
	taken int
	// starters start what waits for a place, while one is free; those that come first have
	// precedence.
	starters []func()
}

// free reports whether another attempt may start.
func (ps *places) free() bool { return ps.taken < ps.inFlight }

// dispatch starts what waits for a place.
func (ps *places) dispatch() {
	for _, start := range ps.starters {
		start()
	}
}
