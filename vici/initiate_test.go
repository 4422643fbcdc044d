package vici

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/vici/profile"
)

// refuse has charon say no to every initiation.
func refuse(f *fakeCharon, name string) *tree {
	return mk("success", "no", "errmsg", "establishing failed")
}

// Attempts that fail wait 1 s, 2 s, 4 s and so on up to a minute, each a little longer by chance.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = refuse })
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		after(c, 10*time.Minute)
		span := time.Second
		at := f.seen().at
		for i := range at[1:] {
			wait := at[i+1].Sub(at[i])
			if wait < span || wait > span+span/4 || wait > time.Minute {
				t.Errorf("wait %d is %v, want %v and up to a quarter more", i+1, wait, span)
			}
			span = min(2*span, 48*time.Second)
		}
		if len(at) < 12 {
			t.Errorf("%d attempts in ten minutes", len(at))
		}
	})
}

// Each failure is told, with the peer's address and what to check; the next attempt follows.
func TestFailureIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = refuse })
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		got := after(c, 2*time.Second)
		if len(got) != 2 {
			t.Fatalf("told %v", got)
		}
		failed, ok := got[0].(Failed)
		if !ok || failed.Key != key("192.0.2.1") || !strings.Contains(failed.Reason, "192.0.2.1") ||
			!strings.Contains(failed.Reason, "establishing failed") {
			t.Errorf("told %+v", got[0])
		}
	})
}

// A lost SA is replaced as soon as who was told of the loss could say that it is not wanted any
// more; one that is lost again right away, as when the peer closes it, waits.
func TestLostAndFlapping(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
		lost := time.Now()
		wantEvents(t, "lost", after(c, time.Second), Down{key("192.0.2.1"), closedByPeer},
			upOf("192.0.2.1", true))
		if wait := f.seen().at[1].Sub(lost); wait != defaultTimes.redial {
			t.Errorf("dialled %v after the loss", wait)
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
			t.Errorf("%d attempts in 10 s against a peer that closes each SA", n)
		}
	})
}

// Nobody is dialled that nobody wants: not a peer whose loss ends the wish, and an attempt under
// way ends with it.
func TestNobodyDialsWhoIsNotWanted(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
		wantEvents(t, "lost", told(c), Down{key("192.0.2.1"), closedByPeer})
		c.Want(key("192.0.2.1"), None)
		after(c, time.Minute)
		if n := len(f.seen().at); n != 1 {
			t.Errorf("dialled %d times, the last time for nobody", n)
		}

		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		c.Want(key("192.0.2.2"), Initiate)
		told(c)
		if n := len(f.seen().sas); n != 1 {
			t.Fatalf("%d half-open IKE_SAs", n)
		}
		c.Want(key("192.0.2.2"), None)
		told(c)
		if sas := f.seen().sas; len(sas) != 0 || f.has("cygnet-gre1-192.0.2.2") {
			t.Errorf("the attempt goes on for nobody: %v", sas)
		}
	})
}

// "Existing duplicate" is success: the peer was faster. Nothing failed, and its SA is found.
func TestExistingDuplicate(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				id, sa := f.section("cygnet-gre1", "192.0.2.1", "initiator", "no")
				f.sas[id] = sa // without an event
				return mk("success", "no", "errmsg",
					"not establishing CHILD_SA 'gre' due to existing duplicate")
			}
		})
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "up", after(c, 5*time.Second), upOf("192.0.2.1", false))
	})
}

// When charon is back and all have to be dialled, those who are first are dialled before any other.
func TestFirstGoesFirstAfterARestart(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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
		f.back()
		after(c, time.Minute)
		var order []string
		for _, command := range f.seen().order[before:] {
			if name, ok := strings.CutPrefix(command, "initiate cygnet-gre1-"); ok {
				order = append(order, name)
			}
		}
		if len(order) != 42 || !strings.HasPrefix(order[0], "198.51.100.") ||
			!strings.HasPrefix(order[1], "198.51.100.") {
			t.Errorf("dialled in the order %v", order)
		}
	})
}

// Where nobody answers, charon never has more attempts of the first half minute open than the
// setting allows, however long it takes to end one; and all have their turn.
func TestMaxHalfOpen(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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
		after(c, time.Second) // nothing is under way when the test ends
		if most != 10 || len(dialled) != 50 {
			t.Errorf("%d half open at once, want 10; %d of 50 had their turn", most, len(dialled))
		}
	})
}

// halfOpen has charon begin and get no answer.
func halfOpen(f *fakeCharon, name string) *tree {
	_, addr, _ := profile.ParseName(name)
	id, sa := f.section(name, addr.String(), "state", "CONNECTING", "responder-spi",
		"0000000000000000", "child-sas", mk())
	f.sas[id] = sa
	return yes
}

// In the first half minute after charon's return an attempt without any answer starts anew every
// two seconds; later it has its 30 seconds, is then ended, and told as a peer that does not answer.
func TestNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "the first half minute", after(c, 29*time.Second))
		if n := len(f.seen().at); n < 13 || n > 15 {
			t.Errorf("%d attempts in 29 s", n)
		}
		if n := len(f.seen().sas); n != 1 {
			t.Errorf("%d half-open IKE_SAs", n)
		}
		before := len(f.seen().at)
		got := after(c, 35*time.Second)
		if n := len(f.seen().at) - before; n > 3 {
			t.Errorf("%d attempts in the next 35 s", n)
		}
		if failed, ok := got[0].(Failed); !ok ||
			!strings.Contains(failed.Reason, "UDP ports 500 and 4500") {
			t.Errorf("told %+v", got)
		}
	})
}

// A peer that is first is dialled anew every two seconds for half a minute, then less often, but at
// least every ten seconds and some, however long it has been silent; that it is, is told every half
// minute.
func TestFirstIsNeverLongWithoutAnAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		told(c)
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
				t.Errorf("%v after the loss an attempt is %v after the one before",
					at[i+1].Sub(begin), wait)
			}
		}
		if last := time.Since(at[len(at)-1]); last > 11*time.Second {
			t.Errorf("the last attempt was %v ago", last)
		}
		if len(at) > 100 || failures < 10 || failures > 20 {
			t.Errorf("%d attempts in ten minutes, %d failures told", len(at), failures)
		}
		if n := len(f.seen().sas); n != 1 {
			t.Errorf("%d half-open IKE_SAs are left", n)
		}
	})
}

// Neither does one that refuses us wait longer than ten seconds: it may be its administrator who
// makes it right.
func TestFirstThatRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = refuse })
		told(c)
		c.Want(key("192.0.2.1"), InitiateFirst)
		after(c, 10*time.Minute)
		at := f.seen().at
		for i := range at[1:] {
			if wait := at[i+1].Sub(at[i]); wait > defaultTimes.impatience {
				t.Errorf("wait %d is %v", i+1, wait)
			}
		}
		if len(at) < 60 || len(at) > 80 {
			t.Errorf("%d attempts in ten minutes", len(at))
		}
	})
}

// Who is first passes those who wait for their turn.
func TestFirstGoesFirst(t *testing.T) {
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
		// The first ten make room at the same moment for ten others, whose commands go on several
		// sessions: their order among themselves is anybody's guess.
		if next := order[10:20]; !slices.Contains(next, "198.51.100.1") ||
			!slices.Contains(next, "198.51.100.2") {
			t.Errorf("when there was room the next were %v", next)
		}
	})
}

// Only so many attempts are in their first seconds; those that wait for an answer keep no others
// from starting.
func TestMaxInitiations(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		for i := range 95 {
			c.Want(key(fmt.Sprintf("192.0.2.%d", i+1)), Initiate)
		}
		after(c, time.Second)
		if n := f.count("initiate"); n != 10 {
			t.Errorf("%d initiations at once, want 10", n)
		}
		after(c, 20*time.Second)
		if n := f.count("initiate"); n != 95 {
			t.Errorf("%d of 95 initiated after 21 s", n)
		}
		if got := c.Status().Initiating; got != 95 {
			t.Errorf("%d attempts under way, want 95", got)
		}
	})
}

// Why an attempt failed is read from charon's log. Nobody hears it the first time: a second attempt
// follows, and nothing is told before it; from then on it is told at once.
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
				told(c)
				c.Want(key("192.0.2.1"), Initiate)
				wantEvents(t, "unheard", after(c, 1400*time.Millisecond))
				got := after(c, 500*time.Millisecond)
				if len(got) != 1 || f.count("initiate") != 2 {
					t.Fatalf("told %v after %d attempts", got, f.count("initiate"))
				}
				reason := got[0].(Failed).Reason
				for _, word := range []string{test.word, test.line, "192.0.2.1 on gre1"} {
					if !strings.Contains(reason, word) {
						t.Errorf("%q lacks %q", reason, word)
					}
				}
				if more := after(c, 1500*time.Millisecond); len(more) != 1 ||
					f.count("initiate") != 3 {
					t.Errorf("told %v after %d attempts", more, f.count("initiate"))
				}
			})
		})
	}
}

// An alert (strongSwan 6.0.3) tells the cause as well; older ones are not asked for it, since they
// would log an error.
func TestAlert(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.version = "6.0.3" })
		f.crash()
		f.back()
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
			t.Errorf("told %v", got)
		}
		f.do(func(f *fakeCharon) { f.onInitiate = nil })
		c.Want(key("192.0.2.2"), Initiate)
		c.Want(key("192.0.2.1"), None)
		got := after(c, 3500*time.Millisecond)
		if len(got) != 1 || !strings.Contains(got[0].(Failed).Reason, "did not say why") ||
			f.listeners("log") != 0 {
			t.Errorf("told %v, log heard by %d", got, f.listeners("log"))
		}
	})
}
