package vici

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// errBroken marks a session that cannot be used any more, whatever the cause.
var errBroken = errors.New("session lost")

// session is one VICI connection. It belongs to one goroutine: calls of two on one govici session hang.
type session struct {
	*govici.Session
	conn   *frameConn
	broken bool
}

// Stream asks the charon that listens on a unix socket a question that it answers with events, such as list-sas with list-sa, and
// hands all of them to item, in order, however many they are: govici by itself drops what exceeds its buffer, the end of the answer
// included. It takes at most timeout. It is for those who look at a charon from outside; a [Client] keeps its own view.
func Stream(ctx context.Context, timeout time.Duration, socket, command, event string, item func(*govici.Message)) error {
	s, err := dial(ctx, (&net.Dialer{}).DialContext, socket, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.stream(ctx, timeout, command, event, nil, item)
}

// dialer connects to an address, as [net.Dialer.DialContext] does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dial connects to charon. Its listen backlog is 3, so an EAGAIN is ordinary and retried by the caller's back-off.
func (c *Client) dial(ctx context.Context) (*session, error) {
	return dial(ctx, c.dialer, c.socket, c.watch)
}

func dial(ctx context.Context, to dialer, socket string, watch *stallWatch) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	raw, err := to(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to charon: %w", err)
	}
	conn := newFrameConn(raw)
	conn.watch = watch
	s, err := govici.NewSession(govici.WithDialContext(func(context.Context, string, string) (net.Conn, error) { return conn, nil }))
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("connect to charon at %s: %w", socket, err)
	}
	return &session{Session: s, conn: conn}, nil
}

// call runs a command and waits for its answer, at most timeout. An answer that says no gives a [CommandError]; any other error
// is errBroken. Arguments, which may be secrets, are in no error.
func (s *session) call(ctx context.Context, timeout time.Duration, command string, args *govici.Message) (*govici.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := s.Call(ctx, command, args)
	s.conn.consumedAll()
	return answer, s.verdict(command, answer, err)
}

// stream runs a command that answers with events, and hands each of them to item. All are read, also after an error of item's.
func (s *session) stream(ctx context.Context, timeout time.Duration, command, event string, args *govici.Message, item func(*govici.Message)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var failed error
	for m, err := range s.CallStreaming(ctx, command, event, args) {
		s.conn.consumed()
		if err != nil {
			failed = s.verdict(command, m, err)
			continue
		}
		item(m)
	}
	s.conn.consumedAll()
	if failed == nil && ctx.Err() != nil {
		s.broken = true
		failed = fmt.Errorf("%s: %w: %w", command, errBroken, ctx.Err())
	}
	return failed
}

func (s *session) verdict(command string, answer *govici.Message, err error) error {
	if err == nil {
		return nil
	}
	if answer != nil {
		text, _ := answer.Get("errmsg").(string)
		return &CommandError{Command: command, Message: text}
	}
	s.broken = true
	return fmt.Errorf("%s: %w: %w", command, errBroken, err)
}

// CommandError is a command that charon refused.
type CommandError struct {
	Command string // such as "load-conn"
	Message string // charon's words
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: charon says: %s", e.Command, shorten(e.Message))
}

// charon is what a charon says of itself.
type charon struct {
	version      string
	keyExchanges map[string]bool // additional ones, by their keyword in proposals
}

// listen subscribes to the events that this charon has, and says what it can do.
func (s *session) listen(ctx context.Context, timeout time.Duration) (<-chan govici.Event, charon, error) {
	answer, err := s.call(ctx, timeout, "version", nil)
	if err != nil {
		return nil, charon{}, err
	}
	c := charon{version: text(answer, "version")}
	if c.keyExchanges, err = s.keyExchanges(ctx, timeout, c.version); err != nil {
		return nil, charon{}, err
	}
	events, err := s.subscribe(ctx, timeout, eventsOf(c.version)...)
	return events, c, err
}

// subscribe has charon send events, on a session that is used for nothing else. It returns the channel they come on, which is
// closed when the session ends. The caller takes an event, then calls conn.consumed.
//
// govici deadlocks when an event comes while it subscribes, so the connection holds events back until the last subscription
// is confirmed; a question for the version afterwards is what makes its reader go on to deliver them.
func (s *session) subscribe(ctx context.Context, timeout time.Duration, names ...string) (<-chan govici.Event, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	watchdog := time.AfterFunc(timeout, func() { _ = s.Close() })
	defer watchdog.Stop()

	events := make(chan govici.Event, 2*window)
	s.NotifyEvents(events)
	s.conn.hold.Store(true)
	for _, name := range names {
		if err := s.Subscribe(name); err != nil {
			return nil, fmt.Errorf("subscribe to %s: %w", name, err)
		}
	}
	s.conn.hold.Store(false)
	if _, err := s.call(ctx, timeout, "version", nil); err != nil {
		return nil, err
	}
	return events, nil
}
