package vici

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareEvents = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateErrors(), cmpopts.IgnoreFields(Disconnected{}, "Err")}

func wantEvents(t *testing.T, what string, got []Event, want ...Event) {
	t.Helper()
	if diff := cmp.Diff(want, got, compareEvents, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: -want +got\n%s", what, diff)
	}
}

func upOf(addr string, initiator bool) Up {
	return Up{Peer{Interface: "gre1", NBMA: netip.MustParseAddr(addr), Identity: "id-" + addr, Initiator: initiator}}
}

const closedByPeer = "closed by the peer, or by an administrator here"

// succeed has charon establish whatever is initiated.
func succeed(f *fakeCharon, name string) *tree {
	_, addr, _ := parseName(name)
	f.establish(name, addr.String())
	return yes
}

// What is told in the life of a peer, in order: the connection, what is there, up, down with its reason.
func TestLifeOfAPeer(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		wantEvents(t, "at first", told(c), Connected{"5.9.8"}, Snapshot{Interface: "gre1"})

		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "wanted", told(c), upOf("192.0.2.1", true))
		if sas := c.SAs(); len(sas) != 1 || sas[0].Connection != "cygnet-gre1-192.0.2.1" || len(sas[0].Children) != 1 || sas[0].Children[0].BytesOut != 8 {
			t.Errorf("SAs: %+v", sas)
		}

		c.Want(key("192.0.2.1"), None)
		wantEvents(t, "not wanted any more", told(c))
		if f.has("cygnet-gre1-192.0.2.1") || len(f.sas) != 1 {
			t.Error("the connection must go, the SA must stay")
		}
		c.Close(key("192.0.2.1"))
		wantEvents(t, "closed", told(c), Down{key("192.0.2.1"), "closed by this end"})
		if len(c.SAs()) != 0 {
			t.Errorf("SAs: %+v", c.SAs())
		}
	})
}

// A peer that dials in is told under its address, whatever the connection; Down comes only with the last of its SAs.
func TestPeerDialsIn(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		var first, second uint32
		f.do(func(f *fakeCharon) {
			first = f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "nat-remote", "yes")
		})
		up := upOf("192.0.2.1", false)
		up.RemoteNAT = true
		wantEvents(t, "up", told(c), up)

		c.Want(key("192.0.2.1"), Initiate)
		f.do(func(f *fakeCharon) { second = f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no") })
		wantEvents(t, "a second SA", told(c))
		if f.count("initiate") != 0 {
			t.Error("initiated although an SA with the peer is there")
		}
		c.Want(key("192.0.2.1"), Accept)
		f.do(func(f *fakeCharon) { f.end(second) })
		wantEvents(t, "the second gone", told(c))
		f.do(func(f *fakeCharon) { f.end(first) })
		wantEvents(t, "the last gone", told(c), Down{key("192.0.2.1"), closedByPeer})
	})
}

// SAs of other people's connections are none of ours.
func TestForeignSAs(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.establish("site", "192.0.2.1") })
		f.do(func(f *fakeCharon) { f.establish("cygnet-other0", "192.0.2.1") })
		wantEvents(t, "foreign", told(c))
		f.do(func(f *fakeCharon) { f.conns["site"] = mk() })
		after(c, 2*time.Minute)
		if !f.has("site") || f.count("terminate") != 0 {
			t.Error("touched what is not ours")
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
		wantEvents(t, "back", after(c, 5*time.Second), Connected{"5.9.8"}, Snapshot{Interface: "gre1"}, upOf("192.0.2.1", true))
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

// start runs a client in a bubble until the test ends.
func start(t *testing.T, f *fakeCharon) *Client {
	c := New(Options{Log: slog.New(slog.DiscardHandler)})
	c.dialer = f.dial
	c.SetProfile(testProfile())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return c
}

// A consumer that does not keep up gets the state instead of what it missed, and the loss is counted.
func TestOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		for i := range maxOutbox + 200 {
			f.do(func(f *fakeCharon) {
				id := f.establish("cygnet-gre1", fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), "initiator", "no")
				if i%2 == 1 {
					f.end(id)
				}
			})
		}
		synctest.Wait()
		state := map[Key]bool{}
		snapshots := 0
		for _, e := range told(c) {
			switch e := e.(type) {
			case Snapshot:
				snapshots++
				clear(state)
				for _, p := range e.Peers {
					state[p.Key()] = true
				}
			case Up:
				state[e.Key()] = true
			case Down:
				delete(state, e.Key)
			}
		}
		if snapshots == 0 || c.Status().EventsDropped == 0 {
			t.Errorf("%d snapshots, %d events dropped: the test is to overflow", snapshots, c.Status().EventsDropped)
		}
		if want := (maxOutbox + 200) / 2; len(state) != want {
			t.Errorf("the consumer knows %d peers, want %d", len(state), want)
		}
	})
}

// A list of many SAs comes whole, and so do all events: govici by itself loses some of both.
func TestNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		f := newFake()
		addr := func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i/62500, i/250%250, i%250+1) }
		for i := range n {
			f.establish("cygnet-gre1", addr(i), "initiator", "no")
		}
		c := start(t, f)
		got := told(c)
		if len(got) != 2 || len(got[1].(Snapshot).Peers) != n {
			t.Fatalf("%d events, and a snapshot of %d peers, want %d", len(got), len(got[1].(Snapshot).Peers), n)
		}
		f.do(func(f *fakeCharon) {
			for i := range n {
				f.end(uint32(i + 1))
			}
		})
		downs := 0
		for range n {
			if _, ok := (<-c.Events()).(Down); ok {
				downs++
			}
		}
		if downs != n {
			t.Errorf("%d peers down, want %d", downs, n)
		}
	})
}

// Events that come while the client subscribes do not lock it up, and are not lost.
func TestEventsWhileSubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		i := 0
		f.onSubscribe = func(f *fakeCharon, event string) {
			if event != "list-sa" {
				i++
				f.end(f.establish("cygnet-gre1", fmt.Sprintf("192.0.2.%d", i), "initiator", "no"))
			}
		}
		c := start(t, f)
		got := told(c)
		if len(got) < 2 {
			t.Fatalf("told %v", got)
		}
		wantEvents(t, "at first", got[:2], Connected{"5.9.8"}, Snapshot{Interface: "gre1"})
	})
}

// At its end the client leaves charon as it is.
func TestNothingEndsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.onInitiate = succeed
		ctx, cancel := context.WithCancel(t.Context())
		c := New(Options{Log: slog.New(slog.DiscardHandler)})
		c.dialer = f.dial
		c.SetProfile(testProfile())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = c.Run(ctx) }()
		c.Want(key("192.0.2.1"), Initiate)
		told(c)
		cancel()
		<-ended
		synctest.Wait()
		if f.count("unload") != 0 || f.count("terminate") != 0 || len(f.sas) != 1 || len(f.conns) != 2 {
			t.Errorf("charon was told %v", f.order)
		}
	})
}

// The PSK goes to charon without an id, and nowhere else: no log, no error, no status has it.
func TestSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		f := newFake()
		c := New(Options{Log: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		c.dialer = f.dial
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = c.Run(ctx) }()
		p := testProfile()
		c.SetProfile(p)
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(*fakeCharon, string) *tree { return mk("success", "no", "errmsg", "no") }
		})
		c.Want(key("192.0.2.1"), Initiate)
		p.Child = map[string]any{"mode": 3.5}
		c.SetProfile(p)
		events := after(c, time.Minute)
		cancel()
		<-ended
		if len(f.shared) == 0 || f.shared[0].text("data") != "hunter2" || slices.Contains(f.shared[0].keys, "id") {
			t.Errorf("charon got %v", f.shared)
		}
		for what, text := range map[string]string{
			"log": logged.String(), "events": fmt.Sprintf("%+v", events), "status": fmt.Sprintf("%+v", c.Status()),
			"profile": fmt.Sprintf("%v %+v %#v %s %d %x", p, p, p.PSK, p.PSK, p.PSK, p.PSK), "error": fmt.Sprint(p.Validate()),
		} {
			if text == "" || strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") || strings.Contains(text, "104 117") {
				t.Errorf("%s: %q", what, text)
			}
		}
	})
}

// What nobody wants and was left from before is unloaded, but not before there was time to want it; SAs are not touched.
func TestOrphans(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			for _, name := range []string{"cygnet-gre1-192.0.2.7", "cygnet-gre9", "cygnet-gre9-192.0.2.8", "cygnet-gre1-192.0.2.9", "mine"} {
				f.conns[name] = mk()
			}
		})
		c.Want(key("192.0.2.9"), Accept)
		after(c, 25*time.Second)
		if !f.has("cygnet-gre1-192.0.2.7") {
			t.Error("unloaded before anybody had time to want it")
		}
		after(c, 20*time.Second)
		var left []string
		f.do(func(f *fakeCharon) {
			for name := range f.conns {
				left = append(left, name)
			}
		})
		slices.Sort(left)
		if diff := cmp.Diff([]string{"cygnet-gre1", "cygnet-gre1-192.0.2.9", "mine"}, left); diff != "" {
			t.Error(diff)
		}
		if f.count("terminate") != 0 {
			t.Error("terminated an SA")
		}
	})
}

// A template that somebody unloads is loaded again; a secret that somebody cleared comes back with the first peer that misses it.
func TestUnloadedByOthers(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { clear(f.conns) })
		after(c, 15*time.Second)
		if !f.has("cygnet-gre1") {
			t.Error("the template is not loaded again")
		}
		after(c, 20*time.Second)
		before := f.count("load-shared")
		f.do(func(f *fakeCharon) {
			f.raise("log", mk("ikesa-name", "cygnet-gre1", "msg", "no shared key found for '%any' - 'x'"))
		})
		told(c)
		if f.count("load-shared") != before+1 {
			t.Error("the PSK is not loaded again")
		}
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
		wantEvents(t, "in the end", after(c, 90*time.Second), upOf("192.0.2.1", false), Down{key("192.0.2.1"), closedByPeer})
		if f.onListed != nil {
			t.Error("nothing was compared")
		}
	})
}

// An interface that comes later gets a snapshot of what is there already; one that goes takes its connections along, not its SAs.
func TestProfilesComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre2", "192.0.2.1") })
		wantEvents(t, "not ours yet", told(c))
		p := testProfile()
		p.Interface = "gre2"
		c.SetProfile(p)
		peer := upOf("192.0.2.1", true).Peer
		peer.Interface = "gre2"
		wantEvents(t, "adopted", told(c), Snapshot{"gre2", []Peer{peer}})
		if !f.has("cygnet-gre2") {
			t.Error("no template")
		}
		c.Want(Key{"gre2", netip.MustParseAddr("192.0.2.2")}, Initiate)
		told(c)
		c.RemoveProfile("gre2")
		wantEvents(t, "removed", told(c))
		if f.has("cygnet-gre2") || f.has("cygnet-gre2-192.0.2.2") || len(f.sas) != 1 {
			t.Errorf("left: %v", f.conns)
		}
		after(c, 2*time.Minute)
		if f.count("terminate") != 0 {
			t.Error("terminated an SA of an interface that is not ours any more")
		}
	})
}

// A Close that comes while charon is away is done when it is back, if there is still something to close.
func TestCloseWhileAway(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no") })
		told(c)
		f.do(func(f *fakeCharon) {
			f.down = true
			for s := range f.sessions {
				_ = s.conn.Close()
			}
		})
		wantEvents(t, "away", told(c), Disconnected{})
		c.Close(key("192.0.2.1"))
		f.back()
		wantEvents(t, "back", after(c, 5*time.Second), Connected{"5.9.8"},
			Snapshot{"gre1", []Peer{upOf("192.0.2.1", false).Peer}}, Down{key("192.0.2.1"), "closed by this end"})
	})
}

// The jobs of a peer do not overtake each other, although they run on several sessions: a connection that is wanted again while
// it is being unloaded is there in the end.
func TestWantedAgainWhileUnloading(t *testing.T) {
	for name, leave := range map[string]func(c *Client){
		"want": func(c *Client) {
			c.Want(key("192.0.2.1"), None)
		},
		"close": func(c *Client) {
			c.Close(key("192.0.2.1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				f.do(func(f *fakeCharon) {
					f.onInitiate = succeed
					f.delay = map[string]time.Duration{"unload-conn": time.Second}
				})
				told(c)
				c.Want(key("192.0.2.1"), Initiate)
				told(c)
				leave(c)
				f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
				told(c)
				c.Want(key("192.0.2.1"), Initiate)
				after(c, 10*time.Second)
				if len(c.SAs()) != 1 || !f.has("cygnet-gre1-192.0.2.1") {
					t.Errorf("SAs %+v, connections %v", c.SAs(), f.conns)
				}
				if n := f.count("unload-conn"); n != 1 {
					t.Errorf("unloaded %d times", n)
				}
			})
		})
	}
}

// What was left over from a peer that was forgotten does not touch what is wanted of it later.
func TestForgottenPeerComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		after(c, time.Minute)
		f.do(func(f *fakeCharon) {
			f.onInitiate = succeed
			f.delay = map[string]time.Duration{"initiate": 5 * time.Second}
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "child-sas", mk("gre-1", f.child(1, "TUNNEL")))
		})
		if got := told(c); len(got) != 1 {
			t.Fatalf("told %v, want a refusal", got)
		}
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "up", after(c, 10*time.Second), upOf("192.0.2.1", true))
		f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
		wantEvents(t, "again", after(c, 10*time.Second), Down{key("192.0.2.1"), closedByPeer}, upOf("192.0.2.1", true))
	})
}
