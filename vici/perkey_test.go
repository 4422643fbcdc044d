package vici

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/vici/profile"
)

// perKey returns the profile of gre1 or gre2, which send from one address and have SAs for one GRE
// key each.
func perKey(iface, other string, keyPort, otherPort uint16) profile.Profile {
	p := testProfile()
	p.Interface, p.KeyPort = iface, keyPort
	p.Beside = []profile.Keyed{{Interface: other, KeyPort: otherPort}}
	return p
}

// childFor returns the children of an SA, in charon's words: one for a key.
func childFor(f *fakeCharon, iface, keyPort string) *tree {
	child := f.child(f.lastID+1, "TRANSPORT")
	child.set("name", "gre-"+iface)
	child.set("local-ts", []string{"192.0.2.100/32[gre/" + keyPort + "]"})
	child.set("remote-ts", []string{"192.0.2.1/32[gre/" + keyPort + "]"})
	return mk("gre-"+iface+"-1", child)
}

// charon takes the connection of any interface for a router that dials in. The SA is of the
// interface that its child names, in events as in lists after a restart. Its end is that of no
// other interface's.
func TestSAsPerKey(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.SetProfile(perKey("gre1", "gre2", 42, 43))
		after(c, time.Minute)
		var first, second uint32
		f.do(func(f *fakeCharon) {
			first = f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no",
				"child-sas", childFor(f, "gre1", "42"))
		})
		wantEvents(t, "the first overlay", eventsNow(c), upOf("192.0.2.1", false))
		f.do(func(f *fakeCharon) {
			second = f.establish("cygnet-gre1", "192.0.2.1", "initiator", "no",
				"child-sas", childFor(f, "gre2", "43"))
		})
		wantEvents(t, "an interface that is not there yet", after(c, 2*time.Minute))
		if left := f.seen().sas; !slices.Equal(left, []uint32{first, second}) {
			t.Fatalf("charon has the SAs %v, want both", left)
		}

		up := upOf("192.0.2.1", false)
		up.Interface = "gre2"
		c.SetProfile(perKey("gre2", "gre1", 43, 42))
		wantEvents(t, "it comes", eventsNow(c), Snapshot{Interface: "gre2", Peers: []Peer{up.Peer}})
		f.crash()
		eventsNow(c)
		f.comeBack()
		wantEvents(t, "charon is back", after(c, time.Minute), Connected{Version: f.version},
			Snapshot{Interface: "gre1", Peers: []Peer{}},
			Snapshot{Interface: "gre2", Peers: []Peer{}})
	})
}

// A peer that is dialled for one interface gets its own IKE_SA and child, also while it has one for
// another, and closing one leaves the other alone.
func TestDiallingPerKey(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.onInitiate = func(f *fakeCharon, name string) *tree {
			iface, addr, _ := profile.ParseName(name)
			port := map[string]string{"gre1": "42", "gre2": "43"}[iface]
			f.establish(name, addr.String(), "child-sas", childFor(f, iface, port))
			return yes
		}
		c.SetProfile(perKey("gre1", "gre2", 42, 43))
		c.SetProfile(perKey("gre2", "gre1", 43, 42))
		both := []Key{key("192.0.2.1"), {Interface: "gre2", NBMA: netip.MustParseAddr("192.0.2.1")}}
		for _, k := range both {
			c.Want(k, InitiateFirst)
		}
		after(c, time.Minute)
		var of []string
		for _, sa := range c.SAs() {
			of = append(of, sa.Interface+" by "+sa.Connection)
		}
		want := []string{"gre1 by cygnet-gre1-192.0.2.1", "gre2 by cygnet-gre2-192.0.2.1"}
		if !slices.Equal(of, want) {
			t.Fatalf("the SAs are %q, want %q", of, want)
		}
		// the peer dials, too, and charon takes the connection of gre1 for gre2
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1-192.0.2.1", "192.0.2.1", "initiator", "no",
				"child-sas", childFor(f, "gre2", "43"))
		})
		eventsNow(c)
		c.Want(both[0], None)
		c.Close(both[0])
		wantEvents(t, "closed", eventsNow(c), Down{both[0], "closed by this end"})
		for _, sa := range c.SAs() {
			if sa.Interface != "gre2" {
				t.Errorf("an SA of %s is left", sa.Interface)
			}
		}
		if len(c.SAs()) != 2 || len(f.seen().sas) != 2 {
			t.Errorf("the SAs of gre2 are %+v, charon's are %v", c.SAs(), f.seen().sas)
		}
	})
}
