package vici

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/vici/profile"
)

// refuse makes charon refuse every initiation.
func refuse(f *fakeCharon, name string) *tree {
	return mk("success", "no", "errmsg", "establishing failed")
}

// After a failed attempt the client waits 1 s, 2 s, 4 s and so on up to a minute, each time up to a
// quarter longer at random.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = refuse })
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		after(c, 10*time.Minute)
		span := time.Second
		at := f.seen().at
		for i := range at[1:] {
			wait := at[i+1].Sub(at[i])
			if wait < span || wait > span+span/4 || wait > time.Minute {
				t.Errorf("wait %d: want %v and up to a quarter more, have %v", i+1, span, wait)
			}
			span = min(2*span, 48*time.Second)
		}
		if len(at) < 12 {
			t.Errorf("want at least 12 attempts in ten minutes, have %d", len(at))
		}
	})
}

// The client reports each failure, with the peer's address and charon's reason. The next attempt
// follows.
func TestFailureIsReported(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = refuse })
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		got := after(c, 2*time.Second)
		if len(got) != 2 {
			t.Fatalf("want two failures, have %v", got)
		}
		failed, ok := got[0].(Failed)
		if !ok || failed.Key != key("192.0.2.1") || !strings.Contains(failed.Reason, "192.0.2.1") ||
			!strings.Contains(failed.Reason, "establishing failed") {
			t.Errorf("want a failure that names the peer and charon's reason, have %+v", got[0])
		}
	})
}

// The client dials a peer 100 ms after the loss of its SA. In this time the consumer of Down can
// say that the peer is not wanted any more. If the new SA is lost at once, as when the peer closes
// it, the client waits longer each time.
func TestLostAndFlapping(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
		lost := time.Now()
		wantEvents(t, "lost", after(c, time.Second), Down{key("192.0.2.1"), closedByPeer},
			upOf("192.0.2.1", true))
		if wait := f.seen().at[1].Sub(lost); wait != defaultTimes.redial {
			t.Errorf("want an attempt %v after the loss, have %v", defaultTimes.redial, wait)
		}
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				f.end(f.establish(name, "192.0.2.1"))
				return yes
			}
			f.end(f.ids()[0])
		})
		before := len(f.seen().at)
		after(c, 10*time.Second)
		if n := len(f.seen().at) - before; n < 2 || n > 5 {
			t.Errorf("want 2 to 5 attempts in 10 s with a peer that closes each SA, have %d", n)
		}
	})
}

// The client does not dial a lost peer that is not wanted any more. When a peer stops being wanted
// during an attempt, the client ends the attempt and unloads the connection.
func TestUnwantedPeersAreNotDialled(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
		wantEvents(t, "lost", eventsNow(c), Down{key("192.0.2.1"), closedByPeer})
		c.Want(key("192.0.2.1"), None)
		after(c, time.Minute)
		if n := len(f.seen().at); n != 1 {
			t.Errorf("want one attempt, before the peer stopped being wanted, have %d", n)
		}

		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		c.Want(key("192.0.2.2"), Initiate)
		eventsNow(c)
		if n := len(f.seen().sas); n != 1 {
			t.Fatalf("want one half-open IKE_SA, have %d", n)
		}
		c.Want(key("192.0.2.2"), None)
		eventsNow(c)
		if sas := f.seen().sas; len(sas) != 0 || f.has("cygnet-gre1-192.0.2.2") {
			t.Errorf("the attempt goes on although the peer is not wanted: IKE_SAs %v", sas)
		}
	})
}

// The answer "existing duplicate" means that the peer was faster. The client finds the peer's SA
// and reports no failure.
func TestExistingDuplicate(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				id, sa := f.section("cygnet-gre1", "192.0.2.1", "initiator", "no")
				f.sas[id] = sa // charon raises no event
				return mk("success", "no", "errmsg",
					"not establishing CHILD_SA 'gre' due to existing duplicate")
			}
		})
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "up", after(c, 5*time.Second), upOf("192.0.2.1", false))
	})
}

// When charon has returned and all peers have to be dialled, the client dials the InitiateFirst
// peers before all others.
func TestFirstPeersPassOthersAfterARestart(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		c.post(func(*reconciler) { c.inFlight = 1 })
		for i := range 40 {
			c.Want(key(fmt.Sprintf("192.0.2.%d", i+1)), Initiate)
		}
		c.Want(key("198.51.100.1"), InitiateFirst)
		c.Want(key("198.51.100.2"), InitiateFirst)
		after(c, time.Minute)
		before := len(f.seen().order)
		f.crash()
		after(c, time.Second)
		f.comeBack()
		after(c, time.Minute)
		var order []string
		for _, command := range f.seen().order[before:] {
			if name, ok := strings.CutPrefix(command, "initiate cygnet-gre1-"); ok {
				order = append(order, name)
			}
		}
		if len(order) != 42 || !strings.HasPrefix(order[0], "198.51.100.") ||
			!strings.HasPrefix(order[1], "198.51.100.") {
			t.Errorf("want 198.51.100.1 and .2 dialled before 40 others, have %v", order)
		}
	})
}

// If no peer answers in the first half minute after charon's return, charon never has more
// half-open IKE_SAs than MaxInitiations, even if charon takes long to end one. All peers have their
// turn.
func TestMaxHalfOpen(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		most, dialled := 0, map[string]bool{}
		f.do(func(f *fakeCharon) {
			f.delay = map[string]time.Duration{"terminate": 300 * time.Millisecond}
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				answer := halfOpen(f, name)
				most, dialled[name] = max(most, len(f.sas)), true
				return answer
			}
		})
		for i := range 50 {
			c.Want(key(fmt.Sprintf("192.0.2.%d", i+1)), Initiate)
		}
		after(c, 25*time.Second)
		f.do(func(f *fakeCharon) { f.delay = nil })
		after(c, time.Second) // so that no command runs when the test ends
		if most != 10 || len(dialled) != 50 {
			t.Errorf("want 10 half-open IKE_SAs at once and 50 peers dialled, have %d and %d", most,
				len(dialled))
		}
	})
}

// halfOpen makes charon begin an IKE_SA to which the peer does not answer.
func halfOpen(f *fakeCharon, name string) *tree {
	_, addr, _ := profile.ParseName(name)
	id, sa := f.section(name, addr.String(), "state", "CONNECTING", "responder-spi",
		"0000000000000000", "child-sas", mk())
	f.sas[id] = sa
	return yes
}

// In the first half minute after charon's return, the client begins an attempt without any answer
// anew every two seconds. Later an attempt has 30 seconds. Then the client ends it and reports that
// the peer does not answer.
func TestNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "the first half minute", after(c, 29*time.Second))
		if n := len(f.seen().at); n < 13 || n > 15 {
			t.Errorf("want 13 to 15 attempts in 29 s, have %d", n)
		}
		if n := len(f.seen().sas); n != 1 {
			t.Errorf("want one half-open IKE_SA, have %d", n)
		}
		before := len(f.seen().at)
		got := after(c, 35*time.Second)
		if n := len(f.seen().at) - before; n > 3 {
			t.Errorf("want at most 3 attempts in the next 35 s, have %d", n)
		}
		if failed, ok := got[0].(Failed); !ok ||
			!strings.Contains(failed.Reason, "UDP ports 500 and 4500") {
			t.Errorf("want a failure that names the UDP ports, have %+v", got)
		}
	})
}

// The client begins an attempt with a silent InitiateFirst peer anew every two seconds for half a
// minute, then less often, but at least every eleven seconds, however long the peer has been
// silent. It reports the silence every half minute.
func TestSilentFirstPeerIsDialledOften(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		eventsNow(c)
		c.Want(key("192.0.2.1"), InitiateFirst)
		after(c, time.Hour)
		f.do(func(f *fakeCharon) {
			f.onInitiate = halfOpen
			f.end(f.ids()[0])
		})
		before, begin := len(f.seen().at), time.Now()
		failures := 0
		for _, e := range after(c, 10*time.Minute) {
			if _, ok := e.(Failed); ok {
				failures++
			}
		}
		at := f.seen().at[before:]
		for i := range at[1:] {
			wait, most := at[i+1].Sub(at[i]), 2200*time.Millisecond
			if at[i].Sub(begin) > 28*time.Second {
				most = 11 * time.Second
			}
			if wait > most {
				t.Errorf("%v after the loss: want the next attempt within %v, have %v",
					at[i+1].Sub(begin), most, wait)
			}
		}
		if last := time.Since(at[len(at)-1]); last > 11*time.Second {
			t.Errorf("want the last attempt at most 11 s ago, have %v", last)
		}
		if len(at) > 100 || failures < 10 || failures > 20 {
			t.Errorf("want at most 100 attempts and 10 to 20 failures in ten minutes, have %d and %d",
				len(at), failures)
		}
		if n := len(f.seen().sas); n != 1 {
			t.Errorf("want one half-open IKE_SA, have %d", n)
		}
	})
}

// The client waits at most ten seconds before it dials an InitiateFirst peer again that refuses,
// since the peer's administrator may have corrected the fault.
func TestFirstPeerThatRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = refuse })
		eventsNow(c)
		c.Want(key("192.0.2.1"), InitiateFirst)
		after(c, 10*time.Minute)
		at := f.seen().at
		for i := range at[1:] {
			if wait := at[i+1].Sub(at[i]); wait > defaultTimes.impatience {
				t.Errorf("wait %d: want at most %v, have %v", i+1, defaultTimes.impatience, wait)
			}
		}
		if len(at) < 60 || len(at) > 80 {
			t.Errorf("want 60 to 80 attempts in ten minutes, have %d", len(at))
		}
	})
}

// InitiateFirst peers pass all others that wait for a place.
func TestFirstPeersPassOthers(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		for i := range 40 {
			c.Want(key(fmt.Sprintf("192.0.2.%d", i+1)), Initiate)
		}
		c.Want(key("198.51.100.1"), InitiateFirst)
		c.Want(key("198.51.100.2"), InitiateFirst)
		after(c, 3*time.Second)
		var order []string
		for _, command := range f.seen().order {
			if name, ok := strings.CutPrefix(command, "initiate cygnet-gre1-"); ok {
				order = append(order, name)
			}
		}
		// The first ten attempts free their places at the same moment. The commands for the next
		// ten run on several sessions, so their order is not defined.
		if next := order[10:20]; !slices.Contains(next, "198.51.100.1") ||
			!slices.Contains(next, "198.51.100.2") {
			t.Errorf("want 198.51.100.1 and .2 among the next ten, have %v", next)
		}
	})
}

// At most MaxInitiations attempts are in their first seconds at the same time. Older attempts,
// which wait for an answer, do not keep others from starting.
func TestMaxInitiations(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		for i := range 95 {
			c.Want(key(fmt.Sprintf("192.0.2.%d", i+1)), Initiate)
		}
		after(c, time.Second)
		if n := f.count("initiate"); n != 10 {
			t.Errorf("want 10 initiations at once, have %d", n)
		}
		after(c, 20*time.Second)
		if n := f.count("initiate"); n != 95 {
			t.Errorf("want 95 initiations after 21 s, have %d", n)
		}
		if got := c.Status().Initiating; got != 95 {
			t.Errorf("want 95 attempts under way, have %d", got)
		}
	})
}

// The client reads from charon's log why an attempt failed. At the first failure it has no
// subscription, so it makes a second attempt with one before it reports anything. From then on it
// reports each failure at once.
func TestFailureWords(t *testing.T) {
	for _, test := range []struct{ line, word string }{
		{"received AUTHENTICATION_FAILED notify error", "same PSK"},
		{"no shared key found for 'a' - 'b'", "no PSK"},
		{"no private key found for 'a'", "/etc/swanctl/private"},
		{"no trusted ECDSA public key found for 'b'", "x509ca"},
		{"constraint check failed: identity 'c' required ", "remote identity"},
		{"received NO_PROPOSAL_CHOSEN notify error", "algorithms"},
		{"received TS_UNACCEPTABLE notify, no CHILD_SA built", "dynamic[gre]"},
		{"configured DH group CURVE_25519 not supported", "libstrongswan-standard-plugins"},
		{"giving up after 3 retransmits", "UDP ports"},
	} {
		t.Run(test.word, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				f.do(func(f *fakeCharon) {
					f.onInitiate = func(f *fakeCharon, name string) *tree {
						f.raise("log", mk("ikesa-name", name, "msg", "initiating IKE_SA"))
						f.raise("log", mk("ikesa-name", name, "msg", test.line))
						return yes
					}
				})
				eventsNow(c)
				c.Want(key("192.0.2.1"), Initiate)
				wantEvents(t, "without a subscription", after(c, 1400*time.Millisecond))
				got := after(c, 500*time.Millisecond)
				if len(got) != 1 || f.count("initiate") != 2 {
					t.Fatalf("want a failure after 2 attempts, have %v after %d", got,
						f.count("initiate"))
				}
				reason := got[0].(Failed).Reason
				for _, word := range []string{test.word, test.line, "192.0.2.1 on gre1"} {
					if !strings.Contains(reason, word) {
						t.Errorf("want %q in the reason, have %q", word, reason)
					}
				}
				if more := after(c, 1500*time.Millisecond); len(more) != 1 ||
					f.count("initiate") != 3 {
					t.Errorf("want another failure after 3 attempts, have %v after %d", more,
						f.count("initiate"))
				}
			})
		})
	}
}

// From strongSwan 6.0.3 on charon raises alerts, which give the cause of a failure. The client then
// needs no subscription to charon's log.
func TestAlert(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.version = "6.0.3" })
		f.crash()
		f.comeBack()
		after(c, time.Second)
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				f.raise("alert", mk("type", "PEER_AUTH_FAILED", name, mk("uniqueid", "1")))
				return yes
			}
		})
		c.Want(key("192.0.2.1"), Initiate)
		if got := after(c, 500*time.Millisecond); len(got) != 1 ||
			!strings.Contains(got[0].(Failed).Reason, "authentication") {
			t.Errorf("want one failure by authentication, have %v", got)
		}
		f.do(func(f *fakeCharon) { f.onInitiate = nil })
		c.Want(key("192.0.2.2"), Initiate)
		c.Want(key("192.0.2.1"), None)
		got := after(c, 3500*time.Millisecond)
		if len(got) != 1 || !strings.Contains(got[0].(Failed).Reason, "did not say why") ||
			f.subscribers("log") != 0 {
			t.Errorf("want one failure without a reason, and no log subscription, have %v and %d",
				got, f.subscribers("log"))
		}
	})
}
