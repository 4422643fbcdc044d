// Package authorizer asks the program of a site that decides which routers may register: see
// doc/authorize.md, which has the protocol.
//
// The client neither waits for answers nor knows what they are for. A question that cannot be asked
// is dropped and counted; who asks has a time-out for it.
package authorizer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sys/unix"
)

// Handler gets what an authorizer says. Its methods may wait, until ctx ends at most; the client
// reads nothing meanwhile.
type Handler interface {
	// Connected is called with each new connection.
	Connected(ctx context.Context)
	// Answered is called with each answer.
	Answered(ctx context.Context, a Answer)
	// Recheck is called when the authorizer has changed its mind about an identity, or about all if
	// that is empty.
	Recheck(ctx context.Context, identity string)
}

// Client asks an authorizer.
type Client struct {
	log     *slog.Logger
	handler Handler
	changed chan struct{} // holds a value if there is another socket than before

	mu     sync.Mutex // guards what follows
	socket string     // empty: there is no authorizer
	lines  chan []byte
	state  State
}

// State is what a client has to report of itself.
type State struct {
	Connected bool
	Since     time.Time // when Connected became what it is
	Error     string    // why there is no connection, or what was wrong with the last line
	Dropped   uint64    // questions that could not be asked
	Malformed uint64    // lines that could not be read
}

const (
	// queued is how many questions may wait to be written.
	queued = 512
	// writeTime is how long an authorizer has to read a question.
	writeTime = 5 * time.Second
	// dialTime is how long an authorizer has to take a connection.
	dialTime = 5 * time.Second
	// mostMalformed is how many lines in a row may be unreadable.
	mostMalformed = 8
)

// New returns a client without an authorizer. The caller runs it.
func New(log *slog.Logger, handler Handler) *Client {
	return &Client{log: log, handler: handler, changed: make(chan struct{}, 1)}
}

// Use has the client ask the authorizer at a socket from now on, or none if that is empty.
func (c *Client) Use(socket string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if socket == c.socket {
		return
	}
	c.socket = socket
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Ask asks the authorizer at a socket. It never waits: without a connection, while the client uses
// another socket, and if too many questions wait to be written, the question is dropped.
func (c *Client) Ask(socket string, q Question) {
	q.V, q.Kind = Version, KindRegistration
	data, err := json.Marshal(q)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || c.lines == nil || socket != c.socket {
		c.state.Dropped++
		return
	}
	select {
	case c.lines <- append(data, '\n'):
	default:
		c.state.Dropped++
	}
}

// State returns a copy of the client's state.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Run keeps a connection to the authorizer until the context ends.
func (c *Client) Run(ctx context.Context) error {
	failed := backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond,
		MaxInterval:     10 * time.Second,
		Multiplier:      2,
	}
	for ctx.Err() == nil {
		socket := c.take()
		if socket == "" {
			select {
			case <-ctx.Done():
			case <-c.changed:
			}
			continue
		}
		err := c.talk(ctx, socket, failed.Reset)
		if ctx.Err() != nil {
			return nil
		}
		if c.current() != socket {
			failed.Reset()
			c.disconnected("")
			continue
		}
		wait := failed.NextBackOff()
		if wait == failed.InitialInterval { // the first failure since it worked
			c.log.Warn("no connection to the authorizer: new routers get the default of authorize_default; trying again",
				"socket", socket, "error", err)
		}
		c.disconnected(err.Error())
		c.pause(ctx, wait)
	}
	return nil
}

// current returns the socket to use.
func (c *Client) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.socket
}

// take returns the socket to use, and takes note of all changes until now.
func (c *Client) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.changed:
	default:
	}
	return c.socket
}

// pause waits, or until there is another socket.
func (c *Client) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.changed:
	case <-ctx.Done():
	}
}

// connected records that there is a connection, and returns the questions that are to be written.
func (c *Client) connected() chan []byte {
	lines := make(chan []byte, queued)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = lines
	c.state.Connected, c.state.Since, c.state.Error = true, time.Now(), ""
	return lines
}

// disconnected records that there is no connection, and why.
func (c *Client) disconnected(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = nil
	if c.state.Connected || c.state.Since.IsZero() {
		c.state.Connected, c.state.Since = false, time.Now()
	}
	c.state.Error = why
}

// talk connects to the authorizer, and then writes questions and reads answers until that fails,
// the context ends or there is another socket. It calls answered after each line that it can use,
// and returns why it ended.
func (c *Client) talk(ctx context.Context, socket string, answered func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := dial(ctx, socket)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel(nil)
	lines := c.connected()
	c.log.Info("connected to the authorizer", "socket", socket)
	tasks.Go(func() { cancel(c.write(ctx, conn, lines)) })
	c.handler.Connected(ctx)
	err = c.read(ctx, conn, answered)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// write writes questions until that fails, the context ends or there is another socket.
func (c *Client) write(ctx context.Context, conn net.Conn, lines <-chan []byte) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.changed:
			return errors.New("another socket is configured")
		case data := <-lines:
			if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
				return fmt.Errorf("ask the authorizer: %w", err)
			}
			if _, err := conn.Write(data); err != nil {
				return fmt.Errorf("ask the authorizer: %w", err)
			}
		}
	}
}

// read hands on what the authorizer says until the connection ends, and calls answered each time.
func (c *Client) read(ctx context.Context, conn net.Conn, answered func()) error {
	in := bufio.NewReaderSize(conn, MaxLine)
	for bad := 0; ; {
		data, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			c.malformed("")
			return fmt.Errorf("the authorizer sent a line of more than %d bytes", MaxLine)
		case errors.Is(err, io.EOF):
			return errors.New("the authorizer closed the connection")
		case err != nil:
			return fmt.Errorf("read from the authorizer: %w", err)
		}
		answer, recheck, err := parse(data)
		switch {
		case err != nil:
			if bad++; bad >= mostMalformed {
				return fmt.Errorf(
					"%d lines of the authorizer in a row cannot be read; the last: %w", bad, err)
			}
			c.malformed("a line of the authorizer cannot be read: " + err.Error())
			if bad == 1 {
				c.log.Warn("a line of the authorizer cannot be read: the question counts as not answered",
					"error", err)
			}
			continue
		case answer != nil:
			c.handler.Answered(ctx, *answer)
		default:
			c.handler.Recheck(ctx, recheck)
		}
		bad = 0
		answered()
	}
}

// malformed counts a line that cannot be read.
func (c *Client) malformed(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Malformed++
	if why != "" {
		c.state.Error = why
	}
}

// dial connects to a socket, and returns an error if the program that listens there must not decide
// who registers. That is anybody but root and the user that the daemon runs as. A socket that
// systemd made is root's, whatever user its service runs as.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime}
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the authorizer: %w", err)
	}
	uid, err := listener(conn.(*net.UnixConn))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find out who listens at %s: %w", socket, err),
			conn.Close())
	}
	if !trusted(uid, os.Geteuid()) {
		err := fmt.Errorf("user %d listens at %s, and only root may: let systemd make the socket",
			uid, socket)
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// trusted reports whether a user may decide who registers, for a daemon that runs as self.
func trusted(uid uint32, self int) bool { return uid == 0 || int64(uid) == int64(self) }

// listener returns the user that made the socket at the other end of a connection.
func listener(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
