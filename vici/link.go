package vici

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// commandSessions is how many commands run at the same time. Each occupies a session; charon's listen backlog is 3.
const commandSessions = 3

// eventsOf gives the events to subscribe to, which depend on the version of strongSwan.
func eventsOf(version string) []string {
	events := []string{"ike-updown", "child-updown", "ike-rekey", "child-rekey"}
	if atLeast(version, 5, 9, 2) {
		events = append(events, "ike-update")
	}
	if atLeast(version, 6, 0, 3) {
		events = append(events, "alert")
	}
	return events
}

// atLeast compares a version such as "5.9.8" or "6.0.0rc1" with another.
func atLeast(version string, wanted ...int) bool {
	parts := strings.SplitN(version, ".", len(wanted))
	for i, want := range wanted {
		part := ""
		if i < len(parts) {
			part = parts[i]
		}
		if end := strings.IndexFunc(part, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
			part = part[:end]
		}
		if have, _ := strconv.Atoi(part); have != want {
			return have > want
		}
	}
	return true
}

// errGone is the cause of a link's end that charon itself brought about.
var errGone = errors.New("charon closed the connection: it stopped or was restarted")

// link is one connection to charon: a session for events, some for commands, and at times one for the log.
type link struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	events <-chan govici.Event
	conn   *frameConn // of the events
	jobs   chan job
	ears   chan *ear // to be opened; room for one, so that its only sender never waits
}

// job is work for a command session. done runs on the owner of the state, unless the link has ended.
type job struct {
	run  func(ctx context.Context, s *session) error
	done func(err error)
}

// connect keeps a link to charon until ctx ends.
func (c *Client) connect(ctx context.Context) {
	wait := linkBackoff()
	for ctx.Err() == nil {
		started := time.Now()
		err := c.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		c.post(func(r *reconciler) { r.unreachable(err) })
		if time.Since(started) > time.Second {
			wait.reset()
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait.next()):
		}
	}
}

// serve makes one link, hands it to the reconciler and keeps it until it ends. The error says why it did.
func (c *Client) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	events, charon, err := s.listen(ctx, c.times.command)
	if err != nil {
		return err
	}
	l := &link{ctx: ctx, cancel: cancel, events: events, conn: s.conn, jobs: make(chan job), ears: make(chan *ear, 1)}
	var workers sync.WaitGroup
	for range commandSessions {
		workers.Go(func() { l.work(c) })
	}
	workers.Go(func() { l.listen(c) })
	c.post(func(r *reconciler) { r.connected(l, charon) })
	<-ctx.Done()
	_ = s.Close()
	workers.Wait()
	return context.Cause(ctx)
}

// work runs jobs on a session of its own, which it makes anew when one breaks.
func (l *link) work(c *Client) {
	var s *session
	defer func() {
		if s != nil {
			_ = s.Close()
		}
	}()
	for {
		select {
		case <-l.ctx.Done():
			return
		case j := <-l.jobs:
			var err error
			if s == nil {
				s, err = c.redial(l.ctx)
			}
			if err == nil {
				err = j.run(l.ctx, s)
				if s.broken {
					_ = s.Close()
					s = nil
				}
			}
			c.post(func(r *reconciler) {
				if r.link == l {
					j.done(err)
				}
			})
		}
	}
}

// redial connects, and again for a while when charon's backlog is full.
func (c *Client) redial(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.times.command)
	defer cancel()
	wait := backoff{first: 10 * time.Millisecond, last: time.Second}
	for {
		s, err := c.dial(ctx)
		if err == nil {
			return s, nil
		}
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", errBroken, err) // nobody listens: this is no full backlog
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errBroken, err)
		case <-time.After(wait.next()):
		}
	}
}
