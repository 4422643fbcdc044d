package vici

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/vici/profile"
)

// bubble runs a test against a fake charon with a clock of its own, with the profile of gre1 set
// and a client running.
func bubble(t *testing.T, test func(t *testing.T, f *fakeCharon, c *Client)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := New(Options{Log: slog.New(slog.DiscardHandler), MaxInitiations: 10})
		f.serves(c)
		c.SetProfile(testProfile())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		starts.Store(c, sync.OnceFunc(func() { go func() { ended <- c.Run(ctx) }() }))
		defer starts.Delete(c)
		defer fakes.Delete(c)
		test(t, f, c)
		begin(c)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}

// fakes has the fake charon of each client.
var fakes sync.Map

// serves has a client use this charon.
func (f *fakeCharon) serves(c *Client) {
	c.dialer.Dial = f.dial
	fakes.Store(c, f)
}

// starts has, for each client of a bubble, the function that starts its Run.
var starts sync.Map

// begin starts the client of a bubble, unless it runs. A test begins it by asking for its events
// for the first time, so the client finds what the test set up before that.
func begin(c *Client) {
	if f, ok := starts.Load(c); ok {
		f.(func())()
	}
}

func key(addr string) Key { return Key{Interface: "gre1", NBMA: netip.MustParseAddr(addr)} }

// allowing answers MarksAsked, and returns all other events.
func allowing(c *Client, e Event) []Event {
	if asked, ok := e.(MarksAsked); ok {
		c.AllowMarks(asked.Serial)
		return nil
	}
	return []Event{e}
}

// eventsNow takes the events that the client has emitted when all goroutines of the bubble wait and
// what came of an answered initiation has arrived.
func eventsNow(c *Client) []Event {
	begin(c)
	var events []Event
	for {
		synctest.Wait()
		select {
		case e := <-c.Events():
			events = append(events, allowing(c, e)...)
		default:
			if f, ok := fakes.Load(c); !ok || !f.(*fakeCharon).isComing() {
				return events
			}
			time.Sleep(moment)
		}
	}
}

// after lets time pass, then returns the events that the client emitted meanwhile.
func after(c *Client, d time.Duration) []Event {
	begin(c)
	var events []Event
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case e := <-c.Events():
			events = append(events, allowing(c, e)...)
		case <-time.After(time.Until(end)):
		}
	}
	return append(events, eventsNow(c)...)
}

func testProfile() profile.Profile {
	return profile.Profile{Interface: "gre1",
		LocalAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")}, Identity: "me.example.net",
		PSK: profile.Secret("hunter2")}
}
