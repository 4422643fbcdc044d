package vici

import (
	"bytes"
	"context"
	"errors"
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

	"cygnet/vici/profile"
)

// compareEvents has the options with which tests compare events.
var compareEvents = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}),
	cmpopts.EquateErrors(),
	cmpopts.IgnoreFields(Disconnected{}, "Err"),
}

// wantEvents fails the test unless the client has reported exactly the wanted events.
func wantEvents(t *testing.T, what string, got []Event, want ...Event) {
	t.Helper()
	if diff := cmp.Diff(want, got, compareEvents, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: -want +got\n%s", what, diff)
	}
}

// upOf returns the event for an SA that establish made with a peer.
func upOf(addr string, initiator bool) Up {
	return Up{Peer{
		Interface: "gre1",
		NBMA:      netip.MustParseAddr(addr),
		Identity:  "id-" + addr,
		Initiator: initiator,
	}}
}

// succeed makes every initiation succeed.
func succeed(f *fakeCharon, name string) *tree {
	_, addr, _ := profile.ParseName(name)
	f.establish(name, addr.String())
	return yes
}

// The client reports the events in the life of a peer in order: the connection to charon, the
// snapshot, that the peer is up, and that it is down with the reason.
func TestLifeOfAPeer(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		wantEvents(t, "at first", eventsNow(c), Connected{"5.9.8"}, Snapshot{Interface: "gre1"})

		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "wanted", eventsNow(c), upOf("192.0.2.1", true))
		if sas := c.SAs(); len(sas) != 1 || sas[0].Connection != "cygnet-gre1-192.0.2.1" ||
			len(sas[0].Children) != 1 || sas[0].Children[0].BytesOut != 8 {
			t.Errorf("want one SA with a child by the peer's connection, have %+v", sas)
		}

		c.Want(key("192.0.2.1"), None)
		wantEvents(t, "not wanted any more", eventsNow(c))
		if f.has("cygnet-gre1-192.0.2.1") || len(f.seen().sas) != 1 {
			t.Error("want the connection unloaded and the SA left")
		}
		c.Close(key("192.0.2.1"))
		wantEvents(t, "closed", eventsNow(c), Down{key("192.0.2.1"), "closed by this end"})
		if len(c.SAs()) != 0 {
			t.Errorf("want no SA in the table, have %+v", c.SAs())
		}
	})
}

// The client reports a peer that dials in under the peer's address, by any connection. It reports
// the peer as down only when the last of the peer's SAs has ended.
func TestPeerDialsIn(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		var first, second uint32
		f.do(func(f *fakeCharon) {
			first = f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "nat-remote", "yes")
		})
		up := upOf("192.0.2.1", false)
		up.RemoteNAT = true
		wantEvents(t, "up", eventsNow(c), up)

		c.Want(key("192.0.2.1"), Initiate)
		f.do(func(f *fakeCharon) {
			second = f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no")
		})
		wantEvents(t, "a second SA", eventsNow(c))
		if f.count("initiate") != 0 {
			t.Error("want no initiation with a peer that has an SA")
		}
		c.Want(key("192.0.2.1"), Accept)
		f.do(func(f *fakeCharon) { f.end(second) })
		wantEvents(t, "the second gone", eventsNow(c))
		f.do(func(f *fakeCharon) { f.end(first) })
		wantEvents(t, "the last gone", eventsNow(c), Down{key("192.0.2.1"), closedByPeer})
	})
}

// The client ignores the SAs of connections that it has not loaded, and leaves those connections
// alone.
func TestForeignSAs(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("site", "192.0.2.1") })
		f.do(func(f *fakeCharon) { f.establish("cygnet-other0", "192.0.2.1") })
		wantEvents(t, "foreign", eventsNow(c))
		f.do(func(f *fakeCharon) { f.conns["site"] = mk() })
		after(c, 2*time.Minute)
		if !f.has("site") || f.count("terminate") != 0 {
			t.Error("want somebody else's connection and SA left")
		}
	})
}

// start runs a client in a bubble until the test ends.
func start(t *testing.T, f *fakeCharon) *Client {
	c := New(Options{Log: slog.New(slog.DiscardHandler)})
	f.serves(c)
	c.SetProfile(testProfile())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return c
}

// When Run ends, the client leaves charon's connections and SAs as they are.
func TestNothingEndsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.onInitiate = succeed
		ctx, cancel := context.WithCancel(t.Context())
		c := New(Options{Log: slog.New(slog.DiscardHandler)})
		f.serves(c)
		c.SetProfile(testProfile())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = c.Run(ctx) }()
		c.Want(key("192.0.2.1"), Initiate)
		eventsNow(c)
		cancel()
		<-ended
		synctest.Wait()
		if f.count("unload") != 0 || f.count("terminate") != 0 || len(f.seen().sas) != 1 ||
			len(f.seen().conns) != 2 {
			t.Errorf("want one SA, two connections and nothing ended, commands %v", f.seen().order)
		}
	})
}

// The client gives the PSK to charon without an ID. No log, error, event or status shows the PSK.
func TestSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		f := newFake()
		c := New(Options{
			Log: slog.New(slog.NewTextHandler(
				&logged,
				&slog.HandlerOptions{Level: slog.LevelDebug},
			)),
		})
		f.serves(c)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = c.Run(ctx) }()
		p := testProfile()
		c.SetProfile(p)
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(*fakeCharon, string) *tree {
				return mk("success", "no", "errmsg", "no")
			}
		})
		c.Want(key("192.0.2.1"), Initiate)
		p.Child = map[string]any{"mode": 3.5}
		c.SetProfile(p)
		events := after(c, time.Minute)
		cancel()
		<-ended
		if len(f.seen().shared) == 0 || f.seen().shared[0].text("data") != "hunter2" ||
			slices.Contains(f.seen().shared[0].keys, "id") {
			t.Errorf("want the PSK without an ID, have %v", f.seen().shared)
		}
		for what, text := range map[string]string{
			"log": logged.String(), "events": fmt.Sprintf("%+v", events),
			"status":  fmt.Sprintf("%+v", c.Status()),
			"profile": fmt.Sprintf("%v %+v %#v %s %d %x", p, p, p.PSK, p.PSK, p.PSK, p.PSK),
			"error":   fmt.Sprint(p.Validate()),
		} {
			if text == "" || strings.Contains(text, "hunter2") ||
				strings.Contains(text, "68756e74657232") || strings.Contains(text, "104 117") {
				t.Errorf("want a %s without the PSK, have %q", what, text)
			}
		}
	})
}

// When an interface gets a profile later, the client reports a snapshot of the SAs that are there
// already. When a profile is removed, the client unloads the interface's connections and ends its
// SAs, and those that charon was still negotiating. It leaves SAs alone as soon as the interface
// has a profile again.
func TestProfilesComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre2", "192.0.2.1") })
		wantEvents(t, "not ours yet", eventsNow(c))
		p := testProfile()
		p.Interface = "gre2"
		c.SetProfile(p)
		peer := upOf("192.0.2.1", true).Peer
		peer.Interface = "gre2"
		wantEvents(t, "adopted", eventsNow(c), Snapshot{Interface: "gre2", Peers: []Peer{peer}})
		if !f.has("cygnet-gre2") {
			t.Error("want the template of gre2 loaded")
		}
		c.Want(Key{Interface: "gre2", NBMA: netip.MustParseAddr("192.0.2.2")}, Initiate)
		eventsNow(c)
		c.RemoveProfile("gre2")
		wantEvents(t, "removed", eventsNow(c))
		if f.has("cygnet-gre2") || f.has("cygnet-gre2-192.0.2.2") || len(f.seen().sas) != 0 {
			t.Errorf("want nothing of gre2 left, have connections %v, SAs %v", f.seen().conns,
				f.seen().sas)
		}
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre2", "192.0.2.1") })
		wantEvents(t, "negotiated meanwhile", eventsNow(c))
		if left := f.seen().sas; len(left) != 0 {
			t.Errorf("want an SA ended that was negotiated when its profile was removed, have %v",
				left)
		}
		c.SetProfile(p)
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre2", "192.0.2.1") })
		after(c, 2*time.Minute)
		if left := f.seen().sas; len(left) != 1 {
			t.Errorf("want one SA with the profile there again, have %v", left)
		}
	})
}

// If charon is away when a profile is removed, the client ends the interface's SAs when charon is
// back.
func TestProfileRemovedWhileAway(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		eventsNow(c) // the table has the SA when charon goes
		f.do(func(f *fakeCharon) {
			f.down = true
			for s := range f.sessions {
				_ = s.conn.Close()
			}
		})
		eventsNow(c)
		c.RemoveProfile("gre1")
		f.comeBack()
		after(c, 5*time.Second)
		if left := f.seen().sas; len(left) != 0 || len(c.SAs()) != 0 {
			t.Errorf("want no SAs, charon has %v, the table %+v", left, c.SAs())
		}
	})
}

// If charon is away, the client carries out a Close when charon is back, if there still is an SA to
// close.
func TestCloseWhileAway(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no") })
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.down = true
			for s := range f.sessions {
				_ = s.conn.Close()
			}
		})
		wantEvents(t, "away", eventsNow(c), Disconnected{})
		c.Close(key("192.0.2.1"))
		f.comeBack()
		wantEvents(t, "back", after(c, 5*time.Second), Connected{"5.9.8"},
			Snapshot{Interface: "gre1", Peers: []Peer{upOf("192.0.2.1", false).Peer}},
			Down{key("192.0.2.1"), "closed by this end"})
	})
}

// If charon is away, or the link breaks before charon answers, the client carries out an Expel when
// charon is back. It ends the SAs of that identity only.
func TestExpelWhileAway(t *testing.T) {
	for name, when := range map[string]func(f *fakeCharon, c *Client, cut func()){
		"away": func(_ *fakeCharon, c *Client, cut func()) {
			cut()
			c.Expel(key("192.0.2.1"), "192.0.2.1")
			c.Expel(key("192.0.2.2"), "somebody else")
		},
		"while it ends": func(f *fakeCharon, c *Client, cut func()) {
			f.do(func(f *fakeCharon) {
				f.delay = map[string]time.Duration{"terminate": time.Minute}
			})
			c.Expel(key("192.0.2.1"), "192.0.2.1")
			c.Expel(key("192.0.2.2"), "somebody else")
			cut()
			f.do(func(f *fakeCharon) { f.delay = nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				eventsNow(c)
				var first, second uint32
				f.do(func(f *fakeCharon) {
					first = f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "remote-id",
						"192.0.2.1")
					second = f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no", "remote-id",
						"192.0.2.2")
				})
				eventsNow(c)
				when(f, c, func() {
					eventsNow(c)
					f.do(func(f *fakeCharon) {
						f.down = true
						for s := range f.sessions {
							_ = s.conn.Close()
						}
					})
					eventsNow(c)
				})
				f.comeBack()
				after(c, 5*time.Second)
				if ids := f.ids(); len(ids) != 1 || ids[0] != second {
					t.Errorf(
						"charon has the SAs %v, want only %d: %d belongs to the identity that was expelled",
						ids, second, first)
				}
				after(c, time.Minute) // until the fake charon has finished the first command
			})
		})
	}
}

// The jobs of one peer run in order, although they use several sessions. So charon has a connection
// in the end that is wanted again while it is being unloaded.
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
				eventsNow(c)
				c.Want(key("192.0.2.1"), Initiate)
				eventsNow(c)
				leave(c)
				f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
				eventsNow(c)
				c.Want(key("192.0.2.1"), Initiate)
				after(c, 10*time.Second)
				if len(c.SAs()) != 1 || !f.has("cygnet-gre1-192.0.2.1") {
					t.Errorf("want an SA and the peer's connection, have %+v, %v", c.SAs(),
						f.seen().conns)
				}
				if n := f.count("unload-conn"); n != 1 {
					t.Errorf("want the connection unloaded once, have %d times", n)
				}
			})
		})
	}
}

// Jobs that are left from a forgotten peer do not affect the peer when it is wanted again.
func TestForgottenPeerComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		after(c, time.Minute)
		f.do(func(f *fakeCharon) {
			f.onInitiate = succeed
			f.delay = map[string]time.Duration{"initiate": 5 * time.Second}
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "child-sas",
				mk("gre-1", f.child(1, "TUNNEL")))
		})
		if got := eventsNow(c); len(got) != 1 {
			t.Fatalf("want a refusal, have %v", got)
		}
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "up", after(c, 10*time.Second), upOf("192.0.2.1", true))
		f.do(func(f *fakeCharon) { f.end(f.ids()[0]) })
		wantEvents(t, "again", after(c, 10*time.Second), Down{key("192.0.2.1"), closedByPeer},
			upOf("192.0.2.1", true))
	})
}

// If a peer is wanted before its interface has a profile, the client dials the peer when the
// profile is there.
func TestWantedBeforeItsProfile(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		eventsNow(c)
		k := Key{Interface: "gre2", NBMA: netip.MustParseAddr("192.0.2.1")}
		c.Want(k, Initiate)
		wantEvents(t, "without a profile", after(c, 2*time.Minute))
		p := testProfile()
		p.Interface = "gre2"
		c.SetProfile(p)
		up := upOf("192.0.2.1", true)
		up.Interface = "gre2"
		wantEvents(t, "with it", eventsNow(c), Snapshot{Interface: "gre2"}, up)
	})
}

// SPIs returns the SPIs of all CHILD_SAs, including those of connections that the client has not
// loaded. It returns an error without a charon.
func TestSPIs(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1")
			f.establish("site", "192.0.2.2")
		})
		got, err := c.SPIs(t.Context())
		want := map[uint32]bool{
			0xc0000001: true,
			0xd0000001: true,
			0xc0000002: true,
			0xd0000002: true,
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("error %v, SPIs: -want +got\n%s", err, diff)
		}
		f.crash()
		eventsNow(c)
		if _, err := c.SPIs(t.Context()); !errors.Is(err, ErrNotConnected) {
			t.Errorf("without a charon: want ErrNotConnected, have %v", err)
		}
	})
}
