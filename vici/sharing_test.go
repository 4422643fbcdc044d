package vici

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

const (
	sharedTest = "192.0.2.1"
	markedConn = "cygnet-gre1-192.0.2.1-nat"
)

// behindNAT returns the overrides for an SA that a router behind NAT dialled.
func behindNAT(identity, port string) []any {
	return []any{"remote-id", identity, "remote-port", port, "initiator", "no", "nat-remote", "yes"}
}

// upBehindNAT returns the event for an SA without a mark that a router behind the NAT dialled.
func upBehindNAT(identity string) Up {
	return Up{Peer{Interface: "gre1", NBMA: netip.MustParseAddr(sharedTest), Identity: identity,
		RemoteNAT: true}}
}

// giveMarks sets a profile by which gre1's packets get marks.
func giveMarks(c *Client) {
	p := testProfile()
	p.Marks = true
	c.SetProfile(p)
	eventsNow(c)
}

// dialIn makes a router behind the shared address dial in, by the connection that charon prefers.
// The caller holds mu.
func (f *fakeCharon) dialIn(identity, port string) uint32 {
	overrides := behindNAT(identity, port)
	if f.conns[markedConn] == nil {
		return f.establish("cygnet-gre1", sharedTest, overrides...)
	}
	id := f.lastID + 1
	child := f.child(id, "TRANSPORT")
	child.set("mark-in", fmt.Sprintf("%08x", id))
	child.set("mark-out", fmt.Sprintf("%08x", id))
	return f.establish(markedConn, sharedTest,
		append(overrides, "child-sas", mk(fmt.Sprintf("gre-%d", id), child))...)
}

// marked returns a router behind the NAT whose SA has a mark.
func marked(identity string, mark uint32) Peer {
	p := upBehindNAT(identity).Peer
	p.Mark = mark
	return p
}

// The client closes the SA of the second router behind an address once, and the router comes back
// with a mark. The first router keeps its SA all the time.
func TestSecondBehindOneAddressGetsAMark(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		a := upBehindNAT("a")
		wantEvents(t, "the first", eventsNow(c), a)
		if f.has(markedConn) {
			t.Error("want no connection with marks for one router alone")
		}

		f.do(func(f *fakeCharon) { f.dialIn("b", "49183") })
		both := a
		both.SharedWith, both.Separating = []string{"b"}, true
		wantEvents(t, "the second", eventsNow(c), both, a)
		if got := f.seen(); !slices.Equal(got.sas, []uint32{1}) || !f.has(markedConn) {
			t.Errorf("want SA 1 left and the connection with marks, have SAs %v, connections %v",
				got.sas, got.conns)
		}

		f.do(func(f *fakeCharon) { f.dialIn("b", "49183"); f.dialIn("c", "1024") })
		wantEvents(t, "back", after(c, time.Minute), Up{marked("b", 3)}, Up{marked("c", 4)})
		if n := f.count("terminate"); n != 1 {
			t.Errorf("want one SA closed, have %d, commands %v", n, f.seen().order)
		}
	})
}

// Each SA with a mark is a peer of its own. The client closes and reports it alone, and never dials
// it.
func TestPeerWithMark(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
		wantEvents(t, "up", eventsNow(c), Up{marked("a", 1)}, Up{marked("b", 2)})
		first := Key{Interface: "gre1", Mark: 1}
		c.Want(first, Initiate)
		c.Close(first)
		wantEvents(t, "one closed", after(c, time.Minute), Down{first, "closed by this end"})
		if got := f.seen(); !slices.Equal(got.sas, []uint32{2}) || len(got.at) != 0 {
			t.Errorf("want SA 2 left and no initiation, have SAs %v, %d initiations", got.sas,
				len(got.at))
		}
	})
}

// When the NAT gets another address, a peer with a mark stays the same peer.
func TestPeerWithMarkMoves(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.raise("ike-update", mk("remote-host", "192.0.2.5", "remote-port", "4501", markedConn,
				f.sas[1]))
		})
		moved := marked("a", 1)
		moved.NBMA = netip.MustParseAddr("192.0.2.5")
		wantEvents(t, "moved", eventsNow(c), Up{moved})
		if !f.has("cygnet-gre1-192.0.2.5-nat") {
			t.Error("want the connection with marks for the new address, too")
		}
	})
}

// The client loads the connection for a shared address again when charon has restarted, before the
// template, and when somebody has unloaded it.
func TestSharedAddressIsRemembered(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
		eventsNow(c)
		f.crash()
		after(c, time.Second)
		before := len(f.seen().order)
		f.comeBack()
		after(c, 10*time.Second)
		order := f.seen().order[before:]
		template, shared := slices.Index(order, "load-conn cygnet-gre1"),
			slices.Index(order, "load-conn "+markedConn)
		if shared < 0 || template < shared {
			t.Errorf("want the connection with marks loaded before the template, commands %v",
				order)
		}
		f.do(func(f *fakeCharon) {
			delete(f.conns, markedConn)
			f.dialIn("a", "4500")
			f.dialIn("b", "49183")
		})
		after(c, 11*time.Second)
		if !f.has(markedConn) {
			t.Error("want the connection with marks loaded again")
		}
	})
}

// After a restart of the daemon the client takes over the connection for a shared address and the
// SAs, and reports each as what it is.
func TestSharedAddressIsAdopted(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			f.conns[markedConn] = mk()
			f.dialIn("a", "4500")
			f.dialIn("b", "49183")
		})
		p := testProfile()
		p.Marks = true
		c.SetProfile(p)
		wantEvents(t, "there", eventsNow(c), Connected{"5.9.8"},
			Snapshot{Interface: "gre1", Peers: []Peer{marked("a", 1), marked("b", 2)}})
		after(c, 10*time.Minute)
		if got := f.seen(); !f.has(markedConn) || len(got.sas) != 2 {
			t.Errorf("want two SAs and the connection with marks, have SAs %v, connections %v",
				got.sas, got.conns)
		}
	})
}

// The client unloads the connection for a shared address five minutes after the last SA there.
func TestVacantSharedAddress(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		after(c, time.Hour)
		f.do(func(f *fakeCharon) { f.end(1) })
		after(c, 4*time.Minute)
		if !f.has(markedConn) {
			t.Error("want the connection with marks four minutes after the last SA")
		}
		after(c, 2*time.Minute)
		if f.has(markedConn) {
			t.Error("want the connection unloaded six minutes after the last SA")
		}
	})
}

// If charon does not prefer the connection with marks, the client gives up after some attempts, and
// the routers keep the SAs that they get.
func TestMarksThatAreNotTaken(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		for i := range 20 {
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", sharedTest, behindNAT("b", fmt.Sprint(49183+i))...)
			})
			after(c, 10*time.Second)
		}
		if n := f.count("terminate"); n > maxStrays+2 {
			t.Errorf("want at most %d SAs closed, have %d", maxStrays+2, n)
		}
		f.do(func(f *fakeCharon) { f.end(1) })
		events := after(c, time.Second)
		if len(events) != 1 || events[0].(Up).Identity != "b" {
			t.Errorf("want router b up, have %v", events)
		}
	})
}

// When packets cannot be given marks any more, the client closes the SAs with marks, so that their
// routers come back without one.
func TestMarksEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		giveMarks(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		eventsNow(c)
		c.SetProfile(testProfile())
		wantEvents(t, "without marks", eventsNow(c), Down{Key{Interface: "gre1", Mark: 1},
			"packets cannot be given its mark any more"})
		if f.has(markedConn) {
			t.Error("want the connection with marks unloaded")
		}
	})
}

// If another router gets an address before the SA of its former router has ended, the address
// belongs to the newest identity at once.
func TestAddressOfAnotherRouter(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		giveMarks(c)
		var dead uint32
		f.do(func(f *fakeCharon) {
			dead = f.establish("cygnet-gre1", sharedTest, "remote-id", "a", "initiator", "no")
		})
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", sharedTest, "remote-id", "b", "initiator", "no")
		})
		b := upOf(sharedTest, false)
		b.Identity = "b"
		wantEvents(t, "the other router", eventsNow(c), b)
		f.do(func(f *fakeCharon) { f.end(dead) })
		wantEvents(t, "the former router's SA ends", after(c, time.Minute))
		if f.has(markedConn) || f.count("terminate") > 0 {
			t.Errorf("want no marks and no SA closed, commands %v", f.seen().order)
		}
	})
}
