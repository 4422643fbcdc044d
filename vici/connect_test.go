package vici

import (
	"sync/atomic"
	"testing"
	"time"
)

// The client notices at once that charon is gone before the first command: the socket refuses the
// connection, which a full backlog does not.
func TestCharonIsGoneBeforeTheFirstCommand(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.crash()
		eventsNow(c)
		var dialled atomic.Bool
		f.do(func(f *fakeCharon) {
			f.down = false
			// charon takes the session for events and then no other
			f.onDial = func(f *fakeCharon) { f.down = true; dialled.Store(true) }
		})
		for began := time.Now(); !dialled.Load() && time.Since(began) < time.Minute; {
			after(c, 10*time.Millisecond)
		}
		if !dialled.Load() {
			t.Fatal("want a connection within a minute, have none")
		}
		after(c, time.Second)
		if st := c.Status(); st.Connected {
			t.Errorf("want charon gone a second later, have %+v", st)
		}
	})
}
