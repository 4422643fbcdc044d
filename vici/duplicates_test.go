package vici

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Of several SAs with one peer, the one with the lowest initiator SPI stays. The initiator of each
// of the others closes it. Both ends come to the same result, since they see the same SPIs.
func TestLosers(t *testing.T) {
	sa := func(id uint32, spi uint64, initiator bool, identity string) *SA {
		return &SA{ID: id, InitiatorSPI: spi, Initiator: initiator, RemoteID: identity,
			State: "ESTABLISHED", Children: []Child{{}}}
	}
	childless := sa(9, 1, true, "a")
	childless.Children = nil
	for _, test := range []struct {
		name string
		sas  []*SA
		want []uint32
	}{
		{"one", []*SA{sa(1, 10, true, "a")}, nil},
		{"this end's is lower", []*SA{sa(1, 10, true, "a"), sa(2, 20, false, "a")}, nil},
		{"this end's is higher", []*SA{sa(1, 30, true, "a"), sa(2, 20, false, "a")}, []uint32{1}},
		{"both this end's", []*SA{sa(1, 30, true, "a"), sa(2, 20, true, "a")}, []uint32{1}},
		// TestDeadSAs shows what becomes of the other one.
		{"both the peer's", []*SA{sa(1, 30, false, "a"), sa(2, 20, false, "a")}, nil},
		{"three", []*SA{sa(1, 30, true, "a"), sa(2, 20, false, "a"), sa(3, 25, true, "a")},
			[]uint32{1, 3}},
		{"two routers behind one address", []*SA{sa(1, 30, true, "a"), sa(2, 20, true, "b")}, nil},
		{"one without a child neither wins nor loses", []*SA{sa(1, 30, true, "a"), childless}, nil},
	} {
		var got []uint32
		for _, loser := range losers(test.sas, func(sa *SA) bool { return len(sa.Children) > 0 }) {
			got = append(got, loser.ID)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: SAs to close: -want +got\n%s", test.name, diff)
		}
	}
}

// Two SAs with one peer have two seconds to become one. Then this end closes its own. The peer
// stays up all the time.
func TestDuplicatesAreClosed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1-192.0.2.1", "192.0.2.1", "initiator-spi", "00000000000000ff")
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
				"000000000000000f")
		})
		wantEvents(t, "up", after(c, time.Second), upOf("192.0.2.1", true))
		if f.count("terminate") != 0 {
			t.Error("want no SA closed within the first second")
		}
		wantEvents(t, "after the close", after(c, 2*time.Second), upOf("192.0.2.1", false))
		if f.count("terminate") != 1 || f.count("terminate 1") != 1 {
			t.Errorf("want SA 1 closed, commands %v", f.seen().order)
		}
	})
}

// If neither end closes an older SA as a duplicate, the peer has lost it, whichever end made it.
// The client destroys it ten seconds after the newest SA came. It leaves the SAs of other
// identities and of other ports at that address.
func TestDeadSAs(t *testing.T) {
	for _, initiator := range []string{"no", "yes"} {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			eventsNow(c)
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", initiator, "initiator-spi",
					"000000000000000f")
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-id", "another")
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-port", "4501")
			})
			after(c, time.Minute)
			if f.count("terminate") != 0 {
				t.Fatalf("want no SA closed, commands %v", f.seen().order)
			}
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
					"00000000000000ff")
			})
			after(c, 9*time.Second)
			if f.count("terminate") != 0 {
				t.Errorf("want no SA closed within nine seconds, commands %v", f.seen().order)
			}
			after(c, 5*time.Second)
			if f.count("terminate") != 1 || f.count("terminate 1") != 1 || f.forced != 1 {
				t.Errorf("want SA 1 destroyed, have %d destroyed, commands %v", f.forced,
					f.seen().order)
			}
		})
	}
}

// Two routers behind one address are not duplicates. Where packets cannot be given marks, the
// client closes none of their SAs. When one router's SA ends, the client reports the other router.
func TestSeveralBehindOneAddress(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		var first uint32
		f.do(func(f *fakeCharon) {
			first = f.establish("cygnet-gre1", "192.0.2.1", behindNAT("a", "4500")...)
			f.establish("cygnet-gre1", "192.0.2.1", behindNAT("b", "49183")...)
		})
		a, b := upBehindNAT("a"), upBehindNAT("b")
		both := a
		both.SharedWith = []string{"b"}
		wantEvents(t, "both", after(c, time.Minute), a, both)
		if f.count("terminate") != 0 {
			t.Errorf("want no SA closed, commands %v", f.seen().order)
		}
		f.do(func(f *fakeCharon) { f.end(first) })
		wantEvents(t, "one gone", eventsNow(c), b)
	})
}

// The router that the client reported first stays the peer as long as it has an SA, even one that
// is younger than the other router's, as after a rekeying of the IKE_SA.
func TestFirstBehindOneAddressStays(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		var first uint32
		f.do(func(f *fakeCharon) {
			first = f.establish("cygnet-gre1", "192.0.2.1", behindNAT("a", "4500")...)
			f.establish("cygnet-gre1", "192.0.2.1", behindNAT("b", "49183")...)
			f.establish("cygnet-gre1", "192.0.2.1", behindNAT("a", "4500")...)
		})
		after(c, time.Second)
		f.do(func(f *fakeCharon) { f.end(first) })
		wantEvents(t, "the first of three SAs gone", eventsNow(c))
	})
}

// Both ends send through the newest SA. So before the client closes a duplicate, it rekeys the SA
// that stays, which makes that the newest.
func TestHandOverBeforeTheClose(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
				"000000000000000f")
			f.establish("cygnet-gre1-192.0.2.1", "192.0.2.1", "initiator-spi", "00000000000000ff")
		})
		after(c, 6*time.Second)
		order := f.seen().order
		rekeyed := slices.IndexFunc(order, func(s string) bool {
			return strings.HasPrefix(s, "rekey")
		})
		closed := slices.Index(order, "terminate 2")
		if rekeyed < 0 || closed < rekeyed || f.count("terminate") != 1 {
			t.Errorf("want a rekeying before the end of SA 2, commands %v", order)
		}
	})
}

// While the client waits before it destroys SAs that the peer has lost, both ends may dial at the
// same time again. The client closes those duplicates without delay, and still destroys the older
// SA.
func TestDuplicatesWhileDeadSAsAreWatched(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
				"00000000000000ee")
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
				"000000000000000f")
		})
		after(c, 3*time.Second)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1-192.0.2.1", "192.0.2.1", "initiator-spi", "00000000000000ff")
		})
		after(c, 3*time.Second)
		if f.count("terminate") != 1 || f.count("terminate 3") != 1 {
			t.Errorf("three seconds after this end's duplicate: want SA 3 closed, commands %v",
				f.seen().order)
		}
		after(c, 10*time.Second)
		if f.count("terminate") != 2 || f.count("terminate 1") != 1 {
			t.Errorf("ten seconds later: want SA 1 destroyed, too, commands %v", f.seen().order)
		}
	})
}

// Duplicates have their two seconds also when the timer for older SAs ends in that time, be they of
// the same peer or of one whose entry was dropped.
func TestDuplicatesWhenTheDeadTimerEnds(t *testing.T) {
	for name, forgotten := range map[string]bool{"the same peer": false,
		"an earlier peer": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				eventsNow(c)
				duplicates := func(f *fakeCharon, initiator string) {
					f.establish("cygnet-gre1", "192.0.2.1", "initiator", initiator, "initiator-spi",
						"00000000000000ff")
					f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
						"000000000000000f")
				}
				f.do(func(f *fakeCharon) { duplicates(f, "no") })
				after(c, 3*time.Second) // the timer runs until ten seconds are over
				if forgotten {
					f.do(func(f *fakeCharon) {
						for _, id := range f.ids() {
							f.end(id)
						}
					})
				}
				after(c, 6500*time.Millisecond)
				f.do(func(f *fakeCharon) { duplicates(f, "yes") })
				after(c, time.Second)
				if f.count("rekey") != 0 {
					t.Errorf("a second after they came: want no rekeying, commands %v",
						f.seen().order)
				}
				after(c, 3*time.Second)
				if f.count("terminate") != 1 {
					t.Errorf("four seconds after they came: want one SA closed, commands %v",
						f.seen().order)
				}
			})
		})
	}
}
