package vici

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Of several SAs with one peer the pair with the lowest initiator SPI stays; the initiator of the
// others closes them. Both ends come to the same result, since they see the same SPIs and the
// opposite initiator.
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
		{"ours is lower", []*SA{sa(1, 10, true, "a"), sa(2, 20, false, "a")}, nil},
		{"ours is higher", []*SA{sa(1, 30, true, "a"), sa(2, 20, false, "a")}, []uint32{1}},
		{"both ours", []*SA{sa(1, 30, true, "a"), sa(2, 20, true, "a")}, []uint32{1}},
		// see TestZombies
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
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// Duplicates get two seconds, then this end closes its own; the peer stays up all the time.
func TestDuplicatesSettle(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1-192.0.2.1", "192.0.2.1", "initiator-spi", "00000000000000ff")
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
				"000000000000000f")
		})
		wantEvents(t, "up", after(c, time.Second), upOf("192.0.2.1", true))
		if f.count("terminate") != 0 {
			t.Error("closed before two seconds")
		}
		wantEvents(t, "settled", after(c, 2*time.Second), upOf("192.0.2.1", false))
		if f.count("terminate") != 1 || f.count("terminate 1") != 1 {
			t.Errorf("did %v", f.seen().order)
		}
	})
}

// An SA that neither end closes as a duplicate is one that the peer has lost, whoever made it: ten
// seconds after the newest it is destroyed. Other identities, and other routers behind the same
// NAT, are not concerned.
func TestZombies(t *testing.T) {
	for _, initiator := range []string{"no", "yes"} {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			told(c)
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", initiator, "initiator-spi",
					"000000000000000f")
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-id", "another")
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-port", "4501")
			})
			after(c, time.Minute)
			if f.count("terminate") != 0 {
				t.Fatalf("did %v", f.seen().order)
			}
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
					"00000000000000ff")
			})
			after(c, 9*time.Second)
			if f.count("terminate") != 0 {
				t.Errorf("closed before ten seconds: %v", f.seen().order)
			}
			after(c, 5*time.Second)
			if f.count("terminate") != 1 || f.count("terminate 1") != 1 || f.forced != 1 {
				t.Errorf("did %v, %d by force", f.seen().order, f.forced)
			}
		})
	}
}

// Two routers behind one address are not duplicates. Where packets cannot be given marks nothing is
// closed, nothing flaps, and when one goes the other is told.
func TestSeveralBehindOneAddress(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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
			t.Errorf("did %v", f.seen().order)
		}
		f.do(func(f *fakeCharon) { f.end(first) })
		wantEvents(t, "one gone", told(c), b)
	})
}

// Who is told of first stays the peer while he has an SA, even one younger than the other's, as
// after a rekeying of the IKE_SA.
func TestFirstBehindOneAddressStays(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		var first uint32
		f.do(func(f *fakeCharon) {
			first = f.establish("cygnet-gre1", "192.0.2.1", behindNAT("a", "4500")...)
			f.establish("cygnet-gre1", "192.0.2.1", behindNAT("b", "49183")...)
			f.establish("cygnet-gre1", "192.0.2.1", behindNAT("a", "4500")...)
		})
		after(c, time.Second)
		f.do(func(f *fakeCharon) { f.end(first) })
		wantEvents(t, "the first of three SAs gone", told(c))
	})
}

// What is sent goes through the newest SA. Before a duplicate is closed the SA that stays is
// rekeyed, which makes it the newest.
func TestHandOverBeforeTheClose(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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
			t.Errorf("did %v", order)
		}
	})
}

// A peer whose older SAs are watched, since neither end closes them, may dial at the same time as
// this end again: that is settled as soon as at any other time, and the older SAs still go.
func TestDuplicatesWhileZombiesAreWatched(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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
			t.Errorf("three seconds after this end's duplicate: did %v", f.seen().order)
		}
		after(c, 10*time.Second)
		if f.count("terminate") != 2 || f.count("terminate 1") != 1 {
			t.Errorf("when the older SA is a zombie: did %v", f.seen().order)
		}
	})
}

// Duplicates have their two seconds, though a look at SAs of before is due in that time: those of
// the same peer, or of one that is forgotten.
func TestDuplicatesWhenALookIsDue(t *testing.T) {
	for name, forgotten := range map[string]bool{"the same peer": false,
		"the one before is forgotten": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				told(c)
				duplicates := func(f *fakeCharon, initiator string) {
					f.establish("cygnet-gre1", "192.0.2.1", "initiator", initiator, "initiator-spi",
						"00000000000000ff")
					f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "initiator-spi",
						"000000000000000f")
				}
				f.do(func(f *fakeCharon) { duplicates(f, "no") })
				after(c, 3*time.Second) // those are watched until ten seconds are over
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
					t.Errorf("a second after they came: did %v", f.seen().order)
				}
				after(c, 3*time.Second)
				if f.count("terminate") != 1 {
					t.Errorf("when they are settled: did %v", f.seen().order)
				}
			})
		})
	}
}
