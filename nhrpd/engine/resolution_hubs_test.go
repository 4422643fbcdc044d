package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// twoHubs are a mesh in which both spokes are registered with the hub and with a second one.
func twoHubs(t *testing.T) (m mesh, second *node) {
	t.Helper()
	m = newMesh(t)
	cfg := hubConfig()
	cfg.Address = mustPrefix("10.255.0.2/24")
	second = m.add("hub2", cfg, "192.0.2.2", "")
	second.addRoutes(viaTunnel(lan2, "10.255.0.12"), viaTunnel("172.16.1.0/24", "10.255.0.11"))
	for _, s := range []*node{m.spoke1, m.spoke2} {
		s.configure(func(c *overlay.InterfaceConfig) {
			c.NHS = append(slices.Clone(c.NHS), overlay.NHSConfig{Name: "192.0.2.2"})
		})
	}
	m.until("both spokes are registered with both", 5*time.Second, func() bool {
		return m.hasSA(m.spoke1, second) && m.hasSA(m.spoke2, second) &&
			len(second.status().Bindings) == 2
	})
	return m, second
}

// leadTo has the first spoke's route to all LANs lead to another next hop, as a routing protocol
// does when a hub dies.
func (m *mesh) leadTo(before, now string) {
	old, route := viaTunnel(allLANs, before), viaTunnel(allLANs, now)
	m.spoke1.routes = append(slices.DeleteFunc(m.spoke1.routes,
		func(r event.Route) bool { return r == old }), route)
	m.spoke1.handle(event.RoutesChanged{
		Table: testTable, Removed: []event.Route{old}, Added: []event.Route{route},
	})
}

// asksAbout counts the questions about an address that came to a hub from spoke1.
func asksAbout(n *node, before int) (count int) {
	for _, p := range n.sentSince(before) {
		if p.Type == packet.ResolutionRequest && p.DestProtocol == addr(host2) {
			count++
		}
	}
	return count
}

// A shortcut survives the death of the hub beneath it: the route leads by the other hub, and the
// spoke asks that one at once whether the shortcut still holds.
func TestShortcutSurvivesItsHub(t *testing.T) {
	m, _ := twoHubs(t)
	m.makeShortcut()
	before := len(m.spoke1.sent)
	m.leadTo(hubOverlay, "10.255.0.2")
	m.neverByHub(time.Second)
	if n := asksAbout(m.spoke1, before); n != 1 {
		t.Errorf("asked %d times, want once\n%s", n, m)
	}
	if m.spoke1.has(output.NoticeShortcutDown) != 0 || len(m.spoke1.shortcuts) != 1 {
		t.Errorf("the shortcut ended\n%s", m)
	}
}

// If the other hub says that the network is behind another router, the shortcut leads there.
func TestShortcutFollowsTheOtherHubsAnswer(t *testing.T) {
	m, second := twoHubs(t)
	third := m.addSpoke("spoke3", spokeConfig("10.255.0.13/24"), "192.0.2.13", "172.16.2.1/24",
		false)
	third.configure(func(c *overlay.InterfaceConfig) {
		c.NHS = []overlay.NHSConfig{{Name: "192.0.2.2"}}
	})
	m.until("the third spoke is registered with the second hub", 5*time.Second, func() bool {
		return len(second.status().Bindings) == 3
	})
	m.makeShortcut()
	second.removeRoutes(viaTunnel(lan2, "10.255.0.12"))
	second.addRoutes(viaTunnel(lan2, "10.255.0.13"))
	m.leadTo(hubOverlay, "10.255.0.2")
	m.until("the shortcut leads to the third spoke", 5*time.Second, func() bool {
		m.ping(m.spoke1, host1, host2)
		return m.spoke1.shortcuts[mustPrefix(lan2)] == addr("10.255.0.13")
	})
}

// A hub that comes back may attract the traffic before it knows the way to the other spokes again.
// A shortcut outlives that: the spoke asks again until the hub knows more.
func TestShortcutOutlivesAHubThatKnowsNoWay(t *testing.T) {
	way := viaTunnel(lan2, "10.255.0.12")
	for _, tt := range []struct {
		rule string
		by   []event.Route // the hub's routes to the network when it comes back
	}{
		{"no route", nil},
		{
			"a route through a client that is not back",
			[]event.Route{viaTunnel(lan2, "10.255.0.99")},
		},
		{"a route that leads back", []event.Route{viaTunnel(lan2, "10.255.0.11")}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m, _ := twoHubs(t)
			m.makeShortcut()
			m.leadTo(hubOverlay, "10.255.0.2")
			m.neverByHub(time.Second)
			m.hub.removeRoutes(way)
			m.hub.addRoutes(tt.by...)
			before := len(m.spoke1.sent)
			m.leadTo("10.255.0.2", hubOverlay)
			m.neverByHub(5 * time.Second)
			if n := asksAbout(m.spoke1, before); n != 3 {
				t.Errorf("asked %d times in 5 s, want at once, after 1 s and 2 s later\n%s", n, m)
			}
			m.hub.removeRoutes(tt.by...)
			m.hub.addRoutes(way)
			before = len(m.spoke1.sent)
			m.neverByHub(30 * time.Second)
			if n := asksAbout(m.spoke1, before); n != 1 {
				t.Errorf("asked %d times once the hub knew the way, want once\n%s", n, m)
			}
			if m.spoke1.has(output.NoticeShortcutDown) > 0 || m.spoke1.has(output.NoticeError) > 0 {
				t.Errorf("the shortcut ended, or the log has the hub's errors\n%s", m)
			}
		})
	}
}

// A route that leads to a router which is no hub of ours ends the shortcut at once.
func TestShortcutEndsBeneathAnotherRouter(t *testing.T) {
	m, _ := twoHubs(t)
	m.makeShortcut()
	m.leadTo(hubOverlay, "10.255.0.99")
	if len(m.spoke1.shortcuts) != 0 {
		t.Errorf("the shortcut stays\n%s", m)
	}
}
