package profile

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/vici/message"
)

func siteProfile() Profile {
	return Profile{
		Interface:  "gre1",
		LocalAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")},
		Site: &Site{
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

// What charon gets is the site's connection, for any peer or for one, with what the daemon decides
// instead, and as its own profile has it what the site leaves open.
func TestConnectionsLikeTheSites(t *testing.T) {
	for _, c := range []struct {
		peer    netip.Addr
		remotes []string
	}{
		{netip.Addr{}, []string{"192.0.2.0/24"}},
		{netip.MustParseAddr("192.0.2.7"), []string{"192.0.2.7"}},
	} {
		m, err := siteProfile().NewConnection(c.peer, false)
		if err != nil {
			t.Fatal(err)
		}
		want, err := message.New(map[string]any{ConnectionName("gre1", c.peer): map[string]any{
			"version": "2", "remote_addrs": c.remotes, "local_addrs": []string{"192.0.2.100"},
			"dpd_delay": "7s", "over_time": "10%",
			"mobike": "no", "unique": "never", "keyingtries": "1", "childless": "never",
			"local":  map[string]any{"auth": "pubkey", "certs": []string{"\x30\x03\x00\xff\x80"}},
			"remote": map[string]any{"auth": "pubkey", "id": "%any"},
			"children": map[string]any{"gre": map[string]any{"mode": "transport",
				"local_ts": []string{"dynamic[gre]"}, "remote_ts": []string{"dynamic[gre]"},
				"start_action": "none", "close_action": "none", "dpd_action": "clear",
				"hw_offload": "auto", "priority": 1000}},
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
	m, err := p.NewConnection(netip.MustParseAddr("192.0.2.7"), true)
	if err != nil {
		t.Fatal(err)
	}
	conn, _ := message.Section(m, SharedName("gre1", netip.MustParseAddr("192.0.2.7")))
	children, _ := message.Section(conn, "children")
	if gre, ok := message.Section(children, "gre"); !ok ||
		message.Text(gre, "mark_out") != "%unique" || message.Text(gre, "hw_offload") != "auto" {
		t.Errorf("the connection is %v", m)
	}
	if _, marked := p.Site.Child["mark_out"]; marked {
		t.Error("the site's child itself was changed")
	}
}
