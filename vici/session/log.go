package session

import (
	"context"

	govici "github.com/strongswan/govici/vici"
)

// LogSubscription is a subscription to charon's log, on a session of its own. A handshake raises
// some thirty log events at either end, each of which wakes a thread of charon's and ours, so a
// client subscribes only while it needs them.
//
// Its methods are for the owner of the link alone.
type LogSubscription struct {
	ctx    context.Context
	cancel context.CancelFunc
	events <-chan govici.Event // nil: not open yet
	conn   *frameConn
	opened func(error)
}

// SubscribeLog subscribes to charon's log. A link has one subscription at a time: the caller has
// closed the one before. opened runs on the owner's goroutine when charon has confirmed the
// subscription, or with the error that prevents it; it does not run if the link ends before.
func (l *Link) SubscribeLog(opened func(error)) *LogSubscription {
	ctx, cancel := context.WithCancel(l.ctx)
	s := &LogSubscription{ctx: ctx, cancel: cancel, opened: opened}
	select {
	case <-l.logs: // closed before it was opened
	default:
	}
	l.logs <- s
	return s
}

// Open reports whether charon has confirmed the subscription.
func (s *LogSubscription) Open() bool { return s.events != nil }

// Events returns the channel of log events: nil until the subscription is open, closed when charon
// ends it. After each event the owner calls EventTaken.
func (s *LogSubscription) Events() <-chan govici.Event { return s.events }

// EventTaken makes room for the next event.
func (s *LogSubscription) EventTaken() { s.conn.taken() }

// Close ends the subscription.
func (s *LogSubscription) Close() { s.cancel() }

// openLogs opens one subscription after the other, and keeps each until it is closed or the link
// ends.
func (l *Link) openLogs() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case s := <-l.logs:
			l.keepLog(s)
		}
	}
}

func (l *Link) keepLog(sub *LogSubscription) {
	defer sub.cancel()
	opened := func(events <-chan govici.Event, conn *frameConn, err error) {
		l.report(l, func() {
			sub.events, sub.conn = events, conn
			sub.opened(err)
		})
	}
	s, err := l.dialer.reconnect(sub.ctx, l.timeout)
	if err != nil {
		opened(nil, nil, err)
		return
	}
	defer s.Close()
	events, err := s.subscribe(sub.ctx, l.timeout, "log")
	if err != nil {
		opened(nil, nil, err)
		return
	}
	opened(events, s.conn, nil)
	<-sub.ctx.Done()
}
