package vici

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/vici/profile"
)

// longKeys is testProfile with proposals that do not allow what fakeCharon's SAs use.
func longKeys() profile.Profile {
	p := testProfile()
	p.Proposals = []string{"aes256gcm16-prfsha384-ecp384"}
	return p
}

// succeedWithLongKeys establishes an SA that longKeys allows.
func succeedWithLongKeys(f *fakeCharon, name string) *tree {
	_, addr, _ := profile.ParseName(name)
	f.establish(name, addr.String(), "encr-keysize", "256")
	return yes
}

// outdate runs a test with an SA with 192.0.2.1, number 1, whose algorithms a change of the profile
// does not allow any more. initiated reports whether this end initiated it.
func outdate(
	t *testing.T, want Want, initiated string, onInitiate func(*fakeCharon, string) *tree,
	changed profile.Profile, test func(f *fakeCharon, c *Client),
) {
	t.Helper()
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1-192.0.2.1", "192.0.2.1", "initiator", initiated)
			f.onInitiate = onInitiate
		})
		eventsNow(c)
		c.Want(key("192.0.2.1"), want)
		after(c, time.Minute)
		f.do(func(f *fakeCharon) { f.order = nil })
		c.SetProfile(changed)
		test(f, c)
	})
}

func isFailed(e Event) bool { _, failed := e.(Failed); return failed }

// An SA whose algorithms a changed profile does not allow any more stays until the peer has a new
// one, whoever dials it. Then it is closed, and nothing else is.
func TestOutdatedSAIsReplaced(t *testing.T) {
	for _, test := range []struct {
		name      string
		want      Want
		initiated string
	}{
		{"a hub that this end dials", InitiateFirst, "yes"},
		{"a spoke that this end dials", Initiate, "yes"},
		{"a client that dials this end", Accept, "no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			outdate(t, test.want, test.initiated, succeedWithLongKeys, longKeys(),
				func(f *fakeCharon, c *Client) {
					events := after(c, time.Second)
					if f.count("initiate cygnet-gre1-192.0.2.1") != 1 || f.count("terminate") != 0 {
						t.Errorf("after a second: want a new SA beside the outdated one, commands %v",
							f.seen().order)
					}
					events = append(events, after(c, time.Minute)...)
					if has(events, isDown) || has(events, isFailed) || len(renewedIn(events)) != 0 {
						t.Errorf("want the peer secured all the time, have %v", events)
					}
					if f.count("terminate 1") != 1 || f.count("terminate") != 1 || f.forced != 0 {
						t.Errorf("want the outdated SA closed alone, commands %v", f.seen().order)
					}
					if sas := c.SAs(); len(sas) != 1 || sas[0].ID != 2 {
						t.Errorf("want the new SA alone, have %v", sas)
					}
				})
		})
	}
}

// If a peer gives no SA with the new algorithms within ten seconds, its outdated SA is closed, and
// the peer is dialled like any other.
func TestOutdatedSAWithoutReplacement(t *testing.T) {
	silent := func(*fakeCharon, string) *tree { return yes }
	outdate(t, Initiate, "yes", silent, longKeys(), func(f *fakeCharon, c *Client) {
		if events := after(c, 9*time.Second); len(events) != 0 || f.count("terminate") != 0 {
			t.Errorf("after nine seconds: want the outdated SA, have %v, commands %v", events,
				f.seen().order)
		}
		events := after(c, 5*time.Second)
		down := slices.IndexFunc(events, isDown)
		if down < 0 || !strings.Contains(events[down].(Down).Reason, "AES_GCM_16-128 for IKE") {
			t.Errorf("want the peer down because of the algorithm, have %v", events)
		}
		if after(c, 10*time.Second); f.count("initiate") < 2 {
			t.Errorf("want the peer dialled again, commands %v", f.seen().order)
		}
	})
}

// An SA that a changed profile refuses for something else than its algorithms is closed at once.
func TestSARefusedForMoreThanAlgorithms(t *testing.T) {
	other := longKeys()
	other.RemoteIdentity = "*.example.org"
	outdate(t, Initiate, "yes", nil, other, func(f *fakeCharon, c *Client) {
		if eventsNow(c); f.count("terminate 1") != 1 {
			t.Errorf("want the SA closed at once, commands %v", f.seen().order)
		}
	})
}

// The outdated SAs of several routers at one address are closed at once: none of the routers can be
// dialled, since the address names none of them.
func TestOutdatedSAsAtOneAddress(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.Want(key("192.0.2.1"), Accept)
		f.do(func(f *fakeCharon) {
			for id, port := range map[string]string{"a": "4501", "b": "4502"} {
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-id", id,
					"nat-remote", "yes", "remote-port", port)
			}
		})
		after(c, time.Minute)
		c.SetProfile(longKeys())
		if eventsNow(c); f.count("terminate 1") != 1 || f.count("terminate 2") != 1 ||
			f.count("initiate") != 0 {
			t.Errorf("want both SAs closed and nobody dialled, commands %v", f.seen().order)
		}
	})
}

// If the profile allows an outdated SA again before there is a new one, the SA stays.
func TestOutdatedSAIsAllowedAgain(t *testing.T) {
	silent := func(*fakeCharon, string) *tree { return yes }
	outdate(t, Initiate, "yes", silent, longKeys(), func(f *fakeCharon, c *Client) {
		after(c, time.Second)
		c.SetProfile(testProfile())
		events := after(c, time.Minute)
		if has(events, isDown) || f.count("terminate 1") != 0 {
			t.Errorf("want the SA kept, have %v, commands %v", events, f.seen().order)
		}
	})
}

// A profile that changes while peers are checked after charon stood still replaces their SAs, and
// each new SA is reported, since the peers may have lost what they knew about this end.
func TestOutdatedSAsAfterAStall(t *testing.T) {
	unanswered := func(f *fakeCharon, _ uint32) {
		f.onInitiate = func(*fakeCharon, string) *tree { return yes }
	}
	standingStill(t, 25*time.Second, unanswered, func(f *fakeCharon, c *Client, events []Event) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeedWithLongKeys })
		c.SetProfile(longKeys())
		if got := renewedIn(append(events, after(c, time.Minute)...)); len(got) != 2 {
			t.Errorf("want both peers reported as renewed, have %v, commands %v", got,
				f.seen().order)
		}
	})
}

// A peer that dials in with the new algorithms takes the place of its outdated SA, too.
func TestPeerReplacesOutdatedSA(t *testing.T) {
	silent := func(*fakeCharon, string) *tree { return yes }
	outdate(t, Accept, "no", silent, longKeys(), func(f *fakeCharon, c *Client) {
		after(c, time.Second)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "encr-keysize", "256")
		})
		events := after(c, time.Minute)
		if has(events, isDown) || f.count("terminate 1") != 1 {
			t.Errorf("want the outdated SA closed and the peer secured, have %v, commands %v",
				events, f.seen().order)
		}
	})
}
