package vici

import (
	"strings"
	"testing"
	"time"
)

// standingStill runs a test with a charon that stood still for a time. Before that, charon had an
// SA with 192.0.2.1, which this end dials, and one with 192.0.2.2, which dials in. events are those
// of the stall and of the second after it.
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
		// charon answers at once, and the peers prove their SAs within half a second.
		test(f, c, append(events, after(c, time.Second)...))
	})
}

// renewedIn returns the addresses of the peers in Renewed events.
func renewedIn(events []Event) (peers []string) {
	for _, e := range events {
		if e, ok := e.(Renewed); ok {
			peers = append(peers, e.NBMA.String())
		}
	}
	return peers
}

// has reports whether one of the events is what a function looks for.
func has(events []Event, what func(Event) bool) bool {
	for _, e := range events {
		if what(e) {
			return true
		}
	}
	return false
}

func isDown(e Event) bool { _, down := e.(Down); return down }

func isUp(e Event) bool { _, up := e.(Up); return up }

// After charon stood still for longer than dpd_delay, the client dials every wanted peer that does
// not answer beside its SA, whichever end dialled before, and whether or not the link outlasted the
// stall. It closes the SAs from before the stall ten seconds later, never the new ones.
func TestPeersAreDialledAfterAStall(t *testing.T) {
	for _, still := range []time.Duration{22 * time.Second, 80 * time.Second, 10 * time.Minute} {
		t.Run(still.String(), func(t *testing.T) {
			standingStill(t, still, nil, func(f *fakeCharon, c *Client, events []Event) {
				if got := renewedIn(events); len(got) != 2 {
					t.Errorf("want both peers renewed within a second, have %v\ncommands %v\nevents %v",
						got, f.seen().order, events)
				}
				for _, peer := range []string{"192.0.2.1", "192.0.2.2"} {
					if n := f.count("initiate cygnet-gre1-" + peer); n != 1 {
						t.Errorf("want one initiation with %s, have %d", peer, n)
					}
					// If the connection were equal to that of the SA, charon would use that SA.
					f.do(func(f *fakeCharon) {
						if conn := f.conns["cygnet-gre1-"+peer]; conn == nil ||
							conn.text("pull") != "no" {
							t.Errorf("want a connection to %s that differs from that of its SA",
								peer)
						}
					})
				}
				if f.count("terminate") != 0 {
					t.Errorf("want no SA closed while the new ones are fresh, commands %v",
						f.seen().order)
				}
				later := after(c, 20*time.Second)
				if has(append(events, later...), isDown) {
					t.Errorf("want no Down event, have %v", later)
				}
				if f.count("terminate") != 2 || f.count("terminate 1") != 1 ||
					f.count("terminate 2") != 1 || f.forced != 2 {
					t.Errorf("want the SAs from before closed, commands %v", f.seen().order)
				}
				if got := len(c.SAs()); got != 2 {
					t.Errorf("want an SA with each peer, have %d", got)
				}
			})
		})
	}
}

// If the peers answer on their SAs from before the stall, the client dials no peer, closes no SA
// and reports nothing.
func TestPeersThatHaveTheirSAsAreNotDialledAfterAStall(t *testing.T) {
	standingStill(t, 25*time.Second, rekeyIKE, func(f *fakeCharon, c *Client, events []Event) {
		events = append(events, after(c, time.Minute)...)
		if len(events) != 0 || f.count("rekey") != 2 || f.count("initiate") != 0 ||
			f.count("terminate") != 0 {
			t.Errorf("want two rekeyings alone, have events %v, commands %v", events,
				f.seen().order)
		}
	})
}

// If a peer dials in after a stall, the client does not dial it, and reports it as renewed: what
// the peer knew about this end may be gone.
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
			t.Errorf("want 192.0.2.2 not dialled, commands %v", f.seen().order)
		}
	})
}

// After a stall that is shorter than dpd_delay the client checks no peer.
func TestShortStall(t *testing.T) {
	standingStill(t, 9*time.Second, nil, func(f *fakeCharon, c *Client, events []Event) {
		events = append(events, after(c, time.Minute)...)
		if len(events) != 0 || f.count("rekey") != 0 || f.count("initiate") != 0 {
			t.Errorf("want nothing done, have events %v, commands %v", events, f.seen().order)
		}
	})
}

// If a peer answers neither the rekeying nor the attempt beside its SA, the client makes no other
// attempt until dead peer detection ends the SA. Then it dials the peer as usual.
func TestPeerGoneAfterAStall(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1", "established", "1000") })
		f.do(func(f *fakeCharon) { f.sas[1].set("established", "1000") })
		after(c, time.Second)
		f.do(func(f *fakeCharon) { f.onInitiate, f.order = halfOpen, nil })
		f.standStill()
		after(c, 25*time.Second)
		f.goOn()
		if got := after(c, 40*time.Second); len(got) != 0 {
			t.Errorf("want no events, have %v", got)
		}
		if f.count("initiate") != 1 || f.count("terminate 2") != 1 || f.count("terminate 1") != 0 {
			t.Errorf("want one attempt, and its end, commands %v", f.seen().order)
		}
		f.do(func(f *fakeCharon) {
			f.onInitiate = succeed
			f.end(1)
		})
		if got := after(c, time.Second); !has(got, isDown) || f.count("initiate") != 2 {
			t.Errorf("want Down and a second attempt, have events %v, commands %v", got,
				f.seen().order)
		}
	})
}
