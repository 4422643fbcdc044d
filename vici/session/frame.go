package session

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
	maxFrame  = 1 << 20 // bytes; twice the longest frame that charon sends
	window    = 64      // frames that govici may hold for the caller; it drops frames beyond 128
	maxHeld   = 100_000 // events held back during a subscription
	typeEvent = 7       // VICI's packet type of an event
)

// frameConn is the connection under a govici session. It reads VICI's frames (u32 length, u8 type,
// payload) and controls what govici gets, and when, so that govici is safe to use:
//   - govici gets at most window frames that the caller has not taken yet. It silently drops what
//     its buffers do not hold, the end of a stream included.
//   - govici gets no event while holdEvents is set. An event that arrives while govici subscribes
//     would deadlock it.
//   - Read deadlines have no effect. With them govici would end a session after five seconds of
//     silence. Here every call has a context, and a session that missed its time limit is closed.
//   - A frame longer than charon can send is an error. govici would allocate whatever the length
//     field claims.
type frameConn struct {
	net.Conn
	in         *bufio.Reader
	rest       []byte   // what is left of the frame that govici is reading
	held       [][]byte // events held back, in order; only Read uses it
	holdEvents atomic.Bool
	untaken    chan struct{} // one entry for each frame delivered and not yet taken

	silence  *SilenceWatch // nil: nobody measures how long charon is silent
	awaiting bool          // a request waits for its answer; guarded by silence, like shut
	shut     bool          // closed: no answer can come

	once   sync.Once
	closed chan struct{}
}

func newFrameConn(c net.Conn) *frameConn {
	return &frameConn{
		Conn:    c,
		in:      bufio.NewReaderSize(c, 64<<10),
		untaken: make(chan struct{}, window),
		closed:  make(chan struct{}),
	}
}

// Read implements net.Conn. Only govici's reader calls it.
func (c *frameConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		frame, err := c.next()
		if err != nil {
			return 0, err
		}
		select {
		case c.untaken <- struct{}{}:
		case <-c.closed:
			return 0, net.ErrClosed
		}
		c.rest = frame
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// next returns the frame to deliver next, with its length field.
func (c *frameConn) next() ([]byte, error) {
	for {
		if len(c.held) > 0 && !c.holdEvents.Load() {
			frame := c.held[0]
			c.held = c.held[1:]
			return frame, nil
		}
		frame, err := c.read()
		if err != nil {
			return nil, err
		}
		if frame[4] != typeEvent || (len(c.held) == 0 && !c.holdEvents.Load()) {
			return frame, nil
		}
		if len(c.held) == maxHeld {
			return nil, fmt.Errorf("charon raised %d events before it confirmed the subscription",
				maxHeld)
		}
		c.held = append(c.held, frame)
	}
}

// read reads one frame from charon.
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
	if c.silence != nil {
		c.silence.received(c, frame[4] != typeEvent)
	}
	return frame, nil
}

// Write implements net.Conn. Everything that govici writes is a request.
func (c *frameConn) Write(b []byte) (int, error) {
	if c.silence != nil {
		c.silence.asked(c)
	}
	return c.Conn.Write(b)
}

// taken notes that the caller has taken one frame.
func (c *frameConn) taken() {
	select {
	case <-c.untaken:
	default:
	}
}

// takenAll notes that the caller has taken every frame delivered so far.
func (c *frameConn) takenAll() {
	for len(c.untaken) > 0 {
		c.taken()
	}
}

// SetReadDeadline implements net.Conn. It has no effect; see frameConn.
func (c *frameConn) SetReadDeadline(time.Time) error { return nil }

// Close implements net.Conn. Any goroutine may call it, more than once.
func (c *frameConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.closed)
		if c.silence != nil {
			c.silence.closed(c)
		}
		err = c.Conn.Close()
	})
	return err
}
