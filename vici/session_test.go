package vici

import (
	"fmt"
	"testing"
	"testing/synctest"
)

// A consumer that does not keep up gets the state instead of what it missed, and the loss is
// counted.
func TestOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		for i := range maxOutbox + 200 {
			f.do(func(f *fakeCharon) {
				id := f.establish("cygnet-gre1", fmt.Sprintf("10.0.%d.%d", i/250, i%250+1),
					"initiator", "no")
				if i%2 == 1 {
					f.end(id)
				}
			})
		}
		synctest.Wait()
		state := map[Key]bool{}
		snapshots := 0
		for _, e := range eventsNow(c) {
			switch e := e.(type) {
			case Snapshot:
				snapshots++
				clear(state)
				for _, p := range e.Peers {
					state[p.Key()] = true
				}
			case Up:
				state[e.Key()] = true
			case Down:
				delete(state, e.Key)
			}
		}
		if snapshots == 0 || c.Status().EventsDropped == 0 {
			t.Errorf("want snapshots and dropped events, have %d and %d", snapshots,
				c.Status().EventsDropped)
		}
		if want := (maxOutbox + 200) / 2; len(state) != want {
			t.Errorf("want the consumer to know %d peers, have %d", want, len(state))
		}
	})
}

// The client reads a list of many SAs whole, and all events. govici by itself loses some of both.
func TestNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		f := newFake()
		addr := func(i int) string {
			return fmt.Sprintf("10.%d.%d.%d", i/62500, i/250%250, i%250+1)
		}
		for i := range n {
			f.establish("cygnet-gre1", addr(i), "initiator", "no")
		}
		c := start(t, f)
		got := eventsNow(c)
		if len(got) != 2 || len(got[1].(Snapshot).Peers) != n {
			t.Fatalf("%d events, and a snapshot of %d peers, want %d", len(got),
				len(got[1].(Snapshot).Peers), n)
		}
		f.do(func(f *fakeCharon) {
			for i := range n {
				f.end(uint32(i + 1))
			}
		})
		downs := 0
		for range n {
			if _, ok := (<-c.Events()).(Down); ok {
				downs++
			}
		}
		if downs != n {
			t.Errorf("want %d peers down, have %d", n, downs)
		}
	})
}

// Events that come while the client subscribes do not block it, and are not lost.
func TestEventsWhileSubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		i := 0
		f.onSubscribe = func(f *fakeCharon, event string) {
			if event != "list-sa" {
				i++
				f.end(f.establish("cygnet-gre1", fmt.Sprintf("192.0.2.%d", i), "initiator", "no"))
			}
		}
		c := start(t, f)
		got := eventsNow(c)
		if len(got) < 2 {
			t.Fatalf("want two events, have %v", got)
		}
		wantEvents(t, "at first", got[:2], Connected{"5.9.8"}, Snapshot{Interface: "gre1"})
	})
}
