package vici

import (
	"testing"
	"time"
)

// When both ends dial at once, the client withholds the report of the first SA until the other one
// has been up for a moment, or has failed. It reports an SA that comes alone at once.
func TestReportIsWithheldWhileBothDial(t *testing.T) {
	const peer = "192.0.2.1"
	second := func(f *fakeCharon, name string) uint32 {
		id, sa := f.section(name, peer, "state", "CONNECTING", "child-sas", mk())
		f.sas[id] = sa
		return id
	}
	oursFirst := func(f *fakeCharon) (up, open uint32) {
		open = second(f, "(unnamed)")
		return f.establish("cygnet-gre1-"+peer, peer), open
	}
	for name, test := range map[string]struct {
		// begin brings one SA up while another is negotiated. It returns the id for then.
		begin func(f *fakeCharon) (id uint32)
		then  func(f *fakeCharon, c *Client, id uint32) // half a second later
		soon  []Event                                   // within 150 ms after then
		later []Event                                   // within another second
		last  []Event                                   // within another ten seconds
	}{
		"the peer's SA is up, this end's comes later": {
			begin: func(f *fakeCharon) uint32 {
				open := second(f, "cygnet-gre1-"+peer)
				f.establish("cygnet-gre1", peer, "initiator", "no")
				return open
			},
			then: func(f *fakeCharon, _ *Client, open uint32) {
				f.sas[open].set("state", "ESTABLISHED")
			},
			later: []Event{upOf(peer, false)},
		},
		"this end's SA is up, the peer's comes later": {
			begin: func(f *fakeCharon) uint32 { _, open := oursFirst(f); return open },
			then:  func(f *fakeCharon, _ *Client, open uint32) { delete(f.sas, open) },
			later: []Event{upOf(peer, true)},
		},
		"the other never comes": {
			begin: func(f *fakeCharon) uint32 { _, open := oursFirst(f); return open },
			then:  func(*fakeCharon, *Client, uint32) {},
			last:  []Event{upOf(peer, true)},
		},
		"the SA ends meanwhile": {
			begin: func(f *fakeCharon) uint32 { up, _ := oursFirst(f); return up },
			then:  func(f *fakeCharon, _ *Client, up uint32) { f.onInitiate = halfOpen; f.end(up) },
			soon:  []Event{Failed{key(peer), closedByPeer}},
		},
		"it is left to dial, and charon goes on": {
			begin: func(f *fakeCharon) uint32 { up, _ := oursFirst(f); return up },
			then:  func(_ *fakeCharon, c *Client, _ uint32) { c.Want(key(peer), Accept) },
			last:  []Event{upOf(peer, true)},
		},
		"it is not wanted any more": {
			begin: func(f *fakeCharon) uint32 { up, _ := oursFirst(f); return up },
			then:  func(_ *fakeCharon, c *Client, _ uint32) { c.Want(key(peer), None) },
			soon:  []Event{upOf(peer, true)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				var id uint32
				f.do(func(f *fakeCharon) {
					f.onInitiate = func(f *fakeCharon, _ string) *tree {
						id = test.begin(f)
						return yes
					}
				})
				eventsNow(c)
				c.Want(key(peer), Initiate)
				const between = 510 * time.Millisecond // two polls, which are 100 ms apart
				wantEvents(t, "while the other is negotiated", after(c, between))
				if n := f.count("initiate"); n != 1 {
					t.Errorf("want one initiation, have %d", n)
				}
				f.do(func(f *fakeCharon) { test.then(f, c, id) })
				wantEvents(t, "soon", after(c, 150*time.Millisecond), test.soon...)
				wantEvents(t, "later", after(c, time.Second), test.later...)
				wantEvents(t, "in the end", after(c, 10*time.Second), test.last...)
			})
		})
	}
	t.Run("left to dial before any SA is up", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			var open uint32
			f.do(func(f *fakeCharon) {
				f.onInitiate = func(f *fakeCharon, _ string) *tree {
					open = second(f, "cygnet-gre1-"+peer)
					return yes
				}
			})
			eventsNow(c)
			c.Want(key(peer), Initiate)
			wantEvents(t, "while this end dials", eventsNow(c))
			c.Want(key(peer), Accept)
			f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", peer, "initiator", "no") })
			wantEvents(t, "with the peer's SA", after(c, 500*time.Millisecond))
			f.do(func(f *fakeCharon) { f.sas[open].set("state", "ESTABLISHED") })
			wantEvents(t, "with both", after(c, time.Second), upOf(peer, false))
		})
	})
	t.Run("left to dial, and the SA ends", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			var up uint32
			f.do(func(f *fakeCharon) {
				f.onInitiate = func(f *fakeCharon, _ string) *tree {
					up, _ = oursFirst(f)
					return yes
				}
			})
			eventsNow(c)
			c.Want(key(peer), Initiate)
			wantEvents(t, "while the other is negotiated", eventsNow(c))
			c.Want(key(peer), Accept)
			wantEvents(t, "once it is left to dial", eventsNow(c))
			f.do(func(f *fakeCharon) { f.end(up) })
			wantEvents(t, "in the end", after(c, 10*time.Second))
			if n := f.count("initiate"); n != 1 {
				t.Errorf("want one initiation, have %d", n)
			}
		})
	})
	t.Run("an NHS, which does not dial", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			f.do(func(f *fakeCharon) {
				f.onInitiate = func(f *fakeCharon, _ string) *tree {
					oursFirst(f)
					return yes
				}
			})
			eventsNow(c)
			c.Want(key(peer), InitiateFirst)
			wantEvents(t, "at once", eventsNow(c), upOf(peer, true))
		})
	})
	t.Run("one comes alone", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			f.do(func(f *fakeCharon) { f.onInitiate = succeed })
			eventsNow(c)
			c.Want(key(peer), Initiate)
			wantEvents(t, "at once", eventsNow(c), upOf(peer, true))
		})
	})
}
