package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// ErrBroken is the error of a session that cannot be used any more: charon closed it, sent
// something that is not VICI, or did not answer in time.
var ErrBroken = errors.New("session lost")

// connectTimeout bounds how long one attempt to connect may take.
const connectTimeout = 5 * time.Second

// Dialer makes sessions with the charon that listens on a socket.
type Dialer struct {
	Socket string // the path of charon's VICI socket

	// Dial connects to a unix socket, as [net.Dialer.DialContext] does. nil: that function.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Silence measures charon's silence over all sessions; nil: nobody needs to know.
	Silence *SilenceWatch
}

// Session is one VICI connection. It belongs to one goroutine: concurrent calls on one govici
// session hang.
type Session struct {
	vici   *govici.Session
	conn   *frameConn
	broken bool
}

// Connect makes a session. charon's listen backlog is 3, so that EAGAIN is an ordinary error; the
// caller tries again.
func (d Dialer) Connect(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dial := d.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	raw, err := dial(ctx, "unix", d.Socket)
	if err != nil {
		return nil, fmt.Errorf("connect to charon: %w", err)
	}
	conn := newFrameConn(raw)
	conn.silence = d.Silence
	connected := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	s, err := govici.NewSession(govici.WithDialContext(connected))
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("connect to charon at %s: %w", d.Socket, err)
	}
	return &Session{vici: s, conn: conn}, nil
}

// reconnect makes a session with a charon that was there a moment ago. It tries for at most timeout
// while charon's listen backlog is full. Its error is ErrBroken.
func (d Dialer) reconnect(ctx context.Context, timeout time.Duration) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	wait := backoff.ExponentialBackOff{
		InitialInterval:     10 * time.Millisecond,
		MaxInterval:         time.Second,
		Multiplier:          2,
		RandomizationFactor: 0.25,
	}
	for {
		s, err := d.Connect(ctx)
		if err == nil {
			return s, nil
		}
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			// Nobody listens: the backlog is not the reason.
			return nil, fmt.Errorf("%w: %w", ErrBroken, err)
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
}

// Close ends the session. It may be called more than once.
func (s *Session) Close() error { return s.vici.Close() }

// Call runs a command and waits at most timeout for its answer. If charon refuses the command, the
// error is a [CommandError]; any other error is [ErrBroken]. No error contains an argument, which
// may be a secret.
func (s *Session) Call(
	ctx context.Context, timeout time.Duration, command string, args *govici.Message,
) (*govici.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := s.vici.Call(ctx, command, args)
	s.conn.takenAll()
	return answer, s.outcome(command, answer, err)
}

// Stream runs a command that charon answers with a list of events, such as list-sas with list-sa,
// and hands each of them to item, in order. It reads all of them, however many there are, and takes
// at most timeout. Its errors are those of Call.
func (s *Session) Stream(
	ctx context.Context, timeout time.Duration, command, event string, args *govici.Message,
	item func(*govici.Message),
) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var failed error
	for m, err := range s.vici.CallStreaming(ctx, command, event, args) {
		s.conn.taken()
		if err != nil {
			failed = s.outcome(command, m, err)
			continue
		}
		item(m)
	}
	s.conn.takenAll()
	if failed == nil && ctx.Err() != nil {
		s.broken = true
		failed = fmt.Errorf("%s: %w: %w", command, ErrBroken, ctx.Err())
	}
	return failed
}

// outcome turns what govici returned for a command into the errors of this package.
func (s *Session) outcome(command string, answer *govici.Message, err error) error {
	if err == nil {
		return nil
	}
	if answer != nil {
		return &CommandError{Command: command, Message: message.Text(answer, "errmsg")}
	}
	s.broken = true
	return fmt.Errorf("%s: %w: %w", command, ErrBroken, err)
}

// CommandError is the error of a command that charon refused.
type CommandError struct {
	Command string // such as "load-conn"
	Message string // charon's words
}

// Error names the command and what charon said.
func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: charon says: %s", e.Command, message.Shorten(e.Message))
}

// refused reports whether an error means that charon refused a command, and returns charon's words.
func refused(err error) (words string, ok bool) {
	var refusal *CommandError
	if errors.As(err, &refusal) {
		return refusal.Message, true
	}
	return "", false
}

// subscribe makes charon send events, on a session that is used for nothing else. It returns the
// channel on which they come, which is closed when the session ends. For each event the caller
// takes from the channel it must call conn.taken.
//
// The connection holds events back until charon has confirmed the last subscription, because govici
// deadlocks on an event that arrives while it subscribes. The command afterwards makes govici's
// reader go on, which then delivers the events held back.
func (s *Session) subscribe(
	ctx context.Context, timeout time.Duration, names ...string,
) (<-chan govici.Event, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	watchdog := time.AfterFunc(timeout, func() { _ = s.Close() })
	defer watchdog.Stop()

	events := make(chan govici.Event, 2*window)
	s.vici.NotifyEvents(events)
	s.conn.holdEvents.Store(true)
	for _, name := range names {
		if err := s.vici.Subscribe(name); err != nil {
			return nil, fmt.Errorf("subscribe to %s: %w", name, err)
		}
	}
	s.conn.holdEvents.Store(false)
	if _, err := s.Call(ctx, timeout, "version", nil); err != nil {
		return nil, err
	}
	return events, nil
}

// Stream connects to the charon that listens on a socket and runs one command as [Session.Stream]
// does. It is for those who look at a charon from outside.
func Stream(
	ctx context.Context, timeout time.Duration, socket, command, event string,
	item func(*govici.Message),
) error {
	s, err := Dialer{Socket: socket}.Connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Stream(ctx, timeout, command, event, nil, item)
}
