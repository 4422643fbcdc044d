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

// behindNAT are the overrides for an SA that a router behind NAT dialled.
func behindNAT(identity, port string) []any {
	return []any{"remote-id", identity, "remote-port", port, "initiator", "no", "nat-remote", "yes"}
}

func upBehindNAT(identity string) Up {
	return Up{Peer{Interface: "gre1", NBMA: netip.MustParseAddr(sharedTest), Identity: identity,
		RemoteNAT: true}}
}

// separated has gre1's packets be given marks.
func separated(c *Client) {
	p := testProfile()
	p.Marks = true
	c.SetProfile(p)
	told(c)
}

// dialIn has a router behind the shared address dial in, by the connection that charon prefers; mu
// is held.
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

func marked(identity string, mark uint32) Peer {
	p := upBehindNAT(identity).Peer
	p.Mark = mark
	return p
}

// The second router behind an address is sent away once and comes back with a mark; the first keeps
// its SA all the time.
func TestSecondBehindOneAddressGetsAMark(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		a := upBehindNAT("a")
		wantEvents(t, "the first", told(c), a)
		if f.has(markedConn) {
			t.Error("one router alone needs no marks")
		}

		f.do(func(f *fakeCharon) { f.dialIn("b", "49183") })
		both := a
		both.SharedWith, both.Separating = []string{"b"}, true
		wantEvents(t, "the second", told(c), both, a)
		if got := f.seen(); !slices.Equal(got.sas, []uint32{1}) || !f.has(markedConn) {
			t.Errorf("SAs %v, connections %v", got.sas, got.conns)
		}

		f.do(func(f *fakeCharon) { f.dialIn("b", "49183"); f.dialIn("c", "1024") })
		wantEvents(t, "back", after(c, time.Minute), Up{marked("b", 3)}, Up{marked("c", 4)})
		if n := f.count("terminate"); n != 1 {
			t.Errorf("%d SAs closed, want one: %v", n, f.seen().order)
		}
	})
}

// Each SA with a mark is a peer of its own: closed and lost alone, and never dialled.
func TestPeerWithMark(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
		wantEvents(t, "up", told(c), Up{marked("a", 1)}, Up{marked("b", 2)})
		first := Key{Interface: "gre1", Mark: 1}
		c.Want(first, Initiate)
		c.Close(first)
		wantEvents(t, "one closed", after(c, time.Minute), Down{first, "closed by this end"})
		if got := f.seen(); !slices.Equal(got.sas, []uint32{2}) || len(got.at) != 0 {
			t.Errorf("SAs %v, %d initiations", got.sas, len(got.at))
		}
	})
}

// When the NAT gets another address, a peer with a mark stays the same peer.
func TestPeerWithMarkMoves(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		told(c)
		f.do(func(f *fakeCharon) {
			f.raise("ike-update", mk("remote-host", "192.0.2.5", "remote-port", "4501", markedConn,
				f.sas[1]))
		})
		moved := marked("a", 1)
		moved.NBMA = netip.MustParseAddr("192.0.2.5")
		wantEvents(t, "moved", told(c), Up{moved})
		if !f.has("cygnet-gre1-192.0.2.5-nat") {
			t.Error("whoever else is at the new address gets no mark")
		}
	})
}

// charon's restart forgets the connection: it is loaded again before the template, and when
// somebody unloads it.
func TestSharedAddressIsRemembered(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500"); f.dialIn("b", "49183") })
		told(c)
		f.crash()
		after(c, time.Second)
		before := len(f.seen().order)
		f.back()
		after(c, 10*time.Second)
		order := f.seen().order[before:]
		template, shared := slices.Index(order, "load-conn cygnet-gre1"),
			slices.Index(order, "load-conn "+markedConn)
		if shared < 0 || template < shared {
			t.Errorf("charon was told %v", order)
		}
		f.do(func(f *fakeCharon) {
			delete(f.conns, markedConn)
			f.dialIn("a", "4500")
			f.dialIn("b",
				"49183")
		})
		after(c, 11*time.Second)
		if !f.has(markedConn) {
			t.Error("not loaded again")
		}
	})
}

// A restart of the daemon takes over the connection and the SAs, and says of each what it is.
func TestSharedAddressIsAdopted(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			f.conns[markedConn] = mk()
			f.dialIn("a", "4500")
			f.dialIn("b",
				"49183")
		})
		p := testProfile()
		p.Marks = true
		c.SetProfile(p)
		wantEvents(t, "there", told(c), Connected{"5.9.8"},
			Snapshot{"gre1", []Peer{marked("a", 1), marked("b", 2)}})
		after(c, 10*time.Minute)
		if got := f.seen(); !f.has(markedConn) || len(got.sas) != 2 {
			t.Errorf("SAs %v, connections %v", got.sas, got.conns)
		}
	})
}

// The connection goes five minutes after the last SA with its address.
func TestVacantSharedAddress(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		after(c, time.Hour)
		f.do(func(f *fakeCharon) { f.end(1) })
		after(c, 4*time.Minute)
		if !f.has(markedConn) {
			t.Error("gone too early")
		}
		after(c, 2*time.Minute)
		if f.has(markedConn) {
			t.Error("still there")
		}
	})
}

// A charon that does not prefer the connection is not asked for ever: the routers keep what SAs
// they get.
func TestMarksThatAreNotTaken(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		for i := range 20 {
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", sharedTest, behindNAT("b", fmt.Sprint(49183+i))...)
			})
			after(c, 10*time.Second)
		}
		if n := f.count("terminate"); n > maxStrays+2 {
			t.Errorf("%d SAs closed", n)
		}
		f.do(func(f *fakeCharon) { f.end(1) })
		events := after(c, time.Second)
		if len(events) != 1 || events[0].(Up).Identity != "b" {
			t.Errorf("told %v", events)
		}
	})
}

// When packets cannot be given marks any more, whoever has one is sent away to come back without.
func TestMarksEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.conns[markedConn] = mk() })
		separated(c)
		f.do(func(f *fakeCharon) { f.dialIn("a", "4500") })
		told(c)
		c.SetProfile(testProfile())
		wantEvents(t, "sent away", told(c), Down{Key{Interface: "gre1", Mark: 1},
			"packets cannot be given its mark any more"})
		if f.has(markedConn) {
			t.Error("the connection is still loaded")
		}
	})
}

// An address that is given to another router within the time in which the first is found dead
// belongs to the newest identity at once.
func TestAddressGivenToSomebodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		separated(c)
		var dead uint32
		f.do(func(f *fakeCharon) {
			dead = f.establish("cygnet-gre1", sharedTest, "remote-id", "a", "initiator", "no")
		})
		told(c)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", sharedTest, "remote-id", "b", "initiator", "no")
		})
		b := upOf(sharedTest, false)
		b.Identity = "b"
		wantEvents(t, "given", told(c), b)
		f.do(func(f *fakeCharon) { f.end(dead) })
		wantEvents(t, "the dead one's SA ends", after(c, time.Minute))
		if f.has(markedConn) || f.count("terminate") > 0 {
			t.Errorf("did %v", f.seen().order)
		}
	})
}
