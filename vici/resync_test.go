package vici

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The client dials a peer behind NAT whose SA was lost with charon through the mapping that the SA
// left at the NAT, until that fails. It dials a peer that is not behind NAT at the usual ports.
func TestDialsThroughTheMapping(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-port", "49183",
				"nat-remote", "yes")
			f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no", "remote-port", "4500")
		})
		eventsNow(c)
		c.Want(key("192.0.2.1"), Accept)
		c.Want(key("192.0.2.2"), Accept)
		f.crash()
		f.comeBack()
		after(c, time.Second)
		c.Want(key("192.0.2.1"), Initiate)
		c.Want(key("192.0.2.2"), Initiate)
		after(c, time.Second)
		ports := func(name string) string {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.conns[name].text("local_port") + ">" + f.conns[name].text("remote_port")
		}
		if got := ports("cygnet-gre1-192.0.2.1"); got != "4500>49183" {
			t.Errorf("the peer behind NAT: want it dialled from port 4500 to 49183, have %q", got)
		}
		if got := ports("cygnet-gre1-192.0.2.2"); got != ">" {
			t.Errorf("the peer without NAT: want it dialled at the usual ports, have %q", got)
		}
		after(c, 2*time.Minute)
		if got := ports("cygnet-gre1-192.0.2.1"); got != ">" {
			t.Errorf("the peer behind NAT, in the end: want it dialled at the usual ports, have %q",
				got)
		}
	})
}

// After charon's return the client reports first that charon is there, then which peers have an SA,
// then the peers that it has dialled again.
func TestReconnect(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		c.Want(key("192.0.2.2"), Accept)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no") })
		if got := eventsNow(c); len(got) != 2 {
			t.Fatalf("want two peers up, have %v", got)
		}

		f.crash()
		wantEvents(t, "crashed", after(c, time.Minute), Disconnected{})
		if s := c.Status(); s.Connected || s.LastError == "" {
			t.Errorf("want a status with an error and no link, have %+v", s)
		}
		if n := len(c.SAs()); n != 2 {
			t.Errorf("want the two SAs to stay in the table as in the kernel, have %d", n)
		}
		f.comeBack()
		wantEvents(t, "back", after(c, 5*time.Second), Connected{"5.9.8"},
			Snapshot{Interface: "gre1"}, upOf("192.0.2.1", true))
		if s := c.Status(); !s.Connected || s.LastError != "" {
			t.Errorf("want a status with a link and no error, have %+v", s)
		}
	})
}

// After charon's return the snapshot tells to which peers the kernel has SAs from the interface's
// addresses, or nothing if the kernel cannot be read.
func TestSnapshotTellsOfTheKernel(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		there, unreadable := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.9"): true}, error(nil)
		c.inKernel = func(locals []netip.Addr) (map[netip.Addr]bool, error) {
			if !slices.Equal(locals, testProfile().LocalAddrs) {
				t.Errorf("asked for SAs from %v", locals)
			}
			return there, unreadable
		}
		snapshot := func(when string, events []Event, want map[netip.Addr]bool) {
			wantEvents(t, when, events, Connected{"5.9.8"},
				Snapshot{Interface: "gre1", InKernel: want})
		}
		snapshot("at first", eventsNow(c), there)
		f.crash()
		eventsNow(c)
		there = map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}
		f.comeBack()
		snapshot("back", after(c, 5*time.Second), there)
		f.crash()
		eventsNow(c)
		unreadable = errors.New("no")
		f.comeBack()
		got := after(c, 5*time.Second)
		snapshot("without the kernel", got, nil)
		if s, ok := got[len(got)-1].(Snapshot); ok && s.InKernel != nil {
			t.Errorf("the kernel cannot be read, and the snapshot says that it has no SA")
		}
	})
}

// If charon was never there, the client reports that once.
func TestCharonMissing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.down = true })
		f.crash()
		got := after(c, time.Hour)
		if len(got) == 0 || len(got) > 3 {
			t.Fatalf("want one to three events in an hour, have %v", got)
		}
		if _, ok := got[len(got)-1].(Disconnected); !ok {
			t.Errorf("want Disconnected as the last event, have %v", got)
		}
	})
}

// The client applies events that come while charon lists its SAs after the list.
func TestEventsDuringTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no")
		gone := f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no")
		f.onList = func(f *fakeCharon) {
			f.onList = nil
			f.end(gone)
			id, sa := f.section("cygnet-gre1", "192.0.2.2", "initiator", "no")
			sa.set("state", "DELETING") // as listed a moment before its end
			f.sas[id] = sa
			f.establish("cygnet-gre1", "192.0.2.3", "initiator", "no")
		}
		c := start(t, f)
		got := eventsNow(c)
		one, three := upOf("192.0.2.1", false).Peer, upOf("192.0.2.3", false).Peer
		wantEvents(t, "at first", got, Connected{"5.9.8"},
			Snapshot{Interface: "gre1", Peers: []Peer{one, three}})
	})
}

// The client unloads connections that were left from before and that nobody wants, but not before
// there was time to want them. It leaves the SAs.
func TestOrphans(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			for _, name := range []string{"cygnet-gre1-192.0.2.7", "cygnet-gre9",
				"cygnet-gre9-192.0.2.8", "cygnet-gre1-192.0.2.9", "mine"} {
				f.conns[name] = mk()
			}
		})
		c.Want(key("192.0.2.9"), Accept)
		after(c, 25*time.Second)
		if !f.has("cygnet-gre1-192.0.2.7") {
			t.Error("a connection was unloaded before there was time to want it")
		}
		after(c, 20*time.Second)
		if diff := cmp.Diff([]string{"cygnet-gre1", "cygnet-gre1-192.0.2.9", "mine"},
			f.seen().conns); diff != "" {
			t.Errorf("connections: -want +got\n%s", diff)
		}
		if f.count("terminate") != 0 {
			t.Error("an SA was closed")
		}
	})
}

// When somebody unloads a template, the client loads it again, and the PSK too, which may have gone
// with it.
func TestUnloadedByOthers(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			clear(f.conns)
			f.shared = nil
		})
		after(c, 15*time.Second)
		if !f.has("cygnet-gre1") {
			t.Error("the template is not loaded again")
		}
		if len(f.seen().shared) != 1 {
			t.Error("the PSK is not loaded again")
		}
	})
}

// When somebody clears the PSK and nothing else, the client loads it again within a minute.
func TestSecretClearedByOthers(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.shared = nil })
		after(c, time.Minute)
		if len(f.seen().shared) != 1 {
			t.Error("the PSK is not loaded again")
		}
	})
}

// If an attempt fails because somebody cleared the PSK, the client loads the PSK before the second
// attempt, and reports no failure.
func TestSecretClearedBeforeAnAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.shared = nil
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				if len(f.shared) > 0 {
					return succeed(f, name)
				}
				return yes
			}
		})
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "up", after(c, 2*time.Second), upOf("192.0.2.1", true))
	})
}

// The comparison finds an SA that came, and one that ended, without an event.
func TestComparison(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		var id uint32
		f.do(func(f *fakeCharon) {
			var sa *tree
			id, sa = f.section("cygnet-gre1", "192.0.2.1", "initiator", "no")
			f.sas[id] = sa
		})
		wantEvents(t, "there", after(c, 65*time.Second), upOf("192.0.2.1", false))
		f.do(func(f *fakeCharon) { delete(f.sas, id) })
		wantEvents(t, "gone", after(c, 65*time.Second), Down{key("192.0.2.1"), "the SA ended"})
	})
}

// An SA that ends while charon lists it for a comparison does not come back by that list.
func TestEndDuringComparison(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			id := f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no")
			f.onListed = func(f *fakeCharon) time.Duration {
				f.onListed = nil
				f.end(id)
				return time.Second
			}
		})
		wantEvents(t, "in the end", after(c, 90*time.Second), upOf("192.0.2.1", false),
			Down{key("192.0.2.1"), closedByPeer})
		if f.count("list-sas") < 2 {
			t.Error("no comparison was made")
		}
	})
}
