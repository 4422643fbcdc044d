package engine

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
)

const (
	lower2, upper2 = "172.16.2.0/25", "172.16.2.128/25"
	allLANs        = "172.16.0.0/16"
	hubOverlay     = "10.255.0.1"
)

// zebra keeps routes in a node's kernel as FRR's zebra does: as soon as the kernel has a route of
// others with the same prefix, zebra withdraws its own, and it brings it back when the other route
// has gone. Each change takes zebraDelay at most.
type zebra struct {
	n       *node
	rib     []event.Route
	changes int // how often zebra changed the kernel's routes
}

// runZebra starts zebra on a node, with these routes in its RIB.
func runZebra(n *node, rib ...event.Route) *zebra {
	z := &zebra{n: n, rib: rib}
	z.turn()
	return z
}

// zebraDelay is how often zebra compares the kernel's routes with its own: the longest time that
// FRR 8.4 was seen to take for a change.
const zebraDelay = 340 * time.Millisecond

// turn compares the kernel's routes with the RIB, now and every zebraDelay.
func (z *zebra) turn() {
	for _, r := range z.rib {
		_, hidden := z.n.shortcuts[r.Prefix]
		switch there := slices.Contains(z.n.routes, r); {
		case hidden && there:
			z.changes++
			z.n.removeRoutes(r)
		case !hidden && !there:
			z.changes++
			z.n.addRoutes(r)
		}
	}
	z.n.w.after(zebraDelay, z.turn)
}

// learns adds routes to the RIB. They are in the kernel within zebraDelay, unless others are in the
// way.
func (z *zebra) learns(routes ...event.Route) { z.rib = append(z.rib, routes...) }

// loses withdraws routes at once.
func (z *zebra) loses(routes ...event.Route) {
	z.rib = slices.DeleteFunc(z.rib, func(r event.Route) bool { return slices.Contains(routes, r) })
	z.n.removeRoutes(routes...)
}

// perSite returns a mesh whose first spoke has the second's LAN by zebra, and no wider route.
func perSite(t *testing.T, change ...func(*overlay.InterfaceConfig)) (mesh, *zebra) {
	t.Helper()
	m := newMesh(t, change...)
	m.spoke1.removeRoutes(viaTunnel(allLANs, hubOverlay))
	return m, runZebra(m.spoke1, viaTunnel(lan2, hubOverlay))
}

// placed awaits that the first spoke has a shortcut to the second's LAN with that placement.
func (m *mesh) placed(want report.Placement) {
	m.t.Helper()
	m.until("a shortcut as "+string(want), 5*time.Second, func() bool {
		m.pingPong(m.spoke1, host1, m.spoke2, host2)
		return m.placement() == want
	})
}

// placement returns how the first spoke's shortcut to the second's LAN is placed.
func (m *mesh) placement() report.Placement {
	for _, s := range m.spoke1.status().Shortcuts {
		if s.State == report.ShortcutUp && s.Prefix.Contains(addr(host2)) {
			return s.Placement
		}
	}
	return report.PlacedNowhere
}

// routed returns an error text if the first spoke's routes are not these prefixes via the second.
func (m *mesh) routed(routes map[netip.Prefix]netip.Addr, prefixes ...string) {
	m.t.Helper()
	want := map[netip.Prefix]netip.Addr{}
	for _, p := range prefixes {
		want[mustPrefix(p)] = addr("10.255.0.12")
	}
	if !maps.Equal(routes, want) {
		m.t.Errorf("want routes to %v, have %v\n%s", prefixes, routes, m)
	}
}

// neverByHub lets time pass, and sends a packet each millisecond. Each must go straight to the
// second spoke.
func (m *mesh) neverByHub(d time.Duration) {
	m.t.Helper()
	for end := m.now.Add(d); m.now.Before(end); m.run(time.Millisecond) {
		if got := m.pingPong(m.spoke1, host1, m.spoke2, host2); !slices.Equal(got, []string{
			"spoke1", "spoke2",
		}) {
			m.t.Fatalf("after %s a packet went %v\n%s", m.now.Sub(m.start), got, m)
		}
	}
}

// Where a routing protocol has the very prefix of a shortcut, the shortcut gets the two halves. The
// protocol's route stays, and the shortcut with it.
func TestShortcutBesideTheSamePrefix(t *testing.T) {
	m, z := perSite(t)
	m.placed(report.PlacedHalves)
	m.routed(m.spoke1.shortcuts, lower2, upper2)
	m.neverByHub(time.Second)
	m.keepTalking(25 * time.Minute)
	m.routed(m.spoke1.shortcuts, lower2, upper2)
	if z.changes != 1 || m.spoke1.has(output.NoticeShortcutDown) != 0 {
		t.Errorf("zebra changed the kernel's routes %d times, want once\n%s", z.changes, m)
	}
	if got := m.spoke1.status().Shortcuts; len(got) != 1 || got[0].Prefix != mustPrefix(lan2) ||
		len(got[0].Routes) != 2 {
		t.Errorf("the status shows %+v, want one shortcut with two routes", got)
	}
}

// A shortcut beside a wider route is one route, as the answer says.
func TestShortcutBeneathAnAggregate(t *testing.T) {
	m := newMesh(t)
	m.placed(report.PlacedWhole)
	m.routed(m.spoke1.shortcuts, lan2)
}

// A route to the very prefix comes while the shortcut is up, and is seen in the kernel, as that of
// BIRD is. The shortcut makes room at once.
func TestSamePrefixComes(t *testing.T) {
	m := newMesh(t)
	m.placed(report.PlacedWhole)
	m.spoke1.addRoutes(viaTunnel(lan2, hubOverlay))
	m.routed(m.spoke1.shortcuts, lower2, upper2)
	m.spoke1.removeRoutes(viaTunnel(allLANs, hubOverlay))
	m.neverByHub(2 * resolution.CoveringGrace)
}

// An aggregate gives way to a route to the very prefix, which zebra keeps out of the kernel as long
// as the shortcut has that prefix. No packet goes by the hub meanwhile.
func TestAggregateBecomesTheSamePrefix(t *testing.T) {
	m := newMesh(t)
	m.spoke1.removeRoutes(viaTunnel(allLANs, hubOverlay))
	z := runZebra(m.spoke1, viaTunnel(allLANs, hubOverlay))
	m.placed(report.PlacedWhole)
	z.learns(viaTunnel(lan2, hubOverlay))
	m.neverByHub(2 * zebraDelay)
	if slices.Contains(m.spoke1.routes, viaTunnel(lan2, hubOverlay)) {
		t.Fatal("zebra has a route in the kernel beside one of others with the same prefix")
	}
	z.loses(viaTunnel(allLANs, hubOverlay))
	m.neverByHub(2 * resolution.CoveringGrace)
	m.routed(m.spoke1.shortcuts, lower2, upper2)
	z.loses(viaTunnel(lan2, hubOverlay))
	m.run(resolution.CoveringGrace)
	m.routed(m.spoke1.shortcuts)
}

// A route to the very prefix gives way to an aggregate: it goes first, and the aggregate comes a
// moment later. No packet goes by the hub meanwhile, and the routes in the kernel stay as they are.
func TestSamePrefixBecomesAnAggregate(t *testing.T) {
	m, z := perSite(t)
	m.placed(report.PlacedHalves)
	z.loses(viaTunnel(lan2, hubOverlay))
	m.neverByHub(resolution.CoveringGrace / 2)
	z.learns(viaTunnel(allLANs, hubOverlay))
	m.neverByHub(2 * resolution.CoveringGrace)
	m.routed(m.spoke1.shortcuts, lower2, upper2)
}

// The route beneath a shortcut decides when the shortcut ends.
func TestRouteBeneathHalvesGoes(t *testing.T) {
	elsewhere := event.Route{Prefix: mustPrefix(lan2), Device: "wan0", NextHop: addr("192.0.2.254")}
	wider := elsewhere
	wider.Prefix = mustPrefix("0.0.0.0/0")
	for _, tt := range []struct {
		rule  string
		added []event.Route
		after time.Duration // until it has ended
	}{
		{"nothing in its place", nil, resolution.CoveringGrace},
		{"a wider route elsewhere", []event.Route{wider}, resolution.CoveringGrace},
		{
			"a wider route through another router",
			[]event.Route{viaTunnel(allLANs, "10.255.0.9")}, 0,
		},
		{"the same prefix elsewhere", []event.Route{elsewhere}, 0},
		{"a more specific one elsewhere", []event.Route{
			{Prefix: mustPrefix("172.16.2.8/29"), Device: "wan0", NextHop: addr("192.0.2.254")},
		}, 0},
		{"a network of this site inside the prefix", []event.Route{
			{Prefix: mustPrefix(upper2), Device: "lan1"},
		}, 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m, z := perSite(t)
			m.placed(report.PlacedHalves)
			z.rib = nil
			m.spoke1.routes = append(slices.DeleteFunc(m.spoke1.routes, func(r event.Route) bool {
				return r == viaTunnel(lan2, hubOverlay)
			}), tt.added...)
			m.spoke1.handle(event.RoutesChanged{
				Table:   testTable,
				Removed: []event.Route{viaTunnel(lan2, hubOverlay)},
				Added:   tt.added,
			})
			if tt.after > 0 {
				m.run(tt.after - time.Millisecond)
				m.routed(m.spoke1.shortcuts, lower2, upper2)
				m.run(time.Millisecond)
			}
			m.routed(m.spoke1.shortcuts)
			if m.placement() != report.PlacedNowhere {
				t.Errorf("the shortcut is there\n%s", m)
			}
		})
	}
}

// While a shortcut waits for a route beneath it, each event leaves the deadline as it is.
func TestBareShortcutEndsInTime(t *testing.T) {
	m, z := perSite(t)
	m.placed(report.PlacedHalves)
	z.loses(viaTunnel(lan2, hubOverlay))
	for range 4 {
		m.run(resolution.CoveringGrace / 4)
		m.spoke1.addRoutes(event.Route{Prefix: mustPrefix("0.0.0.0/0"), Device: "wan0"})
		m.spoke1.removeRoutes(event.Route{Prefix: mustPrefix("0.0.0.0/0"), Device: "wan0"})
	}
	m.routed(m.spoke1.shortcuts)
	if got := m.spoke1.last(output.NoticeShortcutDown).Reason; got != "the route beneath it went" {
		t.Errorf("the reason is %q", got)
	}
}

// A host prefix has no halves. Its shortcut goes to the table for host routes where a routing
// protocol has the same host prefix, and to the table of the interface beneath a wider route.
func TestShortcutToAHostPrefix(t *testing.T) {
	const loopback = "172.30.0.12"
	host := loopback + "/32"
	for _, tt := range []struct {
		rule      string
		beneath   string
		hostTable bool
		want      report.Placement
	}{
		{"the same prefix", host, true, report.PlacedHostTable},
		{"a wider route", "172.30.0.0/24", true, report.PlacedWhole},
		{"the same prefix, no table", host, false, report.PlacedWhole},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := newMesh(t, func(c *overlay.InterfaceConfig) {
				if !tt.hostTable {
					c.HostTable = overlay.HostTable{}
				}
			})
			m.hub.addRoutes(viaTunnel(host, "10.255.0.12"))
			m.spoke2.addRoutes(
				event.Route{Prefix: mustPrefix(host), Device: "lo", Local: true},
			)
			beneath := viaTunnel(tt.beneath, hubOverlay)
			m.spoke1.addRoutes(beneath)
			m.until("the shortcut", 5*time.Second, func() bool {
				m.ping(m.spoke1, host1, loopback)
				s := m.spoke1.status().Shortcuts
				return len(s) == 1 && s[0].Placement == tt.want
			})
			if tt.want == report.PlacedHostTable {
				m.routed(m.spoke1.hostTable, host)
				m.routed(m.spoke1.shortcuts)
			} else {
				m.routed(m.spoke1.hostTable)
				m.routed(m.spoke1.shortcuts, host)
			}
			got := m.ping(m.spoke1, host1, loopback)
			if !slices.Equal(got, []string{"spoke1", "spoke2"}) {
				t.Errorf("a packet went %v", got)
			}
			m.spoke1.removeRoutes(beneath)
			m.run(resolution.CoveringGrace)
			m.routed(m.spoke1.shortcuts)
			m.routed(m.spoke1.hostTable)
		})
	}
}

// A wider route beneath a shortcut to a host prefix gives way to the same host prefix.
func TestAggregateBecomesTheSameHostPrefix(t *testing.T) {
	const loopback = "172.30.0.12"
	m := newMesh(t)
	m.hub.addRoutes(viaTunnel(loopback+"/32", "10.255.0.12"))
	m.spoke2.addRoutes(event.Route{Prefix: mustPrefix(loopback + "/32"), Device: "lo", Local: true})
	z := runZebra(m.spoke1, viaTunnel("172.30.0.0/24", hubOverlay))
	m.until("the shortcut", 5*time.Second, func() bool {
		m.ping(m.spoke1, host1, loopback)
		return len(m.spoke1.shortcuts) == 1
	})
	z.learns(viaTunnel(loopback+"/32", hubOverlay))
	m.run(2 * zebraDelay)
	z.loses(viaTunnel("172.30.0.0/24", hubOverlay))
	for range 2000 {
		m.run(time.Millisecond)
		if got := m.ping(m.spoke1, host1, loopback); !slices.Equal(got, []string{
			"spoke1", "spoke2",
		}) {
			t.Fatalf("a packet went %v\n%s", got, m)
		}
	}
	m.routed(m.spoke1.hostTable, loopback+"/32")
	m.routed(m.spoke1.shortcuts)
}

// OSPF on a point-to-multipoint network has a host route to each router, by the hub. Where no
// router is on the link, the next hop of a shortcut needs a host route of its own, which goes to
// the table for host routes: OSPF's stays, and the shortcut with it.
func TestNextHopWithAHostRouteOfOthers(t *testing.T) {
	m := newMesh(t, hostPrefixes(""))
	z := runZebra(m.spoke1, viaTunnel("10.255.0.12/32", hubOverlay))
	m.pingPong(m.spoke1, host1, m.spoke2, host2)
	m.until("the shortcut", 5*time.Second, func() bool { return m.placement() != "" })
	m.keepTalking(5 * time.Minute)
	if _, ok := m.spoke1.hostTable[mustPrefix("10.255.0.12/32")]; !ok || z.changes != 1 ||
		m.spoke1.has(output.NoticeShortcutDown) != 0 {
		t.Errorf("host routes %v, zebra changed the routes %d times\n%s",
			m.spoke1.hostTable, z.changes, m)
	}
	if got := m.spoke1.status().HostTable; !slices.Equal(got, []netip.Addr{addr("10.255.0.12")}) {
		t.Errorf("the status shows %v in the table for host routes", got)
	}
	m.run(20 * time.Minute)
	if len(m.spoke1.hostTable) != 0 {
		t.Errorf("the shortcut ended, and %v stay", m.spoke1.hostTable)
	}
}

// A restart keeps halves and host routes as they are, also where the route beneath would lead to
// another placement by now.
func TestRestartKeepsPlacement(t *testing.T) {
	m, z := perSite(t)
	m.placed(report.PlacedHalves)
	saved := m.spoke1.engine.Save()
	m.spoke1.down = true
	z.rib[0] = viaTunnel(allLANs, hubOverlay)
	m.spoke1.routes = slices.DeleteFunc(m.spoke1.routes, func(r event.Route) bool {
		return r.Prefix == mustPrefix(lan2)
	})
	m.spoke1.routes = append(m.spoke1.routes, z.rib[0])
	m.spoke1.boot(saved)
	m.routed(m.spoke1.shortcuts, lower2, upper2)
	m.neverByHub(time.Second)
	m.run(restoreGrace)
	m.routed(m.spoke1.shortcuts, lower2, upper2)
}

// A placement that a shortcut cannot have, as in a damaged file or after a change of the settings,
// is not restored.
func TestRestoredPlacementThatIsNone(t *testing.T) {
	for _, p := range []report.Placement{"", "thirds", report.PlacedHostTable} {
		m := newMesh(t)
		m.makeShortcut()
		saved := m.spoke1.engine.Save()
		saved.Interfaces[0].Shortcuts[0].Placement = p
		m.spoke1.boot(saved)
		m.routed(m.spoke1.shortcuts, lan2)
		if len(m.spoke1.hostTable) != 0 {
			t.Errorf("%q: host routes %v", p, m.spoke1.hostTable)
		}
	}
}

// When the settings of the table for host routes change, no route stays behind in the old one.
func TestHostTableChanges(t *testing.T) {
	const loopback = "172.30.0.12"
	m := newMesh(t)
	m.hub.addRoutes(viaTunnel(loopback+"/32", "10.255.0.12"))
	m.spoke2.addRoutes(event.Route{Prefix: mustPrefix(loopback + "/32"), Device: "lo", Local: true})
	m.spoke1.addRoutes(viaTunnel(loopback+"/32", hubOverlay))
	there := func() bool {
		m.ping(m.spoke1, host1, loopback)
		return len(m.spoke1.hostTable) == 1
	}
	m.until("the shortcut", 5*time.Second, there)
	m.spoke1.configure(func(c *overlay.InterfaceConfig) { c.HostTable.Rule++ })
	if len(m.spoke1.hostTable) != 0 {
		t.Errorf("the old table has %v", m.spoke1.hostTable)
	}
	m.until("the shortcut again", 20*time.Second, there)
}

// With leave, the halves go.
func TestLeaveRemovesHalves(t *testing.T) {
	m, _ := perSite(t)
	m.placed(report.PlacedHalves)
	m.spoke1.handle(event.Leave{Interface: "gre1"})
	m.routed(m.spoke1.shortcuts)
}

// Two shortcuts may want one place in the kernel: one for a prefix, the other for the prefix that
// it is a half of. The more specific one has it, and the other gets it back.
func TestHalfOfAnotherShortcut(t *testing.T) {
	m, _ := perSite(t)
	m.placed(report.PlacedHalves)
	n := m.spoke1
	ifc := n.engine.ifaces["gre1"]
	do := func(f func()) {
		n.engine.router.Enter(m.now, &n.out)
		f()
		n.carryOut()
	}
	n.neighbors[addr("10.255.0.13")] = peerid.At(addr("192.0.2.13"))
	s := (*resolution.Shortcut)(nil)
	do(func() {
		s = ifc.Requester.NewShortcut(addr("172.16.2.200"), mustPrefix(upper2))
		s.NextHop, s.State = addr("10.255.0.13"), report.ShortcutUp
		ifc.Requester.WantRoute(s, report.PlacedWhole)
	})
	if n.shortcuts[mustPrefix(upper2)] != addr("10.255.0.13") ||
		n.shortcuts[mustPrefix(lower2)] != addr("10.255.0.12") {
		t.Errorf("the more specific shortcut's route is not there: %v", n.shortcuts)
	}
	do(func() { ifc.Requester.RemoveShortcut(s) })
	m.routed(n.shortcuts, lower2, upper2)
}

// A client registers a prefix that is a half of a shortcut's. The shortcut ends before the client's
// route comes, since both would be the same route.
func TestClientRegistersAHalf(t *testing.T) {
	m, z := perSite(t, func(c *overlay.InterfaceConfig) {
		c.Server = true
		accepting("172.16.0.0/12")(c)
	})
	m.placed(report.PlacedHalves)
	z.rib = nil
	client := m.spoke1.client("192.0.2.13", "spoke3", "10.255.0.13")
	client.says(announcementFrom("192.0.2.13", "10.255.0.13", lower2))
	if got := m.spoke1.shortcuts[mustPrefix(lower2)]; got != addr("10.255.0.13") ||
		len(m.spoke1.shortcuts) != 1 {
		t.Errorf("want the client's route alone, have %v\n%s", m.spoke1.shortcuts, m)
	}
}
