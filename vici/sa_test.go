package vici

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// The client closes an IKE_SA that gets no child within five seconds, since the traffic selectors
// do not fit.
func TestChildless(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.childless("192.0.2.1", "")
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		wantEvents(t, "for some time", after(c, 4*time.Second))
		got := after(c, 1500*time.Millisecond)
		if len(got) != 1 || !strings.Contains(got[0].(Failed).Reason, "dynamic[gre]") ||
			f.count("terminate 1") != 1 {
			t.Errorf("want a failure by the selectors and SA 1 closed, have events %v, commands %v",
				got, f.seen().order)
		}
	})
}

// The client closes an IKE_SA at once whose child has another mode than wanted, and does not report
// its peer as up.
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
			t.Errorf("want a failure by the mode and SA 1 closed, have events %v, commands %v", got,
				f.seen().order)
		}
	})
}

// When an SA is rekeyed, its SPIs and ids change and the peer stays up. When the peer's address
// changes, the client reports that it moved. The events have the form that charon gives them.
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
			t.Errorf("want SA 2 with child 7, have %+v", sas)
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

// moveTo has charon find the peer of an SA at another address; mu is held.
func (f *fakeCharon) moveTo(id uint32, remote string) {
	f.raise("ike-update", mk("remote-host", remote, "remote-port", "4500",
		f.sas[id].text("name"), f.sas[id]))
	f.sas[id].set("remote-host", remote)
}

// A peer with two SAs, such as after both ends dialled at once, moves when its last SA does. The
// first one's event does not make the peer lost at its old address.
func TestPeerWithTwoSAsMoves(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1")
			f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no")
		})
		wantEvents(t, "up", eventsNow(c), upOf("192.0.2.1", true))
		moved := upOf("192.0.2.5", true)
		moved.Identity = "id-192.0.2.1"
		f.do(func(f *fakeCharon) { f.moveTo(1, "192.0.2.5") })
		got := eventsNow(c)
		f.do(func(f *fakeCharon) { f.moveTo(2, "192.0.2.5") })
		got = append(got, eventsNow(c)...)
		if len(got) == 0 || !slices.ContainsFunc(got, func(e Event) bool {
			m, is := e.(Moved)
			return is && m.From == key("192.0.2.1") && m.Peer.Equal(moved.Peer)
		}) || slices.ContainsFunc(got, func(e Event) bool { _, is := e.(Down); return is }) {
			t.Errorf("want that the peer moved and is not lost, have %+v", got)
		}
	})
}

// One of two routers behind a NAT moves away: the client at once reports the other one alone at the
// old address.
func TestOneOfTwoRoutersMovesAway(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", sharedTest, behindNAT("a", "4500")...)
			f.establish("cygnet-gre1", sharedTest, behindNAT("b", "4501")...)
		})
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.moveTo(1, "192.0.2.5") })
		var stayed *Peer
		for _, e := range eventsNow(c) {
			if up, is := e.(Up); is && up.NBMA == netip.MustParseAddr(sharedTest) {
				stayed = &up.Peer
			}
		}
		if stayed == nil || stayed.Identity != "b" || len(stayed.SharedWith) > 0 {
			t.Errorf("want b alone at the old address, have %+v", stayed)
		}
	})
}

// When this end's address changes, the client closes the SAs from the old address, and dials the
// peer from the new one.
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
			t.Errorf("want one SA from %s, have %+v", local, sas)
		}
	})
}

// Changes of this end's address that follow each other make no peer wait longer and longer.
func TestLocalAddressChangesOften(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		local := "192.0.2.100"
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				f.establish(name, "192.0.2.1", "local-host", local)
				return yes
			}
		})
		c.Want(key("192.0.2.1"), Initiate)
		after(c, time.Second)
		for i := range 10 {
			to := netip.AddrFrom4([4]byte{192, 0, 2, byte(101 + i)})
			f.do(func(*fakeCharon) { local = to.String() })
			p := testProfile()
			p.LocalAddrs = []netip.Addr{to}
			c.SetProfile(p)
			if events := after(c, time.Second); !slices.ContainsFunc(events, isUp) {
				t.Errorf("after change %d: want the peer up within a second, have %v", i+1, events)
			}
			after(c, 4*time.Second)
		}
	})
}

// An SA that ends while charon's answer still lists it is not in the table.
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
			t.Errorf("want a comparison and child 7, have %t and %v", listed, got)
		}
	})
}

// A child that comes while charon's answer without it is under way is in the table.
func TestChildDuringThePollForIt(t *testing.T) {
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
			t.Errorf("want two lists and no SA closed, commands %v", f.seen().order)
		}
	})
}

// The table leaves out a rekeyed child that a newer one has replaced, though charon lists it until
// both ends have agreed on its end. A rekeyed child without a newer one still protects traffic.
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

// childIDs returns the ids of all children in the table.
func childIDs(c *Client) (ids []uint32) {
	for _, sa := range c.SAs() {
		for _, child := range sa.Children {
			ids = append(ids, child.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
