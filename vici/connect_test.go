package vici

import (
	"sync/atomic"
	"testing"
	"time"
)

// A charon that goes before it gets a command is noticed at once: nobody listens, which is not a
// full backlog.
func TestCharonIsGoneBeforeTheFirstCommand(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.crash()
		eventsNow(c)
		var dialled atomic.Bool
		f.do(func(f *fakeCharon) {
			f.down = false
			// the session for events is the last that it takes
			f.onDial = func(f *fakeCharon) { f.down = true; dialled.Store(true) }
		})
		for began := time.Now(); !dialled.Load() && time.Since(began) < time.Minute; {
			after(c, 10*time.Millisecond)
		}
		if !dialled.Load() {
			t.Fatal("it was never tried")
		}
		after(c, time.Second)
		if st := c.Status(); st.Connected {
			t.Errorf("a second later it is taken to be there: %+v", st)
		}
	})
}
