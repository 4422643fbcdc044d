package vici

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"cygnet/vici/failure"
	"cygnet/vici/session"

	"github.com/cenkalti/backoff/v5"
)

// core is what all parts of the reconciler work with: the link to charon, jobs and timers, and the
// way to the consumer.
type core struct {
	*settings
	published *published
	post      func(func()) // has the reconciler's goroutine run a function

	link           *session.Link // nil: charon is not there
	session.Charon               // of the last link
	synced         bool          // the table has what this link's charon listed
	arrival        time.Time     // of the link
	lastErr        error         // why the last link ended
	reported       bool          // the consumer knows whether charon is there
	jobs           []session.Job
	outbox         []Event

	linkLost func()         // drops what belongs to the link
	overview func() []Event // the state as events, in place of events that were dropped
}

// do queues a job for charon: run runs on a command session, then done on this goroutine, unless
// the link has ended by then. Without a link it does nothing.
func (c *core) do(
	run func(ctx context.Context, s *session.Session) error, done func(err error),
) {
	if c.link != nil {
		c.jobs = append(c.jobs, session.Job{Run: run, Done: done})
	}
}

// after runs f on this goroutine after a time, unless the link has ended by then.
func (c *core) after(d time.Duration, f func()) {
	l := c.link
	time.AfterFunc(d, func() {
		c.post(func() {
			if c.link == l && l != nil {
				f()
			}
		})
	})
}

// status changes the published status.
func (c *core) status(change func(*Status)) {
	c.published.Lock()
	defer c.published.Unlock()
	change(&c.published.status)
}

// countFailure counts an attempt of this end that failed.
func (c *core) countFailure(cause failure.Cause) {
	c.status(func(s *Status) { s.Failures[cause.String()]++ })
}

// countRefusal counts an attempt of another router that failed.
func (c *core) countRefusal(cause failure.Cause) {
	c.status(func(s *Status) { s.Refusals[cause.String()]++ })
}

// lose gives up the link and all state that depends on it. The client's connect makes a new link,
// and resync reads everything anew.
func (c *core) lose(cause error) {
	c.link.GiveUp(cause)
	c.link, c.synced, c.jobs, c.lastErr = nil, false, nil, cause
	c.linkLost()
	c.status(func(s *Status) {
		s.Connected, s.Since, s.LastError, s.Initiating = false, time.Now(), cause.Error(), 0
	})
	// the consumer of the event reports what it means
	c.log.Debug("the link to charon ended", slog.Any("error", cause))
	c.emit(Disconnected{Err: cause})
}

// fatal reports whether an error means that the session is lost, rather than that charon refused a
// command. It then gives up the link.
func (c *core) fatal(err error) bool {
	if err != nil && errors.Is(err, session.ErrBroken) {
		c.lose(err)
		return true
	}
	return false
}

// unreachable notes a failed attempt to reach charon. The first one after a link is reported.
func (c *core) unreachable(err error) {
	c.lastErr = err
	c.status(func(s *Status) { s.LastError = err.Error() })
	if c.reported {
		return
	}
	c.reported = true
	c.log.Debug("charon cannot be reached", slog.Any("error", err))
	c.emit(Disconnected{Err: err})
}

// maxOutbox bounds the events that the consumer has not taken yet.
const maxOutbox = 4096

// emit queues an event for the consumer. When too many wait, it drops and counts them all and
// queues the state as it is now in their place.
func (c *core) emit(e Event) {
	if len(c.outbox) < maxOutbox {
		c.outbox = append(c.outbox, e)
		return
	}
	c.status(func(s *Status) { s.EventsDropped += uint64(len(c.outbox)) + 1 })
	c.log.Warn("events are not taken fast enough: replaced by a snapshot",
		slog.Int("dropped", len(c.outbox)+1))
	c.outbox = c.overview()
}

// errGone is the cause of a link's end that charon brought about.
var errGone = errors.New("charon closed the connection: it stopped or was restarted")

// linkBackoff returns the waits between attempts to reach charon: 0.1 s to 0.3 s. An attempt costs
// nothing, and a charon that has returned refuses peers until it has our connections again.
func linkBackoff() backoff.ExponentialBackOff {
	return backoff.ExponentialBackOff{
		InitialInterval:     125 * time.Millisecond,
		MaxInterval:         250 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 0.2,
	}
}

// peerBackoff returns the waits between attempts to secure a peer: 1 s to 60 s.
func peerBackoff() backoff.ExponentialBackOff {
	return backoff.ExponentialBackOff{
		InitialInterval:     1125 * time.Millisecond,
		MaxInterval:         54 * time.Second,
		Multiplier:          2,
		RandomizationFactor: 1. / 9, // the longest is a quarter longer than the shortest
	}
}

// connect keeps a link to charon until ctx ends.
func (c *Client) connect(ctx context.Context) {
	owner := session.Owner{
		Connected: func(l *session.Link, charon session.Charon) {
			c.post(func(r *reconciler) { r.connected(l, charon) })
		},
		Report: func(l *session.Link, f func()) {
			c.post(func(r *reconciler) {
				if r.link == l {
					f()
				}
			})
		},
	}
	wait := linkBackoff()
	for ctx.Err() == nil {
		started := time.Now()
		err := session.Serve(ctx, c.dialer, c.times.command, owner)
		if ctx.Err() != nil {
			return
		}
		c.post(func(r *reconciler) { r.unreachable(err) })
		if time.Since(started) > time.Second {
			wait.Reset()
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-ctx.Done():
		}
	}
}
