package session

import (
	"sync"
	"time"
)

// SilenceWatch measures how long charon leaves requests unanswered, over all connections of a
// [Dialer]. A charon that stands still (stopped, swapped out, its machine overloaded) shows itself
// by nothing else.
type SilenceWatch struct {
	// Report is called when charon sends again after more than a second in which a request
	// waited: with the time when that silence began, and its length. It must not block and must not
	// call back into the session.
	Report func(began time.Time, silence time.Duration)

	mu      sync.Mutex
	waiting int       // connections with an unanswered request
	since   time.Time // the last frame while a request waits, or that request; zero: none waits
}

// shortSilence is an ordinary wait for an answer, which is not reported.
const shortSilence = time.Second

// asked notes that a request goes out on a connection.
func (w *SilenceWatch) asked(c *frameConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.awaiting || c.shut {
		return
	}
	c.awaiting = true
	w.waiting++
	if w.since.IsZero() {
		w.since = time.Now()
	}
}

// received notes a frame from charon: the answer to the connection's request, or an event.
func (w *SilenceWatch) received(c *frameConn, answer bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if answer {
		w.answered(c)
	}
	if w.since.IsZero() {
		return
	}
	now, began := time.Now(), w.since
	w.since = time.Time{}
	if w.waiting > 0 {
		w.since = now
	}
	if silence := now.Sub(began); silence > shortSilence {
		w.Report(began, silence)
	}
}

// closed forgets a connection that this end closes, and its request. A silence goes on until charon
// sends on any connection.
func (w *SilenceWatch) closed(c *frameConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered(c)
	c.shut = true
}

// answered notes that no request waits on a connection any more. The caller holds mu.
func (w *SilenceWatch) answered(c *frameConn) {
	if c.awaiting {
		c.awaiting = false
		w.waiting--
	}
}
