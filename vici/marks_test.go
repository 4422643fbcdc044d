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

// threeBehindNAT has two routers with marks behind the shared address, and one without.
func threeBehindNAT(f *fakeCharon, c *Client) {
	told(c)
	separated(c)
	f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
	told(c)
	f.do(func(f *fakeCharon) { f.dialIn("b", "49183"); f.dialIn("c", "1024") })
	told(c)
}

// awaitMarksAsked hands events to each up to the question whether marks may be given out, which it
// leaves unanswered.
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
			t.Fatal("nobody is asked whether marks may be given out")
		}
	}
}

// A charon that has returned gives out marks from 1 on again. It does so only when the earlier
// one's states are gone, before anything is reported about it, and when the consumer has confirmed
// that nothing leads to the old marks.
func TestMarksOfARestartedCharon(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		var swept []netip.Addr
		told(c)
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
		f.back()
		var first []Event
		asked := awaitMarksAsked(t, c, func(e Event) {
			if len(first) == 0 && !slices.Equal(swept, testProfile().LocalAddrs) {
				t.Errorf("%T is told after these addresses were looked at: %v", e, swept)
			}
			first = append(first, e)
		})
		wantEvents(t, "first", first, Connected{"5.9.8"}, Snapshot{"gre1", nil}, asked)

		c.AllowMarks(asked.Serial - 1) // the answer to a question of before
		// of the bubble, without taking events: after would answer the question
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
			t.Errorf("unanswered: %v", got)
		}
		c.AllowMarks(asked.Serial)
		after(c, time.Second)
		if got := loads(); len(got) < 2 || got[0] != "load-conn "+markedConn ||
			got[1] != "load-conn cygnet-gre1" {
			t.Errorf("answered: %v", got)
		}
	})
}

// The same holds for a charon that was there before any router needed a mark: another charon may
// have given out marks before it.
func TestFirstMarksOfACharon(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
		asked := awaitMarksAsked(t, c, func(Event) {})
		time.Sleep(time.Minute) // of the bubble, without taking events
		if f.has(markedConn) {
			t.Error("marks are given out before that was answered")
		}
		c.AllowMarks(asked.Serial)
		after(c, time.Second)
		if !f.has(markedConn) {
			t.Errorf("allowed, and there is %v", f.seen().conns)
		}
	})
}

// As long as the earlier charon's states cannot be removed, charon counts as gone.
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
		told(c)
		f.crash()
		after(c, time.Second)
		f.back()
		after(c, time.Minute)
		if st := c.Status(); f.has("cygnet-gre1") ||
			!strings.Contains(st.LastError, "the kernel says no") {
			t.Errorf("status %+v, connections %v", st, f.seen().conns)
		}
		works.Store(true)
		after(c, time.Minute)
		if !f.has(markedConn) || !c.Status().Connected {
			t.Errorf("status %+v, connections %v", c.Status(), f.seen().conns)
		}
	})
}

// The routers that had marks are dialled when charon is back, each through its mapping and with a
// mark, since they know nothing: but not one that has come back by itself, nor one whose SA had
// gone before. Nothing of that stays.
func TestRecall(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		threeBehindNAT(f, c)
		f.do(func(f *fakeCharon) { f.dialIn("d", "1025"); f.dialIn("e", "1026") })
		told(c)
		f.do(func(f *fakeCharon) { f.end(f.lastID) })
		told(c)
		ports := map[string]string{}
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				conn := f.conns[name]
				port := conn.text("remote_port")
				ports[port] = conn.text("local_port")
				if mark := conn.values["children"].(*tree).values["gre"].(*tree).text(
					"mark_out"); mark != "%unique" {
					t.Errorf("%s has the mark %q", name, mark)
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
		f.back()
		b := marked("b", 1)
		b.Initiator = true
		events := after(c, time.Second)
		if !slices.ContainsFunc(events, func(e Event) bool {
			up, ok := e.(Up)
			return ok &&
				up.Equal(b)
		}) {
			t.Errorf("told %v", events)
		}
		if len(ports) != 2 || ports["49183"] != "4500" || ports["1024"] != "4500" {
			t.Errorf("dialled through %v", ports)
		}
		after(c, time.Minute)
		if got := f.seen(); slices.ContainsFunc(got.conns,
			func(name string) bool { return strings.HasPrefix(name, markedConn+"-") }) ||
			len(got.at) != 2 {
			t.Errorf("%d initiations, connections %v", len(got.at), got.conns)
		}
	})
}

// A charon that ends in good order tells its peers, which dial by themselves: nobody is recalled.
func TestNoRecallAfterAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		threeBehindNAT(f, c)
		f.do(func(f *fakeCharon) {
			for _, id := range f.ids() {
				f.end(id)
			}
		})
		told(c)
		f.crash()
		after(c, time.Second)
		f.back()
		after(c, time.Minute)
		if n := f.count("initiate"); n > 0 {
			t.Errorf("%d initiations", n)
		}
	})
}

// Recalls count as initiations: no more at a time than the setting allows.
func TestRecallsArePaced(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.post(func(*reconciler) { c.inFlight = 1 })
		threeBehindNAT(f, c)
		f.crash()
		after(c, time.Second)
		f.back()
		after(c, time.Minute)
		at := f.seen().at
		if len(at) != 2 || at[1].Sub(at[0]) < defaultTimes.firstCheck {
			t.Errorf("initiations at %v", at)
		}
	})
}
