package vici

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/session"
)

// reconciler owns the state of a client. Its methods run on one goroutine and never wait. What
// takes time is a job on one of the link's command sessions, or a timer; both post what follows
// from them back to that goroutine.
type reconciler struct {
	*Client
	link           *session.Link    // nil: charon is not there
	charonLog      *logSubscription // nil: none
	synced         bool             // the table has what this link's charon listed
	session.Charon                  // of the last link
	lastErr        error            // why the last link ended
	arrival        time.Time        // of the link
	reported       bool             // the consumer knows whether charon is there
	counters       ike.Counters     // the kernel's, as of the last Counted

	jobs      []session.Job
	outbox    []Event
	profiles  map[string]*appliedProfile
	removed   map[string]bool // interfaces whose profile was removed: they must have no SA
	peers     map[Key]*peer
	sas       map[uint32]*SA // by charon's unique id; shared with readers
	serial    uint64         // of the last event
	index     ike.Index
	shared    map[Key]*sharedAddress
	marks     marksState // of this link
	recalls   recalls
	childless map[uint32]bool // SAs without a child, for which a timer runs
	ending    map[uint32]bool // SAs that this end told charon to close
	repaired  map[uint32]bool // CHILD_SAs that this end had rekeyed to repair them
	comparing bool
	// when SAs ended lately; a list that charon made before may still have them
	ended     map[uint32]time.Time
	refusals  refusals[Key]
	capped    map[uint32]bool // SAs being closed because their identity has too many
	overLimit refusals[ike.Identity]
	inbound   inbound

	stall    stall           // the longest one whose effects were not checked yet
	outlived map[uint32]bool // SAs from before a stall that the peer may have given up
	renewals []*peer         // to be dialled beside such an SA when there is room

	expulsions map[expulsion]bool // that charon has not carried out yet

	suspects map[uint32]suspect // by charon's unique id
	strikes  map[string]int     // refused SAs, by interface and the rival connection

	marksSerial uint64 // of the last MarksAsked

	waiting  []*peer // to be dialled, in order, when there is room
	starting int     // attempts in their first seconds
	attempts int     // all attempts under way
}

func newReconciler(c *Client) *reconciler {
	r := &reconciler{
		Client:    c,
		profiles:  map[string]*appliedProfile{},
		removed:   map[string]bool{},
		peers:     map[Key]*peer{},
		sas:       map[uint32]*SA{},
		index:     ike.NewIndex(),
		capped:    map[uint32]bool{},
		overLimit: refusals[ike.Identity]{},
		shared:    map[Key]*sharedAddress{},
		ended:     map[uint32]time.Time{},
		childless: map[uint32]bool{},
		ending:    map[uint32]bool{},
		repaired:  map[uint32]bool{},
		refusals:  refusals[Key]{},
		recalls:   newRecalls(),

		expulsions: map[expulsion]bool{},
		suspects:   map[uint32]suspect{},
		strikes:    map[string]int{},
		outlived:   map[uint32]bool{},
		lastErr:    errGone,
	}
	c.published.sas = r.sas
	c.published.status.Since = time.Now()
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
		var heard <-chan govici.Event
		if r.charonLog != nil {
			heard = r.charonLog.Events()
		}
		var out chan<- Event
		var event Event
		if len(r.outbox) > 0 {
			out, event = r.Client.events, r.outbox[0]
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
			for _, f := range r.posts() {
				f(r)
			}
		case e, ok := <-events:
			if !ok {
				r.lose(errGone)
				continue
			}
			r.link.EventTaken()
			r.handle(e)
		case e, ok := <-heard:
			if !ok {
				r.closeLog()
				continue
			}
			r.charonLog.EventTaken()
			r.heard(message.Text(e.Message, "ikesa-name"), message.Text(e.Message, "msg"))
			r.heardInbound(message.Text(e.Message, "ikesa-uniqueid"),
				message.Text(e.Message, "msg"))
		case jobs <- next:
			r.jobs = r.jobs[1:]
		case out <- event:
			r.outbox = r.outbox[1:]
		}
	}
}

// do queues a job for charon: run runs on a command session, then done on this goroutine, unless
// the link has ended by then. Without a link it does nothing.
func (r *reconciler) do(
	run func(ctx context.Context, s *session.Session) error, done func(err error),
) {
	if r.link != nil {
		r.jobs = append(r.jobs, session.Job{Run: run, Done: done})
	}
}

// after runs f on this goroutine after a time, unless the link has ended by then.
func (r *reconciler) after(d time.Duration, f func()) {
	l := r.link
	time.AfterFunc(d, func() {
		r.post(func(r *reconciler) {
			if r.link == l && l != nil {
				f()
			}
		})
	})
}

// status changes the published status.
func (r *reconciler) status(change func(*Status)) {
	r.published.Lock()
	defer r.published.Unlock()
	change(&r.published.status)
}

// lose gives up the link and all state that depends on it. The client's connect makes a new link,
// and resync reads everything anew.
func (r *reconciler) lose(cause error) {
	r.link.GiveUp(cause)
	r.link, r.charonLog, r.synced, r.jobs, r.comparing, r.lastErr = nil, nil, false, nil, false,
		cause
	clear(r.ended)
	r.waiting, r.starting, r.attempts, r.renewals = nil, 0, 0, nil
	clear(r.outlived)
	clear(r.childless)
	clear(r.ending)
	clear(r.capped)
	clear(r.repaired)
	clear(r.suspects)
	for _, p := range r.peers {
		p.forget()
	}
	r.marks = marksUnasked
	r.inbound = inbound{}
	r.noteMarked()
	for _, a := range r.shared {
		a.loaded, a.busy = false, false
	}
	for _, p := range r.profiles {
		p.loaded, p.busy = false, false
	}
	r.status(func(s *Status) {
		s.Connected, s.Since, s.LastError, s.Initiating = false, time.Now(), cause.Error(), 0
	})
	// the consumer of the event reports what it means
	r.log.Debug("the link to charon ended", slog.Any("error", cause))
	r.emit(Disconnected{Err: cause})
}

// unreachable notes a failed attempt to reach charon. The first one after a link is reported.
func (r *reconciler) unreachable(err error) {
	r.lastErr = err
	r.status(func(s *Status) { s.LastError = err.Error() })
	if r.reported {
		return
	}
	r.reported = true
	r.log.Debug("charon cannot be reached", slog.Any("error", err))
	r.emit(Disconnected{Err: err})
}

// connected takes over a new link.
func (r *reconciler) connected(l *session.Link, c session.Charon) {
	r.link, r.Charon, r.arrival, r.reported = l, c, time.Now(), true
	for _, p := range r.profiles {
		p.known = c.KeyExchanges
	}
	r.status(func(s *Status) {
		s.Connected, s.Version, s.Since, s.LastError = true, c.Version, time.Now(), ""
	})
	r.log.Info("charon is there", slog.String("version", c.Version),
		slog.Bool("mlkem", c.KeyExchanges["mlkem768"]))
	r.resync()
}

// interfaces returns the names of the interfaces with a profile, in order.
func (r *reconciler) interfaces() []string { return slices.Sorted(maps.Keys(r.profiles)) }

// snapshot returns the peers of an interface that are secured, in order.
func (r *reconciler) snapshot(iface string) Snapshot {
	s := Snapshot{Interface: iface}
	for k, p := range r.peers {
		if k.Interface == iface && p.up != nil {
			s.Peers = append(s.Peers, *p.up)
		}
	}
	slices.SortFunc(s.Peers, func(a, b Peer) int {
		return cmp.Or(a.NBMA.Compare(b.NBMA), cmp.Compare(a.Mark, b.Mark))
	})
	return s
}

// fatal reports whether an error means that the session is lost, rather than that charon refused a
// command. It then gives up the link.
func (r *reconciler) fatal(err error) bool {
	if err != nil && errors.Is(err, session.ErrBroken) {
		r.lose(err)
		return true
	}
	return false
}
