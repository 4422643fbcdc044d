package vici

import (
	"testing"
	"time"
)

// The status shows a connection of somebody else's that gives dialling peers SAs in tunnel mode,
// which they close at once, and the last of these peers. It does not show a connection that carries
// other traffic, is in use, dials itself or is at another address.
func TestRivals(t *testing.T) {
	for name, c := range map[string]struct {
		selector, mode string
		overrides      []any
		lasts          time.Duration // of each SA
		times          int
		want           bool
	}{
		"takes peers":          {"192.0.2.100/32[gre]", "TUNNEL", nil, 0, 2, true},
		"took one once":        {"192.0.2.100/32[gre]", "TUNNEL", nil, 0, 1, false},
		"is for road warriors": {"0.0.0.0/0", "TUNNEL", nil, 0, 3, false},
		"is in use":            {"192.0.2.100/32[gre]", "TUNNEL", nil, time.Minute, 3, false},
		"is in transport mode": {"192.0.2.100/32[gre]", "TRANSPORT", nil, 0, 3, false},
		"dials": {"192.0.2.100/32[gre]", "TUNNEL", []any{"initiator", "yes"}, 0, 3,
			false},
		"is at another address": {"192.0.2.100/32[gre]", "TUNNEL",
			[]any{"local-host", "192.0.2.200"}, 0, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, client *Client) {
				eventsNow(client)
				for range c.times {
					var id uint32
					f.do(func(f *fakeCharon) {
						child := f.child(f.lastID+1, c.mode)
						child.set("local-ts", []string{c.selector})
						child.set("remote-ts", []string{"192.0.2.11/32[gre]"})
						id = f.establish("rw", "192.0.2.11",
							append([]any{"initiator", "no", "child-sas", mk("net-1", child)},
								c.overrides...)...)
					})
					after(client, c.lasts)
					f.do(func(f *fakeCharon) { f.end(id) })
					eventsNow(client)
				}
				rivals := client.Status().Rivals
				if c.want != (len(rivals) == 1) {
					t.Fatalf("want a rival: %v, have %+v", c.want, rivals)
				}
				if !c.want {
					return
				}
				if v := rivals[0]; v.Interface != "gre1" || v.Connection != "rw" ||
					v.Peer.String() != "192.0.2.11" || v.Identity != "id-192.0.2.11" {
					t.Errorf("want rw, the rival of gre1 for id-192.0.2.11, have %+v", v)
				}
				if sas := client.SAs(); len(sas) != 0 {
					t.Errorf("want no SA of a rival in the table, have %+v", sas)
				}
				changed := testProfile()
				changed.RemoteIdentity = "*.example.net"
				client.SetProfile(changed)
				eventsNow(client)
				if rivals := client.Status().Rivals; len(rivals) != 0 {
					t.Errorf("want no rival after the profile changed, have %+v", rivals)
				}
			})
		})
	}
}
