package vici

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/vici/profile"
)

// siteProfile is the profile of gre1 made like a connection of the site, dmvpn.
func siteProfile() profile.Profile {
	return profile.Profile{
		Interface:  "gre1",
		LocalAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")},
		Site: &profile.Site{
			Name: "dmvpn",
			Connection: map[string]any{
				"version": "0", "remote_addrs": []string{"192.0.2.0/24"},
				"local_addrs": []string{"%any"}, "dpd_delay": "7s", "over_time": "10%",
				"local": map[string]any{"auth": "pubkey",
					"certs": []string{"\x30\x03\x00\xff\x80"}},
				"remote": map[string]any{"auth": "pubkey", "id": "%any"},
			},
			Child: map[string]any{"mode": "transport", "local_ts": []string{"dynamic[gre]"},
				"remote_ts": []string{"dynamic[gre]"}, "start_action": "clear",
				"hw_offload": "auto"},
		},
	}
}

// The client treats an SA by the site's own connection as one of the interface: it reports the SA,
// and does not dial beside it.
func TestSAsOfTheSitesConnection(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.SetProfile(siteProfile())
		after(c, time.Minute)
		eventsNow(c)
		var id uint32
		f.do(func(f *fakeCharon) { id = f.establish("dmvpn", "192.0.2.1", "initiator", "no") })
		wantEvents(t, "up", eventsNow(c), upOf("192.0.2.1", false))
		c.Want(key("192.0.2.1"), Initiate)
		after(c, 2*time.Minute)
		if f.count("initiate") != 0 || len(c.SAs()) != 1 || c.SAs()[0].Connection != "dmvpn" {
			t.Errorf("want no initiation and one SA by dmvpn, have %d, %+v", f.count("initiate"),
				c.SAs())
		}
		f.do(func(f *fakeCharon) { f.establish("another", "192.0.2.2", "initiator", "no") })
		wantEvents(t, "somebody else's", eventsNow(c))
		f.do(func(f *fakeCharon) { f.conns["dmvpn"] = mk() })
		c.Close(key("192.0.2.1"))
		wantEvents(t, "closed", eventsNow(c), Down{key("192.0.2.1"), "closed by this end"})
		after(c, 2*time.Minute)
		if !f.has("dmvpn") || slices.Contains(f.seen().sas, id) {
			t.Error("want the site's connection left and its SA closed")
		}
	})
}

// When the profile of a site's connection is removed, its SAs end, and the client notices their end
// although no profile names the connection any more.
func TestRemovingASite(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		c.SetProfile(siteProfile())
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("dmvpn", "192.0.2.1", "initiator", "no") })
		wantEvents(t, "up", eventsNow(c), upOf("192.0.2.1", false))
		c.RemoveProfile("gre1")
		wantEvents(t, "removed", eventsNow(c))
		if left := f.seen().sas; len(left) != 0 || len(c.SAs()) != 0 {
			t.Errorf("charon has SAs %v, the table %+v: want none", left, c.SAs())
		}
		f.do(func(f *fakeCharon) { f.establish("dmvpn", "192.0.2.1", "initiator", "no") })
		wantEvents(t, "the site's own", eventsNow(c))
		if left := f.seen().sas; len(left) != 1 {
			t.Errorf("want the site's SA left, have %v", left)
		}
	})
}

// The client takes over SAs that were up by the site's connection before its profile came: they are
// in the profile's first snapshot, and the client does not dial beside them.
func TestTakingOverASite(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
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
			t.Errorf("want a snapshot with 192.0.2.1, have %+v", got)
		}
		wantEvents(t, "and then", after(c, time.Minute))
		if n := f.count("initiate"); n != 0 {
			t.Errorf("want no initiation, have %d", n)
		}
	})
}
