package vici

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// An IKE_SA that gets no child is closed after a while: the traffic selectors do not fit.
func TestChildless(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.childless("192.0.2.1", "")
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "for some time", after(c, 4*time.Second))
		got := after(c, 1500*time.Millisecond)
		if len(got) != 1 || !strings.Contains(got[0].(Failed).Reason, "dynamic[gre]") ||
			f.count("terminate 1") != 1 {
			t.Errorf("events %v, commands %v", got, f.seen().order)
		}
	})
}

// A child of another mode than wanted is refused at once, by closing its IKE_SA; the peer was never
// up.
func TestWrongMode(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no", "child-sas",
				mk("gre-1", f.child(1, "TUNNEL")))
		})
		got := eventsNow(c)
		if len(got) != 1 || !strings.Contains(got[0].(Failed).Reason, "tunnel mode") ||
			f.count("terminate 1") != 1 {
			t.Errorf("events %v, commands %v", got, f.seen().order)
		}
	})
}

// Rekeying and moving in the events' own shapes: SPIs and ids change, the peer stays up; a new
// address is another peer.
func TestRekeyAndMove(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		wantEvents(t, "up", eventsNow(c), upOf("192.0.2.1", true))
		f.do(func(f *fakeCharon) {
			id, fresh := f.section("cygnet-gre1", "192.0.2.1", "child-sas", mk())
			f.raise("ike-rekey", mk("cygnet-gre1", mk("old", f.sas[1], "new", fresh)))
			f.sas[id] = fresh
			delete(f.sas, 1)
			f.raise("child-rekey", mk("cygnet-gre1", mk("uniqueid", "2", "remote-host", "192.0.2.1",
				"child-sas",
				mk("gre-1", mk("old", f.child(1, "TRANSPORT"), "new",
					f.child(7, "TRANSPORT"))))))
		})
		wantEvents(t, "rekeyed", eventsNow(c))
		if sas := c.SAs(); len(sas) != 1 || sas[0].ID != 2 || len(sas[0].Children) != 1 ||
			sas[0].Children[0].ID != 7 {
			t.Errorf("SAs: %+v", sas)
		}
		f.do(func(f *fakeCharon) {
			f.raise("ike-update", mk("remote-host", "192.0.2.5", "remote-port", "4500",
				"cygnet-gre1", f.sas[2]))
		})
		moved := upOf("192.0.2.5", true)
		moved.Identity = "id-192.0.2.1"
		wantEvents(t, "moved", eventsNow(c), Moved{key("192.0.2.1"), moved.Peer})
	})
}

// A changed local address: SAs from the old one do not count, are closed, and the peer is dialled
// from the new one.
func TestLocalAddress(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		local := "192.0.2.100"
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				f.establish(name, "192.0.2.1", "local-host", local)
				return yes
			}
		})
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "up", eventsNow(c), upOf("192.0.2.1", true))
		f.do(func(*fakeCharon) { local = "192.0.2.200" })
		p := testProfile()
		p.LocalAddrs = []netip.Addr{netip.MustParseAddr("192.0.2.200")}
		c.SetProfile(p)
		wantEvents(t, "moved", after(c, time.Second),
			Down{key("192.0.2.1"), "this end's address changed"}, upOf("192.0.2.1", true))
		if sas := c.SAs(); len(sas) != 1 || sas[0].LocalHost.String() != local {
			t.Errorf("SAs: %+v", sas)
		}
	})
}

// An SA that ends while charon's answer which lists it is under way is not there.
func TestSAEndsWhileItIsListed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				id, sa := f.section(name, "192.0.2.1")
				f.sas[id] = sa // charon raises no event
				f.onInitiate = nil
				return yes
			}
			f.onListed = func(f *fakeCharon) time.Duration {
				for _, id := range f.ids() {
					f.end(id)
				}
				return time.Second
			}
		})
		c.Want(key("192.0.2.1"), Initiate)
		after(c, 5*time.Second)
		if sas := c.SAs(); len(sas) > 0 {
			t.Errorf("want no SA, have %+v", sas)
		}
		f.do(func(f *fakeCharon) { f.onListed = nil })
		after(c, 2*time.Second)
	})
}

// What an event reports while a comparison lists the SAs is newer than the list.
func TestRekeyingDuringComparison(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		var listed bool
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no")
			f.onListed = func(f *fakeCharon) time.Duration {
				f.onListed, listed = nil, true
				f.raise("child-rekey", mk("cygnet-gre1",
					mk("uniqueid", "1", "remote-host", "192.0.2.1",
						"child-sas",
						mk("gre-1", mk("old", f.child(1, "TRANSPORT"), "new",
							f.child(7, "TRANSPORT"))))))
				return time.Second
			}
		})
		wantEvents(t, "all along", after(c, 65*time.Second), upOf("192.0.2.1", false))
		if got := childIDs(c); !listed || !slices.Equal(got, []uint32{7}) {
			t.Errorf("listed: %t; children %v", listed, got)
		}
	})
}

// A child that comes while charon's answer without it is under way is there.
func TestChildDuringTheLookForIt(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			id, sa := f.section("cygnet-gre1", "192.0.2.1", "initiator", "no", "child-sas", mk())
			f.sas[id] = sa
			f.raise("ike-updown", mk("up", "yes", "cygnet-gre1", sa))
			f.onListed = func(f *fakeCharon) time.Duration {
				f.onListed = nil
				sa.set("child-sas", mk("gre-1", f.child(1, "TRANSPORT")))
				f.raise("child-updown", mk("up", "yes", "cygnet-gre1", sa))
				return time.Second
			}
		})
		wantEvents(t, "up", after(c, 10*time.Second), upOf("192.0.2.1", false))
		if f.count("list-sas") != 2 || f.count("terminate") != 0 {
			t.Errorf("commands %v", f.seen().order)
		}
	})
}

// A child that a newer one has taken the place of is none any more, though charon lists it until
// both ends have agreed on its end. One without a newer one still protects.
func TestReplacedChild(t *testing.T) {
	for _, test := range []struct {
		name     string
		children []uint32
		want     []uint32
	}{
		{"with a newer one", []uint32{1, 7}, []uint32{7}},
		{"alone", []uint32{1}, []uint32{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				eventsNow(c)
				f.do(func(f *fakeCharon) {
					children := mk()
					for _, id := range test.children {
						children.set(fmt.Sprintf("gre-%d", id), f.child(id, "TRANSPORT"))
					}
					children.values["gre-1"].(*tree).set("state", "REKEYED")
					id, sa := f.section("cygnet-gre1", "192.0.2.1", "initiator", "no", "child-sas",
						children)
					f.sas[id] = sa
				})
				wantEvents(t, "found by the comparison", after(c, 65*time.Second),
					upOf("192.0.2.1", false))
				if got := childIDs(c); !slices.Equal(got, test.want) {
					t.Errorf("children %v, want %v", got, test.want)
				}
			})
		})
	}
}

// childIDs are the ids of all children in the table.
func childIDs(c *Client) (ids []uint32) {
	for _, sa := range c.SAs() {
		for _, child := range sa.Children {
			ids = append(ids, child.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
