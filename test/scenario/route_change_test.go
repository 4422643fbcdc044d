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

// The routes beneath a shortcut change, at either end. The shortcut stays when its route is deleted
// and the next one leads by another hub, which is asked at once. It ends when a longer route is
// added, and when the responder gets a route that its answer would hide; then the responder tells
// the requester by a Purge (RFC 2332 §5.2.5). The traffic goes through a hub, without a loss, until
// there is a shortcut that fits the present routes. A shortcut without any route beneath it ends.
// Where no route leads to the network any more, no shortcut comes.
func TestRoutesUnderAShortcutChange(t *testing.T) {
	m := lab.NewMesh(t)
	// A daemon that stands still for longer than a third of the usual 3 s must not fail the proof
	// of a path.
	m.Add(`path_timeout = "15s"`)
	one, two, other := m.Spoke1, m.Spoke2, m.FurtherHub(2)
	for _, s := range []*lab.Site{one, two} {
		useHubs(s, m.Hub, other)
	}
	const sites, its = "172.16.0.0/16 via 10.255.0.2", "172.16.2.0/24 via 10.255.0.1"
	// With the metric that FRR gives its routes: the shortcut has a route to that prefix, too.
	const longer = "172.16.2.0/25 via 10.255.0.1 metric 20"
	one.UseRoutes(sites, its)
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
	m.Await("a shortcut beside a route to the very prefix", soon, func() error {
		return shortcutTo(one, two, "172.16.2.0/25", "172.16.2.128/25")
	})

	// detours counts the packets from spoke1's LAN to that of spoke2 that came to a hub since.
	detours := func(hub *lab.Site, since time.Time) int {
		return through[hub].Count(passing(one.Host.Addr, two.Host.Addr), by(one), lab.Since(since))
	}
	intact := func(what string, since time.Time) {
		t.Helper()
		flow.Back(time.Now(), soon)
		if sent, lost, longest := flow.Loss(since); lost > 0 || sent == 0 {
			t.Errorf("%s: %d of %d packets were lost, for at most %s", what, lost, sent, longest)
		}
	}
	flow.Back(time.Now(), soon) // no packet is still on its way to a hub
	deleted := time.Now()
	one.IP("route del " + its + " dev gre1 onlink")
	m.Await("its route is deleted: hub2 is asked, and the answer comes", soon, func() error {
		asked := requests(through[other], one, deleted)
		return lab.True(answered(atOne, two, asked), "hub2 got %d requests", len(asked))
	})
	if err := shortcutTo(one, two, "172.16.2.0/25", "172.16.2.128/25"); err != nil {
		t.Errorf("its route is deleted: %v", err)
	}
	intact("its route is deleted", deleted)
	for _, hub := range []*lab.Site{m.Hub, other} {
		if n := detours(hub, deleted); n > 0 {
			t.Errorf("its route is deleted: %d packets went by %s", n, hub.Name)
		}
	}

	for _, tt := range []struct {
		what   string
		change func()
		to     []string // the routes of the shortcut that follows
	}{
		{"there is a longer route", func() {
			one.IP("route add " + longer + " dev gre1 onlink")
		}, []string{"172.16.2.0/26", "172.16.2.64/26"}},
		{"the responder has a longer route", func() {
			two.IP("route add 172.16.2.64/26 via 10.255.0.1 dev gre1 onlink")
		}, []string{"172.16.2.0/26"}},
	} {
		changed := time.Now()
		tt.change()
		m.Await(tt.what+": the traffic goes by the hub", soon, func() error {
			return lab.True(detours(m.Hub, changed) > 0, "no packet came to it from spoke1")
		})
		m.Await(tt.what+": another shortcut", soon, func() error {
			return shortcutTo(one, two, tt.to...)
		})
		t.Logf("%s: another shortcut after %s", tt.what,
			time.Since(changed).Round(time.Millisecond))
		intact(tt.what, changed)
	}

	one.IP("route del "+longer+" dev gre1 onlink", "route del "+sites+" dev gre1 onlink")
	m.Await("no shortcut without a route beneath it", soon, func() error {
		hop := one.NextHop(two.Host.Addr)
		return lab.True(hop != two.Overlay, "spoke1 sends what is for spoke2's LAN via %s", hop)
	})
	one.IP("route add "+longer+" dev gre1 onlink", "route add "+sites+" dev gre1 onlink")
	m.Await("a shortcut again", soon, func() error {
		return shortcutTo(one, two, "172.16.2.0/26")
	})
	two.IP("route del 172.16.2.0/24 dev lan0")
	m.Await("no shortcut to where nothing leads", soon, func() error {
		return lab.True(one.NextHop(two.Host.Addr) == m.Hub.Overlay,
			"spoke1 sends what is for spoke2's LAN via %s", one.NextHop(two.Host.Addr))
	})
	flow.Stop()
	// The first answer was for the whole LAN, although spoke1 could use it for only half of the
	// LAN.
	m.Await("spoke2 has taken its answers back", soon, func() error {
		got, want := takenBack(atOne, two), []string{"172.16.2.0/24", "172.16.2.0/26"}
		return lab.True(slices.Equal(got, want), "it took back %v, want %v", got, want)
	})
	alive(m)
	encrypted(m)
}

// shortcutTo returns nil when the routes of a site's shortcuts are exactly these, and the site
// reaches the peer's host through them.
func shortcutTo(s, peer *lab.Site, routes ...string) error {
	var own []string
	for _, r := range s.Routes(peer.LAN.String()) {
		if r.Gateway == peer.Overlay && r.Protocol == ownProtocol {
			own = append(own, r.Dst)
		}
	}
	if !slices.Equal(own, routes) {
		return fmt.Errorf("the daemon's routes on %s to the LAN of %s are %v", s.Name, peer.Name,
			own)
	}
	return up(s, peer)
}

// requests returns the IDs of the Resolution Requests that came from a router since a time.
func requests(at *lab.Capture, from *lab.Site, since time.Time) []uint32 {
	var ids []uint32
	for _, p := range at.NHRP(packet.ResolutionRequest) {
		if !p.Sent && p.Link == from.Public && !p.At.Before(since) {
			ids = append(ids, p.RequestID)
		}
	}
	return ids
}

// answered reports whether a router's reply to one of these Resolution Requests has come.
func answered(at *lab.Capture, by *lab.Site, requests []uint32) bool {
	return slices.ContainsFunc(at.NHRP(packet.ResolutionReply), func(p lab.NHRP) bool {
		return !p.Sent && p.Link == by.Public && slices.Contains(requests, p.RequestID)
	})
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
