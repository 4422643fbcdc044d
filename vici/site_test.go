package vici

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func siteProfile() Profile {
	return Profile{
		Interface:  "gre1",
		LocalAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")},
		Site: &Site{
			Name: "dmvpn",
			Connection: map[string]any{
				"version": "0", "remote_addrs": []string{"192.0.2.0/24"}, "local_addrs": []string{"%any"}, "dpd_delay": "7s", "over_time": "10%",
				"local":  map[string]any{"auth": "pubkey", "certs": []string{"\x30\x03\x00\xff\x80"}},
				"remote": map[string]any{"auth": "pubkey", "id": "%any"},
			},
			Child: map[string]any{"mode": "transport", "local_ts": []string{"dynamic[gre]"}, "remote_ts": []string{"dynamic[gre]"}, "start_action": "clear", "hw_offload": "auto"},
		},
	}
}

// What charon gets is the site's connection, for any peer or for one, with what the daemon decides instead, and as its own profile has it
// what the site leaves open.
func TestConnectionsLikeTheSites(t *testing.T) {
	for _, c := range []struct {
		peer    netip.Addr
		remotes []string
	}{
		{netip.Addr{}, []string{"192.0.2.0/24"}},
		{netip.MustParseAddr("192.0.2.7"), []string{"192.0.2.7"}},
	} {
		m, err := siteProfile().connection(c.peer, false)
		if err != nil {
			t.Fatal(err)
		}
		want, err := message(map[string]any{connName("gre1", c.peer): map[string]any{
			"version": "2", "remote_addrs": c.remotes, "local_addrs": []string{"192.0.2.100"}, "dpd_delay": "7s", "over_time": "10%",
			"mobike": "no", "unique": "never", "keyingtries": "1", "childless": "never",
			"local":  map[string]any{"auth": "pubkey", "certs": []string{"\x30\x03\x00\xff\x80"}},
			"remote": map[string]any{"auth": "pubkey", "id": "%any"},
			"children": map[string]any{"gre": map[string]any{"mode": "transport", "local_ts": []string{"dynamic[gre]"}, "remote_ts": []string{"dynamic[gre]"},
				"start_action": "none", "close_action": "none", "dpd_action": "clear", "hw_offload": "auto", "priority": 1000}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), m.String()); diff != "" {
			t.Errorf("for %v: want (-), got (+):\n%s", c.peer, diff)
		}
	}
}

// For routers behind one NAT address the site's child gets marks, and is left as it is.
func TestMarksOnTheSitesChild(t *testing.T) {
	p := siteProfile()
	m, err := p.connection(netip.MustParseAddr("192.0.2.7"), true)
	if err != nil {
		t.Fatal(err)
	}
	conn, _ := section(m, sharedName("gre1", netip.MustParseAddr("192.0.2.7")))
	children, _ := section(conn, "children")
	if gre, ok := section(children, "gre"); !ok || text(gre, "mark_out") != "%unique" || text(gre, "hw_offload") != "auto" {
		t.Errorf("the connection is %v", m)
	}
	if _, marked := p.Site.Child["mark_out"]; marked {
		t.Error("the site's child itself was changed")
	}
}

// An SA that comes up by the site's own connection is the interface's: told, counted, rekeyed, and nothing is dialled beside it.
func TestSAsOfTheSitesConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.SetProfile(siteProfile())
		after(c, time.Minute)
		told(c)
		var id uint32
		f.do(func(f *fakeCharon) { id = f.establish("dmvpn", "192.0.2.1", "initiator", "no") })
		wantEvents(t, "up", told(c), upOf("192.0.2.1", false))
		c.Want(key("192.0.2.1"), Initiate)
		after(c, 2*time.Minute)
		if f.count("initiate") != 0 || len(c.SAs()) != 1 || c.SAs()[0].Connection != "dmvpn" {
			t.Errorf("%d initiations, SAs %+v", f.count("initiate"), c.SAs())
		}
		f.do(func(f *fakeCharon) { f.establish("another", "192.0.2.2", "initiator", "no") })
		wantEvents(t, "somebody else's", told(c))
		f.do(func(f *fakeCharon) { f.conns["dmvpn"] = mk() })
		c.Close(key("192.0.2.1"))
		wantEvents(t, "closed", told(c), Down{key("192.0.2.1"), "closed by this end"})
		after(c, 2*time.Minute)
		if !f.has("dmvpn") || slices.Contains(f.seen().sas, id) {
			t.Error("the site's connection must stay, the SA must go")
		}
	})
}

// SAs that were up by the site's connection before its profile came are taken over: they are in the profile's first snapshot, and nothing
// is dialled beside them.
func TestTakingOverASite(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		c.RemoveProfile("gre1")
		f.do(func(f *fakeCharon) { f.establish("dmvpn", "192.0.2.1", "initiator", "no") })
		wantEvents(t, "before", after(c, time.Minute))

		c.Want(key("192.0.2.1"), Initiate)
		c.SetProfile(siteProfile())
		got := after(c, time.Second)
		if !slices.ContainsFunc(got, func(e Event) bool {
			s, ok := e.(Snapshot)
			return ok && len(s.Peers) == 1 && s.Peers[0].NBMA == key("192.0.2.1").NBMA
		}) {
			t.Errorf("told: %+v", got)
		}
		wantEvents(t, "and then", after(c, time.Minute))
		if n := f.count("initiate"); n != 0 {
			t.Errorf("%d initiations", n)
		}
	})
}
