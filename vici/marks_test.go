package vici

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// threeBehindNAT makes three routers dial in from the shared address: the SAs of two have marks,
// that of the first has none.
func threeBehindNAT(f *fakeCharon, c *Client) {
	eventsNow(c)
	giveMarks(c)
	f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
	eventsNow(c)
	f.do(func(f *fakeCharon) { f.dialIn("b", "49183"); f.dialIn("c", "1024") })
	eventsNow(c)
}

// awaitMarksAsked hands each event to a function until MarksAsked comes, which it does not answer.
func awaitMarksAsked(t *testing.T, c *Client, each func(Event)) MarksAsked {
	t.Helper()
	for late := time.After(time.Minute); ; {
		select {
		case e := <-c.Events():
			each(e)
			if asked, ok := e.(MarksAsked); ok {
				return asked
			}
		case <-late:
			t.Fatal("want MarksAsked within a minute")
		}
	}
}

// A new charon gives out marks from 1 on again. So before the client reports anything about it, the
// states of the earlier charon are swept from the kernel. The client loads no connection by which
// charon gives out marks until the consumer has answered MarksAsked.
func TestMarksOfARestartedCharon(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		var swept []netip.Addr
		eventsNow(c)
		c.post(func(*reconciler) {
			c.sweep = func(locals []netip.Addr, list func() (map[uint32]bool, error)) error {
				swept = append(swept, locals...)
				_, err := list()
				return err
			}
		})
		threeBehindNAT(f, c)
		swept = nil
		f.crash()
		after(c, time.Second)
		before := len(f.seen().order)
		f.comeBack()
		var first []Event
		asked := awaitMarksAsked(t, c, func(e Event) {
			if len(first) == 0 && !slices.Equal(swept, testProfile().LocalAddrs) {
				t.Errorf("want the states of %v swept before %T, have %v",
					testProfile().LocalAddrs, e, swept)
			}
			first = append(first, e)
		})
		wantEvents(t, "first", first, Connected{"5.9.8"}, Snapshot{Interface: "gre1"}, asked)

		c.AllowMarks(asked.Serial - 1) // the answer to an earlier MarksAsked
		// This is the bubble's clock. The helper after would answer MarksAsked.
		time.Sleep(time.Minute)
		loads := func() (list []string) {
			for _, command := range f.seen().order[before:] {
				if strings.HasPrefix(command, "load-conn") ||
					strings.HasPrefix(command, "initiate") {
					list = append(list, command)
				}
			}
			return list
		}
		if got := loads(); len(got) > 0 {
			t.Errorf("before the answer: want no connection loaded, have %v", got)
		}
		c.AllowMarks(asked.Serial)
		after(c, time.Second)
		if got := loads(); len(got) < 2 || got[0] != "load-conn "+markedConn ||
			got[1] != "load-conn cygnet-gre1" {
			t.Errorf("after the answer: want the connection with marks loaded before the template, have %v",
				got)
		}
	})
}

// The client asks also about a charon that ran before any router needed a mark, since an earlier
// charon may have given out marks.
func TestFirstMarksOfACharon(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
		asked := awaitMarksAsked(t, c, func(Event) {})
		time.Sleep(time.Minute) // on the bubble's clock, without an answer to MarksAsked
		if f.has(markedConn) {
			t.Error("want no connection with marks before the answer")
		}
		c.AllowMarks(asked.Serial)
		after(c, time.Second)
		if !f.has(markedConn) {
			t.Errorf("want the connection with marks after the answer, have %v", f.seen().conns)
		}
	})
}

// As long as the earlier charon's states cannot be swept, the client gives up the link and reports
// charon as gone.
func TestSweepFails(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		threeBehindNAT(f, c)
		var works atomic.Bool
		c.post(func(*reconciler) {
			c.sweep = func([]netip.Addr, func() (map[uint32]bool, error)) error {
				if works.Load() {
					return nil
				}
				return errors.New("the kernel says no")
			}
		})
		eventsNow(c)
		f.crash()
		after(c, time.Second)
		f.comeBack()
		after(c, time.Minute)
		if st := c.Status(); f.has("cygnet-gre1") ||
			!strings.Contains(st.LastError, "the kernel says no") {
			t.Errorf("want the kernel's error and no connections, have status %+v, connections %v",
				st, f.seen().conns)
		}
		works.Store(true)
		after(c, time.Minute)
		if !f.has(markedConn) || !c.Status().Connected {
			t.Errorf("want the link and the connection with marks, have status %+v, connections %v",
				c.Status(), f.seen().conns)
		}
	})
}

// When a killed charon is back, the client dials the routers whose SAs had marks, each through its
// mapping and with a mark: they do not know that their SAs are gone. It does not dial a router that
// has come back by itself, nor one whose SA had ended before. It unloads the connections for that
// afterwards.
func TestRecall(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		threeBehindNAT(f, c)
		f.do(func(f *fakeCharon) { f.dialIn("d", "1025"); f.dialIn("e", "1026") })
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.end(f.lastID) })
		eventsNow(c)
		ports := map[string]string{}
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				conn := f.conns[name]
				port := conn.text("remote_port")
				ports[port] = conn.text("local_port")
				if mark := conn.values["children"].(*tree).values["gre"].(*tree).text(
					"mark_out"); mark != "%unique" {
					t.Errorf("want %s to ask for a unique mark, have %q", name, mark)
				}
				if identity := map[string]string{"49183": "b"}[port]; identity != "" {
					id := f.lastID + 1
					child := f.child(id, "TRANSPORT")
					child.set("mark-out", "00000001")
					child.set("mark-in", "00000001")
					f.establish(name, sharedTest, "remote-id", identity, "remote-port", port,
						"nat-remote", "yes", "child-sas", mk("gre-1", child))
				}
				return yes
			}
		})
		f.crash()
		after(c, time.Second)
		f.onListOnce(func(f *fakeCharon) { f.dialIn("d", "1025") })
		f.comeBack()
		b := marked("b", 1)
		b.Initiator = true
		events := after(c, time.Second)
		if !slices.ContainsFunc(events, func(e Event) bool {
			up, ok := e.(Up)
			return ok &&
				up.Equal(b)
		}) {
			t.Errorf("want %+v up, have %v", b, events)
		}
		if len(ports) != 2 || ports["49183"] != "4500" || ports["1024"] != "4500" {
			t.Errorf("want ports 49183 and 1024 dialled from 4500, have %v", ports)
		}
		after(c, time.Minute)
		if got := f.seen(); slices.ContainsFunc(got.conns,
			func(name string) bool { return strings.HasPrefix(name, markedConn+"-") }) ||
			len(got.at) != 2 {
			t.Errorf("want 2 initiations, and their connections unloaded, have %d, connections %v",
				len(got.at), got.conns)
		}
	})
}

// A charon that ends in order closes its SAs, and its peers dial by themselves. So the client
// recalls no router.
func TestNoRecallAfterAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		threeBehindNAT(f, c)
		f.do(func(f *fakeCharon) {
			for _, id := range f.ids() {
				f.end(id)
			}
		})
		eventsNow(c)
		f.crash()
		after(c, time.Second)
		f.comeBack()
		after(c, time.Minute)
		if n := f.count("initiate"); n > 0 {
			t.Errorf("want no initiation, have %d", n)
		}
	})
}

// Recalls count as initiations: no more than MaxInitiations are in their first seconds.
func TestRecallsArePaced(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.post(func(*reconciler) { c.inFlight = 1 })
		threeBehindNAT(f, c)
		f.crash()
		after(c, time.Second)
		f.comeBack()
		after(c, time.Minute)
		at := f.seen().at
		if len(at) != 2 || at[1].Sub(at[0]) < defaultTimes.firstCheck {
			t.Errorf("want two initiations %v apart, have %v", defaultTimes.firstCheck, at)
		}
	})
}
