package vici

import (
	"testing"
	"time"
)

// If the end that rekeyed an IKE_SA does not delete the old one, the client destroys that after ten
// seconds, whether an event reported the rekeying or the old one was there before the link. If it
// is gone by then, as usual, the client does nothing.
func TestReplacedSA(t *testing.T) {
	rekey := func(f *fakeCharon, left bool) {
		id, fresh := f.section("cygnet-gre1", "192.0.2.1", "initiator", "no")
		f.raise("ike-rekey", mk("cygnet-gre1", mk("old", f.sas[1], "new", fresh)))
		f.sas[id] = fresh
		f.sas[1].set("state", "REKEYED")
		f.sas[1].set("child-sas", mk())
		if !left {
			delete(f.sas, 1)
		}
	}
	for name, test := range map[string]struct {
		left, before bool
		want         int
	}{
		"by an event, and left":                 {left: true, want: 1},
		"by an event, and deleted by the peer":  {left: false, want: 0},
		"there before this end came, and stays": {left: true, before: true, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				begin := func(f *fakeCharon) {
					f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no")
				}
				if test.before {
					f.do(func(f *fakeCharon) { begin(f); rekey(f, test.left) })
					eventsNow(c)
				} else {
					eventsNow(c)
					f.do(begin)
					wantEvents(t, "up", eventsNow(c), upOf("192.0.2.1", false))
					f.do(func(f *fakeCharon) { rekey(f, test.left) })
				}
				wantEvents(t, "soon after", after(c, 9*time.Second))
				if f.count("terminate") != 0 {
					t.Errorf("want no SA destroyed within ten seconds, commands %v", f.seen().order)
				}
				wantEvents(t, "then", after(c, 2*time.Second))
				if f.count("terminate") != test.want || f.count("terminate 1") != test.want {
					t.Errorf("want SA 1 destroyed %d times, commands %v", test.want, f.seen().order)
				}
			})
		})
	}
}
