package vici

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/vici/profile"
)

// rejected makes charon give up an initiation at once, with the reason in its log.
func rejected(f *fakeCharon, name string) *tree {
	f.raise("log", mk("ikesa-name", name, "msg", "received AUTHENTICATION_FAILED notify error"))
	return yes
}

// wantNoLogSubscription fails the test if a session is subscribed to charon's log.
func wantNoLogSubscription(t *testing.T, f *fakeCharon, when string) {
	t.Helper()
	if n := f.subscribers("log"); n != 0 {
		t.Errorf("%s: want no subscription to charon's log, have %d", when, n)
	}
}

// The client does not subscribe to charon's log while nothing fails or peers are only silent,
// whoever dials.
func TestNoLogSubscriptionWithoutNeed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			f.onSubscribe = func(_ *fakeCharon, event string) {
				if event == "log" {
					t.Error("subscribed to the log")
				}
			}
			f.onInitiate = succeed
		})
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no") })
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		c.Want(key("192.0.2.3"), Initiate)
		after(c, 5*time.Minute)
	})
}

// If charon's retransmissions are set to end early, charon gives up a silent peer by itself. The
// client reports that as silence, too.
func TestSilenceEndsEarly(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "still trying", after(c, 6*time.Second))
		f.do(func(f *fakeCharon) { clear(f.sas) })
		got := after(c, 2*time.Second)
		if len(got) != 1 || !strings.Contains(got[0].(Failed).Reason, "no answer") ||
			f.count("initiate") != 1 {
			t.Errorf("want a failure for silence after one attempt, have %v after %d", got,
				f.count("initiate"))
		}
		wantNoLogSubscription(t, f, "after silence")
	})
}

// While a wanted peer fails, one session is subscribed to charon's log. The subscription ends
// within two minutes after the last failure, and begins again when a peer fails again.
func TestLogSubscriptionOpensAndCloses(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = rejected })
		eventsNow(c)
		for range 2 {
			c.Want(key("192.0.2.1"), Initiate)
			c.Want(key("192.0.2.2"), Initiate)
			if got := after(c, 2*time.Second); len(got) != 2 {
				t.Errorf("want a failure of each peer, have %v", got)
			}
			c.Want(key("192.0.2.1"), None)
			after(c, 10*time.Minute)
			if n := f.subscribers("log"); n != 1 {
				t.Fatalf("want one log subscription while a peer fails, have %d", n)
			}
			f.do(func(f *fakeCharon) { f.onInitiate = succeed })
			after(c, 4*time.Minute)
			wantNoLogSubscription(t, f, "when all is well")
			f.do(func(f *fakeCharon) { f.onInitiate = rejected })
			c.Want(key("192.0.2.2"), None)
			c.Close(key("192.0.2.2"))
			eventsNow(c)
		}
	})
}

// Neither a peer that is not wanted any more nor one that is silent all the time keeps the
// subscription to charon's log.
func TestLogSubscriptionEndsWithTheLastWantedFailure(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		silent := key("192.0.2.9")
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				if name == profile.ConnectionName(silent.Interface, silent.NBMA) {
					return halfOpen(f, name)
				}
				return rejected(f, name)
			}
		})
		eventsNow(c)
		c.Want(silent, Initiate)
		c.Want(key("192.0.2.1"), Initiate)
		after(c, 10*time.Second)
		if n := f.subscribers("log"); n != 1 {
			t.Fatalf("want one log subscription while a peer fails, have %d", n)
		}
		c.Want(key("192.0.2.1"), Accept)
		after(c, time.Minute)
		wantNoLogSubscription(t, f, "when nothing is wanted")
	})
}

// If the client cannot subscribe to the log, or the log gives no known reason, the failure is
// reported after one more attempt, without a guess.
func TestReasonStaysUnknown(t *testing.T) {
	for name, prepare := range map[string]func(f *fakeCharon){
		"no subscription": func(f *fakeCharon) { f.unknown, f.onInitiate = "log", rejected },
		"no reason":       func(f *fakeCharon) {},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				f.do(prepare)
				eventsNow(c)
				c.Want(key("192.0.2.1"), Initiate)
				got := after(c, 3500*time.Millisecond)
				if len(got) != 1 || !strings.Contains(got[0].(Failed).Reason, "did not say why") ||
					f.count("initiate") != 2 {
					t.Errorf("want a failure without a reason after 2 attempts, have %v after %d",
						got, f.count("initiate"))
				}
			})
		})
	}
}

// For the first IKE_SA without a child the client reports words that hold whatever the reason is.
// From the second on charon's log gives the reason.
func TestReasonOfChildlessSA(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.childless("192.0.2.1", "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built")
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		got := after(c, 13*time.Second)
		if len(got) != 2 || !strings.Contains(got[0].(Failed).Reason, "ESP proposal") ||
			!strings.Contains(got[1].(Failed).Reason, "NO_PROPOSAL_CHOSEN") {
			t.Errorf("want first general words, then charon's reason, have %v", got)
		}
	})
}

// The log subscription ends with charon, whether it is open or being opened. The client goes on
// with the next charon.
func TestLogSubscriptionEndsWithCharon(t *testing.T) {
	for name, delay := range map[string]time.Duration{"open": 0, "opening": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				f.do(func(f *fakeCharon) {
					f.onInitiate = rejected
					f.delay = map[string]time.Duration{"log": delay}
				})
				eventsNow(c)
				c.Want(key("192.0.2.1"), Initiate)
				after(c, 4*time.Second)
				f.crash()
				wantEvents(t, "crashed", after(c, 20*time.Second), Disconnected{})
				wantNoLogSubscription(t, f, "without charon")
				f.do(func(f *fakeCharon) { f.onInitiate = succeed })
				f.comeBack()
				wantEvents(t, "back", after(c, 5*time.Second), Connected{"5.9.8"},
					Snapshot{Interface: "gre1"}, upOf("192.0.2.1", true))
				wantNoLogSubscription(t, f, "with the next charon")
			})
		})
	}
}

// Run ends while a log subscription is being opened, and leaves nothing behind.
func TestRunEndsWhileALogSubscriptionOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const opening = 10 * time.Second
		f := newFake()
		f.onInitiate = rejected
		f.delay = map[string]time.Duration{"log": opening}
		c := New(Options{Log: slog.New(slog.DiscardHandler)})
		f.serves(c)
		c.SetProfile(testProfile())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = c.Run(ctx) }()
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "meanwhile", after(c, 4*time.Second))
		end := time.Now()
		cancel()
		<-ended
		if late := time.Since(end); late != 0 {
			t.Errorf("want Run to end at once, it took %v", late)
		}
		<-time.After(opening) // until the fake charon has answered
		wantNoLogSubscription(t, f, "after the end")
	})
}
