package vici

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxFrame  = 1 << 20 // twice what charon sends at most
	window    = 64      // frames that govici may have read and we not yet taken; it drops what exceeds 128
	maxHeld   = 100_000 // events held back while subscribing
	typeEvent = 7       // packet type of an event
)

// frameConn is the connection under a govici session. It knows VICI's frames (u32 length, u8 type, payload) and makes govici
// safe to use by what it lets through when:
//   - at most window frames that the caller has not yet taken, where govici would drop silently what its buffers do not hold,
//     the end of a stream included;
//   - no events while hold is set, since govici deadlocks on an event that comes while it subscribes;
//   - no read deadlines, with which govici ends a session after five seconds of silence: time limits are contexts here, and a
//     session that missed one is thrown away;
//   - no frame longer than charon can send, since govici allocates whatever the length says.
type frameConn struct {
	net.Conn
	in   *bufio.Reader
	rest []byte   // of the frame being delivered
	held [][]byte // events held back, in order; the reader's own
	hold atomic.Bool
	room chan struct{} // an entry per frame delivered and not yet taken

	watch *stallWatch // nil: nobody measures how long charon is silent
	asked bool        // a request waits for its answer; the watch's, as is shut
	shut  bool        // closed: no answer can come

	once   sync.Once
	closed chan struct{}
}

func newFrameConn(c net.Conn) *frameConn {
	return &frameConn{Conn: c, in: bufio.NewReaderSize(c, 64<<10), room: make(chan struct{}, window), closed: make(chan struct{})}
}

// Read implements net.Conn, for govici's reader alone.
func (c *frameConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		frame, err := c.next()
		if err != nil {
			return 0, err
		}
		select {
		case c.room <- struct{}{}:
		case <-c.closed:
			return 0, net.ErrClosed
		}
		c.rest = frame
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// next gives the frame to deliver next, its length included.
func (c *frameConn) next() ([]byte, error) {
	for {
		if len(c.held) > 0 && !c.hold.Load() {
			frame := c.held[0]
			c.held = c.held[1:]
			return frame, nil
		}
		frame, err := c.read()
		if err != nil {
			return nil, err
		}
		if frame[4] != typeEvent || (len(c.held) == 0 && !c.hold.Load()) {
			return frame, nil
		}
		if len(c.held) == maxHeld {
			return nil, fmt.Errorf("charon raised %d events before it confirmed the subscription", maxHeld)
		}
		c.held = append(c.held, frame)
	}
}

func (c *frameConn) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return nil, fmt.Errorf("a VICI frame of %d bytes: is this charon's VICI socket?", n)
	}
	frame := make([]byte, 4+n)
	copy(frame, head[:])
	if _, err := io.ReadFull(c.in, frame[4:]); err != nil {
		return nil, err
	}
	if c.watch != nil {
		c.watch.heard(c, frame[4] != typeEvent)
	}
	return frame, nil
}

// Write implements net.Conn: everything that goes out is a request.
func (c *frameConn) Write(b []byte) (int, error) {
	if c.watch != nil {
		c.watch.asked(c)
	}
	return c.Conn.Write(b)
}

// consumed says that the caller has taken one frame.
func (c *frameConn) consumed() {
	select {
	case <-c.room:
	default:
	}
}

// consumedAll says that nothing delivered is waiting to be taken.
func (c *frameConn) consumedAll() {
	for len(c.room) > 0 {
		c.consumed()
	}
}

// SetReadDeadline implements net.Conn. It does nothing.
func (c *frameConn) SetReadDeadline(time.Time) error { return nil }

// Close implements net.Conn. It may be called more than once and by any goroutine.
func (c *frameConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.closed)
		if c.watch != nil {
			c.watch.closed(c)
		}
		err = c.Conn.Close()
	})
	return err
}
