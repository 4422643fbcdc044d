package session

import (
	"context"
	"sync"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// commandSessions is how many commands of a link run at the same time. Each occupies a session;
// charon's listen backlog is 3.
const commandSessions = 3

// Link is what a client has with one charon until either of them ends it: a session for events,
// some for commands, and one for charon's log while somebody subscribes to it.
//
// Its methods are for the owner alone: the goroutine on which the functions given to [Serve] run.
type Link struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	dialer  Dialer
	timeout time.Duration
	events  <-chan govici.Event
	conn    *frameConn // of the events
	jobs    chan Job
	// to be opened; it has room for one, so that its sender never waits
	logs   chan *LogSubscription
	report func(*Link, func())
}

// Job is work for one of the command sessions of a link.
type Job struct {
	Run  func(ctx context.Context, s *Session) error // on the session's goroutine
	Done func(err error)                             // on the owner's goroutine, with Run's error
}

// Owner is how a link reaches the goroutine that owns it. None of the functions may wait.
type Owner struct {
	// Connected is called once, from any goroutine, when the link is there.
	Connected func(*Link, Charon)
	// Report has the owner's goroutine run f, unless the link has ended for the owner by then.
	Report func(l *Link, f func())
}

// Serve makes one link and keeps it until ctx ends, the owner gives it up, or connecting fails. It
// returns the reason. timeout is for charon to answer a command.
func Serve(ctx context.Context, d Dialer, timeout time.Duration, owner Owner) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := d.Connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	charon, err := s.charon(ctx, timeout)
	if err != nil {
		return err
	}
	events, err := s.subscribe(ctx, timeout, EventsOf(charon.Version)...)
	if err != nil {
		return err
	}
	l := &Link{
		ctx: ctx, cancel: cancel, dialer: d, timeout: timeout,
		events: events, conn: s.conn,
		jobs: make(chan Job), logs: make(chan *LogSubscription, 1), report: owner.Report,
	}
	var workers sync.WaitGroup
	for range commandSessions {
		workers.Go(l.work)
	}
	workers.Go(l.openLogs)
	owner.Connected(l, charon)
	<-ctx.Done()
	_ = s.Close()
	workers.Wait()
	return context.Cause(ctx)
}

// GiveUp ends the link. Serve returns the cause.
func (l *Link) GiveUp(cause error) { l.cancel(cause) }

// Jobs returns the channel that takes jobs. A send waits until a command session is free.
func (l *Link) Jobs() chan<- Job { return l.jobs }

// Events returns the channel of charon's events (see [EventsOf]). It is closed when charon ends the
// link. After each event the owner calls EventTaken.
func (l *Link) Events() <-chan govici.Event { return l.events }

// EventTaken makes room for the next event.
func (l *Link) EventTaken() { l.conn.taken() }

// work runs jobs on a session of its own. When that session breaks, it makes a new one.
func (l *Link) work() {
	var s *Session
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
				s, err = l.dialer.reconnect(l.ctx, l.timeout)
			}
			if err == nil {
				err = j.Run(l.ctx, s)
				if s.broken {
					_ = s.Close()
					s = nil
				}
			}
			l.report(l, func() { j.Done(err) })
		}
	}
}
