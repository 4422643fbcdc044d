package vici

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A peer behind NAT whose SA was lost with charon is dialled through the mapping that it left at
// the NAT, until that fails; who is not behind NAT is dialled as always.
func TestDialsThroughTheMapping(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = halfOpen })
		told(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-port", "49183",
				"nat-remote", "yes")
			f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no", "remote-port", "4500")
		})
		told(c)
		c.Want(key("192.0.2.1"), Accept)
		c.Want(key("192.0.2.2"), Accept)
		f.crash()
		f.back()
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
			t.Errorf("the peer behind NAT is dialled %s", got)
		}
		if got := ports("cygnet-gre1-192.0.2.2"); got != ">" {
			t.Errorf("the other is dialled %s", got)
		}
		after(c, 2*time.Minute)
		if got := ports("cygnet-gre1-192.0.2.1"); got != ">" {
			t.Errorf("in the end the peer behind NAT is dialled %s", got)
		}
	})
}

// After charon's return: first that it is there, then what it has, then the wanted peers again.
func TestReconnect(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		told(c)
		c.Want(key("192.0.2.1"), Initiate)
		c.Want(key("192.0.2.2"), Accept)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no") })
		if got := told(c); len(got) != 2 {
			t.Fatalf("told %v, want two peers up", got)
		}

		f.crash()
		wantEvents(t, "crashed", after(c, time.Minute), Disconnected{})
		if s := c.Status(); s.Connected || s.LastError == "" {
			t.Errorf("status %+v", s)
		}
		if len(c.SAs()) != 2 {
			t.Error("the SAs live on in the kernel, and in the table")
		}
		f.back()
		wantEvents(t, "back", after(c, 5*time.Second), Connected{"5.9.8"},
			Snapshot{Interface: "gre1"}, upOf("192.0.2.1", true))
		if s := c.Status(); !s.Connected || s.LastError != "" {
			t.Errorf("status %+v", s)
		}
	})
}

// A charon that was never there is told once, with the reason in the status.
func TestCharonMissing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.down = true })
		f.crash()
		got := after(c, time.Hour)
		if len(got) == 0 || len(got) > 3 {
			t.Errorf("told %v", got)
		}
		if _, ok := got[len(got)-1].(Disconnected); !ok {
			t.Errorf("told %v at last, want Disconnected", got)
		}
	})
}

// What happens while SAs are listed is applied after the list.
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
		got := told(c)
		one, three := upOf("192.0.2.1", false).Peer, upOf("192.0.2.3", false).Peer
		wantEvents(t, "at first", got, Connected{"5.9.8"}, Snapshot{"gre1", []Peer{one, three}})
	})
}

// What nobody wants and was left from before is unloaded, but not before there was time to want it;
// SAs are not touched.
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
			t.Error("unloaded before anybody had time to want it")
		}
		after(c, 20*time.Second)
		if diff := cmp.Diff([]string{"cygnet-gre1", "cygnet-gre1-192.0.2.9", "mine"},
			f.seen().conns); diff != "" {
			t.Error(diff)
		}
		if f.count("terminate") != 0 {
			t.Error("terminated an SA")
		}
	})
}

// A template that somebody unloads is loaded again, and the PSK that may have gone with it.
func TestUnloadedByOthers(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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

// A PSK that somebody cleared, and nothing else, is there again after a minute at most.
func TestSecretClearedByOthers(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.shared = nil })
		after(c, time.Minute)
		if len(f.seen().shared) != 1 {
			t.Error("the PSK is not loaded again")
		}
	})
}

// A peer that is dialled misses a cleared PSK at once: it is loaded before the second attempt, and
// nobody is told of a failure.
func TestSecretMissing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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

// The comparison finds what no event told: an SA that is there, and one that is gone.
func TestComparison(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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

// An SA that ends while a comparison lists it stays ended.
func TestEndDuringComparison(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
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
			t.Error("nothing was compared")
		}
	})
}
