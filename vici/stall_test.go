package vici

import (
	"strings"
	"testing"
	"time"
)

// standingStill runs a test against a charon that has SAs with a peer which this end dialled and
// with one which dialled this end, and that then stood still.
func standingStill(
	t *testing.T, still time.Duration, rekey func(*fakeCharon, uint32),
	test func(f *fakeCharon, c *Client, events []Event),
) {
	t.Helper()
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.Want(key("192.0.2.1"), Initiate)
		c.Want(key("192.0.2.2"), Accept)
		f.do(func(f *fakeCharon) {
			f.onInitiate = succeed
			f.onRekey = rekey
		})
		after(c, 3*time.Second)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no", "initiator-spi",
				"0000000000000001")
			for _, sa := range f.sas {
				sa.set("established", "1000")
			}
		})
		after(c, 3*time.Second)
		f.do(func(f *fakeCharon) { f.order = nil })
		f.standStill()
		events := after(c, still)
		f.goOn()
		// The answers come at once, the peers' proofs within proof.
		test(f, c, append(events, after(c, time.Second)...))
	})
}

func renewedIn(events []Event) (peers []string) {
	for _, e := range events {
		if e, ok := e.(Renewed); ok {
			peers = append(peers, e.NBMA.String())
		}
	}
	return peers
}

func has(events []Event, what func(Event) bool) bool {
	for _, e := range events {
		if what(e) {
			return true
		}
	}
	return false
}

func isDown(e Event) bool { _, down := e.(Down); return down }

// After a charon stood still for longer than a peer waits before it asks, every wanted peer that
// does not answer is dialled beside its SA, whoever dialled before. The link may outlast that
// time or not. The SAs from before go ten seconds later, and never win against the new ones.
func TestPeersAreDialledAfterAStall(t *testing.T) {
	for _, still := range []time.Duration{22 * time.Second, 80 * time.Second, 10 * time.Minute} {
		t.Run(still.String(), func(t *testing.T) {
			standingStill(t, still, nil, func(f *fakeCharon, c *Client, events []Event) {
				if got := renewedIn(events); len(got) != 2 {
					t.Errorf("want both peers renewed within a second, have %v\ndid %v\n%v", got,
						f.seen().order, events)
				}
				for _, peer := range []string{"192.0.2.1", "192.0.2.2"} {
					if n := f.count("initiate cygnet-gre1-" + peer); n != 1 {
						t.Errorf("want one initiation with %s, have %d", peer, n)
					}
					// By an equal connection charon would take the SA that it has.
					f.do(func(f *fakeCharon) {
						if conn := f.conns["cygnet-gre1-"+peer]; conn == nil ||
							conn.text("pull") != "no" {
							t.Errorf("the connection to %s is like the one before", peer)
						}
					})
				}
				if f.count("terminate") != 0 {
					t.Errorf("closed an SA before the new ones were used: %v", f.seen().order)
				}
				later := after(c, 20*time.Second)
				if has(append(events, later...), isDown) {
					t.Errorf("a peer was told to be down: %v", later)
				}
				if f.count("terminate") != 2 || f.count("terminate 1") != 1 ||
					f.count("terminate 2") != 1 || f.forced != 2 {
					t.Errorf("want the SAs from before closed, did %v", f.seen().order)
				}
				if got := len(c.SAs()); got != 2 {
					t.Errorf("want an SA with each peer, have %d", got)
				}
			})
		})
	}
}

// Peers that answer on the SA from before have it: nobody is dialled, nothing is closed, nothing is
// told.
func TestPeersThatHaveTheirSAsAreNotDialledAfterAStall(t *testing.T) {
	standingStill(t, 25*time.Second, rekeyIKE, func(f *fakeCharon, c *Client, events []Event) {
		events = append(events, after(c, time.Minute)...)
		if len(events) != 0 || f.count("rekey") != 2 || f.count("initiate") != 0 ||
			f.count("terminate") != 0 {
			t.Errorf("want two rekeyings alone, told %v, did %v", events, f.seen().order)
		}
	})
}

// A peer that dialled by itself meanwhile needs no dialling either, but what it knows of this end
// may be gone.
func TestPeerThatDialsAfterAStall(t *testing.T) {
	dialsIn := func(f *fakeCharon, id uint32) {
		if remote := f.sas[id].text("remote-host"); remote == "192.0.2.2" {
			f.establish("cygnet-gre1", remote, "initiator", "no")
		}
	}
	standingStill(t, 25*time.Second, dialsIn, func(f *fakeCharon, c *Client, events []Event) {
		if got := strings.Join(renewedIn(events), " "); got != "192.0.2.2 192.0.2.1" {
			t.Errorf("want both peers renewed, have %s", got)
		}
		if f.count("initiate cygnet-gre1-192.0.2.2") != 0 {
			t.Errorf("dialled it all the same: %v", f.seen().order)
		}
	})
}

// A charon that is merely slow has lost nothing.
func TestShortStall(t *testing.T) {
	standingStill(t, 9*time.Second, nil, func(f *fakeCharon, c *Client, events []Event) {
		events = append(events, after(c, time.Minute)...)
		if len(events) != 0 || f.count("rekey") != 0 || f.count("initiate") != 0 {
			t.Errorf("told %v, did %v", events, f.seen().order)
		}
	})
}

// A peer that answers neither gets one attempt; its SA from before stays until dead peer detection
// ends it, and then the peer is dialled as ever.
func TestPeerGoneAfterAStall(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1", "established", "1000") })
		f.do(func(f *fakeCharon) { f.sas[1].set("established", "1000") })
		after(c, time.Second)
		f.do(func(f *fakeCharon) { f.onInitiate, f.order = halfOpen, nil })
		f.standStill()
		after(c, 25*time.Second)
		f.goOn()
		if got := after(c, 40*time.Second); len(got) != 0 {
			t.Errorf("told %v", got)
		}
		if f.count("initiate") != 1 || f.count("terminate 2") != 1 || f.count("terminate 1") != 0 {
			t.Errorf("want one attempt, and its end: did %v", f.seen().order)
		}
		f.do(func(f *fakeCharon) {
			f.onInitiate = succeed
			f.end(1)
		})
		if got := after(c, time.Second); !has(got, isDown) || f.count("initiate") != 2 {
			t.Errorf("told %v, did %v", got, f.seen().order)
		}
	})
}
