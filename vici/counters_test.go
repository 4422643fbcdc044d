package vici

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// When charon rekeys a child, the new one carries what the old one counted to its end, and the next
// one goes on from there.
func TestRekeyingCarriesBytes(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		eventsNow(c)
		for n, counted := range []string{"500", "70"} {
			sas := c.SAs()
			if len(sas) != 1 || len(sas[0].Children) != 1 {
				t.Fatalf("the SAs are %+v", sas)
			}
			before := sas[0].Children[0].ID
			child := sas[0].Children[0]
			c.Counted(map[uint32]Count{child.SPIIn: {Bytes: 1}},
				map[uint32]Count{child.SPIOut: {Bytes: 40}, 0xffff: {Bytes: 9}})
			// the kernel has deleted the old states, and charon has not raised the event yet
			c.Counted(map[uint32]Count{}, map[uint32]Count{})
			f.do(func(f *fakeCharon) {
				old, fresh := f.child(before, "TRANSPORT"), f.child(before+1, "TRANSPORT")
				old.set("bytes-in", counted)
				old.set("bytes-out", "30") // as charon knew it some time ago
				f.raise("child-rekey", mk("cygnet-gre1",
					mk("uniqueid", fmt.Sprint(sas[0].ID), "remote-host", "192.0.2.1",
						"child-sas", mk("gre-1", mk("old", old, "new", fresh)))))
			})
			eventsNow(c)
			if sas = c.SAs(); len(sas) != 1 || len(sas[0].Children) != 1 {
				t.Fatalf("the SAs are %+v", sas)
			}
			now := sas[0].Children[0]
			want := []uint64{[]uint64{500, 570}[n], []uint64{40, 80}[n]}
			if diff := cmp.Diff(want, []uint64{now.CarriedIn, now.CarriedOut}); diff != "" ||
				now.ID != before+1 {
				t.Errorf("rekeying %d, child %d: want (-), got (+):\n%s", n+1, now.ID, diff)
			}
		}
	})
}

// What SAs carried is known over rekeyings, the end of an SA and a restart of charon, and never
// becomes less.
func TestTraffic(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		k := key("192.0.2.1")
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		eventsNow(c)
		var whole uint64
		step := func(what string, more uint64) {
			t.Helper()
			eventsNow(c)
			whole += more
			interfaces, peers := c.Traffic()
			if interfaces["gre1"] != peers[k] || peers[k].BytesIn != whole ||
				whole > 500 && peers[k].PacketsIn < 5 {
				t.Errorf("%s: want %d bytes, have %+v and %+v", what, whole, interfaces, peers)
			}
		}
		counted := func(bytes uint64) {
			c.Counted(map[uint32]Count{c.SAs()[0].Children[0].SPIIn: {
				Bytes: bytes, Packets: bytes / 100,
			}}, map[uint32]Count{})
		}
		step("an SA came up", 7)
		counted(500)
		step("the kernel counted", 493)
		counted(700)
		f.do(func(f *fakeCharon) {
			id := c.SAs()[0].Children[0].ID
			old, fresh := f.child(id, "TRANSPORT"), f.child(id+100, "TRANSPORT")
			old.set("bytes-in", "900") // as the kernel counted when charon deleted the child
			fresh.set("bytes-in", "0")
			f.raise("child-rekey", mk("cygnet-gre1",
				mk("uniqueid", fmt.Sprint(c.SAs()[0].ID), "remote-host", "192.0.2.1",
					"child-sas", mk("gre-1", mk("old", old, "new", fresh)))))
		})
		step("rekeyed", 400)
		counted(300)
		step("the new child carries", 300)
		counted(200)
		step("the kernel told an old count", 0)
		f.do(func(f *fakeCharon) { f.end(c.SAs()[0].ID) })
		eventsNow(c)
		step("the SA ended", 0)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		eventsNow(c)
		counted(100)
		step("there is another", 100)
		f.crash()
		f.comeBack()
		after(c, 10*time.Second)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1")
			f.establish("cygnet-gre1", "192.0.2.2")
		})
		eventsNow(c)
		if interfaces, peers := c.Traffic(); peers[k].BytesIn != whole+7 ||
			interfaces["gre1"].BytesIn != whole+7+7 {
			t.Errorf("after a restart of charon: %+v and %+v", interfaces, peers)
		}
	})
}

// The status has when charon started, and counts why attempts failed: those of this end and those
// of others. Where charon says nothing of its start, all else works.
func TestCharonsStartAndFailuresByCause(t *testing.T) {
	for _, since := range []string{"", "Dec 01 09:30:00 2025", "yesterday"} {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			f.since = since
			f.childless("192.0.2.1", "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built")
			f.do(func(f *fakeCharon) { f.counts(3) })
			eventsNow(c)
			want := time.Time{}
			if since == "Dec 01 09:30:00 2025" {
				want = time.Date(2025, 12, 1, 9, 30, 0, 0, time.Local)
			}
			if st := c.Status(); !st.Connected || !st.Started.Equal(want) {
				t.Errorf("charon said %q: want %s, have %+v", since, want, st)
			}
			after(c, 20*time.Second)
			f.do(func(f *fakeCharon) { f.counts(1) })
			after(c, 10*time.Second)
			f.do(func(f *fakeCharon) {
				for range 3 {
					f.dialled("192.0.2.9", "spoke1", "no trusted RSA public key found for 'spoke1'")
				}
			})
			c.Want(key("192.0.2.1"), Initiate)
			after(c, 20*time.Second)
			st := c.Status()
			refused, failed := st.Refusals["untrusted"], st.Failures["proposals"]
			delete(st.Refusals, "untrusted")
			delete(st.Failures, "proposals")
			if refused != 3 || failed == 0 || sum(st.Refusals)+sum(st.Failures) != 0 {
				t.Errorf("it counted %d and %d; besides, of others %v, of its own %v",
					refused, failed, st.Refusals, st.Failures)
			}
		})
	}
}

// sum adds up counts.
func sum(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// The client tells how long a comparison with charon takes, and how long a dialled peer takes to
// be secured. A peer that dials this end is not measured.
func TestTimesAreTold(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		const handshake, list = 300 * time.Millisecond, 200 * time.Millisecond
		var secured, compared []time.Duration
		c.settings.secured = func(d time.Duration) { secured = append(secured, d) }
		c.settings.compared = func(d time.Duration) { compared = append(compared, d) }
		f.delay = map[string]time.Duration{"list-sas": list}
		eventsNow(c)
		after(c, 2*time.Second)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no") })
		after(c, time.Second)
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				time.AfterFunc(handshake, func() {
					f.do(func(f *fakeCharon) { f.establish(name, "192.0.2.1") })
				})
				return yes
			}
		})
		c.Want(key("192.0.2.1"), Initiate)
		after(c, 2*time.Minute)
		if len(secured) != 1 || secured[0] != handshake {
			t.Errorf("an SA took %v, want once %v", secured, handshake)
		}
		if len(compared) < 2 || compared[0] != list {
			t.Errorf("comparisons took %v, want at least two, the first %v", compared, list)
		}
	})
}
