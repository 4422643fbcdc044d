package vici

import (
	"context"
	"log/slog"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/failure"
	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/rival"
	"cygnet/vici/session"
)

// reconciler owns the state of a client. Its methods run on one goroutine and never wait. What
// takes time is a job on one of the link's command sessions, or a timer; both post what follows
// from them back to that goroutine.
//
// Its parts each own the state of one concern. A part may call the parts below it. What it needs
// from above is a function that newReconciler gives to it. All parts work on the table and the
// core.
//
//	reconciler    the client's calls, charon's events, comparisons; each peer's next step
//	    ├── rivals, limits, expulsions, repairs
//	    ├── inbound ──────────► charonLog
//	    ├── withholder
//	    ├── duplicates ───────► sharing, renewals
//	    ├── dialler ──────────► charonLog, loader, places
//	    ├── renewals, recalls ► sharing, places
//	    ├── loader ───────────► sharing, marks
//	    └── sharing ──────────► marks, places
//	table         SAs, peers, profiles
//	core          the link to charon, jobs, timers, events for the consumer
type reconciler struct {
	*table
	client *Client

	places     *places
	marks      *marks
	sharing    *sharing
	recalls    *recalls
	loader     *loader
	charonLog  *charonLog
	dialler    *dialler
	withholder *withholder
	renewals   *renewals
	duplicates *duplicates
	limits     *limits
	expulsions *expulsions
	repairs    *repairs
	inbound    *inbound
	rivals     *rivals

	removed   map[string]bool      // interfaces whose profile was removed: they must have no SA
	childless map[uint32]bool      // SAs without a child, for which a timer runs
	refusals  failure.Repeats[Key] // of SAs with peers that this end does not dial
	comparing bool                 // a comparison of all SAs runs
}

func newReconciler(c *Client) *reconciler {
	r := &reconciler{client: c, removed: map[string]bool{}, childless: map[uint32]bool{},
		refusals: failure.Repeats[Key]{}}
	r.table = newTable(&core{
		settings: &c.settings, published: &c.published, lastErr: errGone,
		post:     func(f func()) { c.post(func(*reconciler) { f() }) },
		linkLost: r.linkLost, overview: r.overview,
	}, c.ledger)
	t := r.table
	r.places = &places{settings: &c.settings}
	r.marks = &marks{table: t, allowed: r.marksAllowed}
	r.sharing = &sharing{table: t, marks: r.marks, places: r.places,
		addresses: map[Key]*sharedAddress{}, evaluate: r.evaluate}
	r.recalls = newRecalls(t, r.sharing, r.places)
	r.loader = &loader{table: t, marks: r.marks, sharing: r.sharing, review: r.review}
	r.charonLog = &charonLog{core: t.core, needed: r.needsLog}
	r.dialler = &dialler{table: t, places: r.places, charonLog: r.charonLog, loader: r.loader,
		step: r.step, listed: r.listed, compare: r.compare}
	r.withholder = &withholder{table: t, evaluate: r.evaluate}
	r.renewals = &renewals{table: t, sharing: r.sharing, places: r.places,
		outlived: map[uint32]bool{}, step: r.step, inspect: r.inspect}
	r.duplicates = &duplicates{table: t, sharing: r.sharing, renewals: r.renewals}
	r.limits = &limits{table: t, closing: map[uint32]bool{},
		logged: failure.Repeats[ike.Identity]{}}
	r.expulsions = &expulsions{table: t, due: map[expulsion]bool{}}
	r.repairs = &repairs{table: t, tried: map[uint32]bool{}}
	r.inbound = &inbound{table: t, charonLog: r.charonLog, refusals: r.refusals}
	r.rivals = &rivals{table: t, watch: rival.NewWatch()}
	r.places.starters = []func(){r.dialler.dispatch, r.renewals.dispatch, r.recalls.dispatch}
	c.published.sas = r.sas
	c.published.status = Status{
		Since: time.Now(), Failures: failure.NoneYet(), Refusals: failure.NoneYet(),
	}
	return r
}

func (r *reconciler) run(ctx context.Context) error {
	for {
		var events <-chan govici.Event
		var jobs chan<- session.Job
		var next session.Job
		if r.link != nil {
			if r.synced {
				events = r.link.Events()
			}
			if len(r.jobs) > 0 {
				jobs, next = r.link.Jobs(), r.jobs[0]
			}
		}
		var out chan<- Event
		var event Event
		if len(r.outbox) > 0 {
			out, event = r.client.events, r.outbox[0]
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.client.wake:
			for _, f := range r.client.posts() {
				f(r)
			}
		case e, ok := <-events:
			if !ok {
				r.lose(errGone)
				continue
			}
			r.link.EventTaken()
			r.handle(e)
		case e, ok := <-r.charonLog.events():
			if !ok {
				r.charonLog.close()
				continue
			}
			r.charonLog.sub.EventTaken()
			line := message.Text(e.Message, "msg")
			r.dialler.logLine(message.Text(e.Message, "ikesa-name"), line)
			r.inbound.logLine(message.Text(e.Message, "ikesa-uniqueid"), line)
		case jobs <- next:
			r.jobs = r.jobs[1:]
		case out <- event:
			r.outbox = r.outbox[1:]
		}
	}
}

// connected takes over a new link.
func (r *reconciler) connected(l *session.Link, c session.Charon) {
	r.link, r.Charon, r.arrival, r.reported = l, c, time.Now(), true
	for _, p := range r.profiles {
		p.known = c.KeyExchanges
	}
	r.status(func(s *Status) {
		s.Connected, s.Version, s.Since, s.LastError = true, c.Version, time.Now(), ""
		s.Started = c.Started
	})
	r.log.Info("charon is there", slog.String("version", c.Version),
		slog.Bool("mlkem", c.KeyExchanges["mlkem768"]))
	r.resync()
}

// linkLost drops what belonged to the link that ended.
func (r *reconciler) linkLost() {
	r.comparing = false
	clear(r.childless)
	r.table.linkLost()
	r.charonLog.linkLost()
	r.dialler.linkLost()
	r.places.taken = 0
	r.renewals.linkLost()
	clear(r.limits.closing)
	clear(r.repairs.tried)
	r.rivals.watch.LinkLost()
	for _, p := range r.peers {
		p.linkLost()
	}
	r.marks.state = marksUnasked
	r.inbound.linkLost()
	r.recalls.linkLost()
	r.sharing.linkLost()
}

// overview returns the state as the events that report it anew.
func (r *reconciler) overview() []Event {
	if !r.synced {
		return []Event{Disconnected{Err: r.lastErr}}
	}
	events := append(make([]Event, 0, 2+len(r.profiles)), Connected{Version: r.Version})
	for _, iface := range r.interfaces() {
		events = append(events, r.snapshot(iface))
	}
	if r.marks.state == marksAsked {
		events = append(events, MarksAsked{r.marks.asked})
	}
	return events
}

// marksAllowed goes on with what had to wait until charon may give out marks.
func (r *reconciler) marksAllowed() {
	for _, iface := range r.interfaces() {
		if p := r.profiles[iface]; p.stale && !p.busy {
			r.loader.load(p)
		}
	}
	r.sharing.loadAll()
}

// needsLog reports whether a wanted peer fails for another reason than silence, or a router has
// lately failed to dial this end.
func (r *reconciler) needsLog() bool {
	needed := r.inbound.failedWithin(r.times.logReview)
	for _, p := range r.peers {
		needed = needed || p.failure.NeedsLog() && p.want.dials() && p.up == nil
	}
	return needed
}
