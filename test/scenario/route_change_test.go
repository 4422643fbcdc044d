//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/packet"
	"cygnet/test/lab"
)

// A shortcut ends when the routes beneath it change, at either end: when its route is deleted, when
// a longer route is added, and when the responder gets a route that its answer would hide. In the
// last case the responder tells the requester by a Purge (RFC 2332 §5.2.5). Each time the traffic
// goes through a hub, without a loss, until there is a shortcut that fits the present routes. Where
// no route leads to the network any more, no shortcut comes.
func TestRoutesUnderAShortcutChange(t *testing.T) {
	m := lab.NewMesh(t)
	one, two, other := m.Spoke1, m.Spoke2, m.FurtherHub(2)
	for _, s := range []*lab.Site{one, two} {
		useHubs(s, m.Hub, other)
	}
	const longer = "172.16.2.0/24 via 10.255.0.1"
	one.UseRoutes("172.16.0.0/16 via 10.255.0.2", longer)
	for _, s := range []*lab.Site{m.Hub, other, one, two} {
		s.Start()
	}
	for _, h := range []*lab.Site{m.Hub, other} {
		registeredWithHub(m, h, soon, one, two)
	}
	through := map[*lab.Site]*lab.Capture{
		m.Hub: m.Hub.Capture("gre1"),
		other: other.Capture("gre1"),
	}
	atOne := one.Capture("gre1")
	flow := one.Host.Flow(two.Host.Addr, 20*time.Millisecond)
	m.Await("a shortcut", soon, func() error { return shortcutTo(one, two, "172.16.2.0/24") })

	for _, tt := range []struct {
		what   string
		change func()
		by     *lab.Site // the hub that the traffic then goes through
		to     string    // the shortcut that follows
	}{
		{"its route is deleted", func() {
			one.IP("route del " + longer + " dev gre1 onlink")
		}, other, "172.16.2.0/24"},
		{"there is a longer route", func() {
			one.IP("route add 172.16.2.0/25 via 10.255.0.1 dev gre1 onlink")
		}, m.Hub, "172.16.2.0/25"},
		{"the responder has a longer route", func() {
			two.IP("route add 172.16.2.64/26 via 10.255.0.1 dev gre1 onlink")
		}, m.Hub, "172.16.2.0/26"},
	} {
		changed := time.Now()
		tt.change()
		m.Await(tt.what+": the traffic goes by "+tt.by.Name, soon, func() error {
			n := through[tt.by].Count(passing(one.Host.Addr, two.Host.Addr), by(one),
				lab.Since(changed))
			return lab.True(n > 0, "no packet came to it from spoke1")
		})
		m.Await(tt.what+": another shortcut", soon, func() error {
			return shortcutTo(one, two, tt.to)
		})
		t.Logf("%s: another shortcut after %s", tt.what,
			time.Since(changed).Round(time.Millisecond))
		flow.Back(time.Now(), soon)
		if sent, lost, longest := flow.Loss(changed); lost > 0 || sent == 0 {
			t.Errorf("%s: %d of %d packets were lost, for at most %s", tt.what, lost, sent, longest)
		}
	}
	two.IP("route del 172.16.2.0/24 dev lan0")
	m.Await("no shortcut to where nothing leads", soon, func() error {
		return lab.True(one.NextHop(two.Host.Addr) == m.Hub.Overlay,
			"spoke1 sends what is for spoke2's LAN via %s", one.NextHop(two.Host.Addr))
	})
	flow.Stop()
	// The first answer was for the whole LAN, although spoke1 could use it for only half of the
	// LAN.
	if got, want := takenBack(atOne, two),
		[]string{"172.16.2.0/24", "172.16.2.0/26"}; !slices.Equal(got, want) {
		t.Errorf("spoke2 took its answers for %v back; want %v", got, want)
	}
	alive(m)
	encrypted(m)
}

// shortcutTo returns nil when a site has a shortcut for exactly this prefix and no other, and
// reaches the peer's host through it.
func shortcutTo(s, peer *lab.Site, prefix string) error {
	var own []string
	for _, r := range s.Routes(peer.LAN.String()) {
		if r.Gateway == peer.Overlay && r.Protocol == ownProtocol {
			own = append(own, r.Dst)
		}
	}
	if !slices.Equal(own, []string{prefix}) {
		return fmt.Errorf("the daemon's routes on %s to the LAN of %s are %v", s.Name, peer.Name,
			own)
	}
	return up(s, peer)
}

// takenBack returns the prefixes for which a router took its answers back, in order, each once.
func takenBack(at *lab.Capture, by *lab.Site) []string {
	var list []string
	for _, p := range at.NHRP(packet.PurgeRequest) {
		if p.Sent || p.Link != by.Public {
			continue
		}
		for _, c := range p.CIEs {
			if prefix, ok := c.PrefixOf(c.Protocol); ok && !slices.Contains(list, prefix.String()) {
				list = append(list, prefix.String())
			}
		}
	}
	return list
}
