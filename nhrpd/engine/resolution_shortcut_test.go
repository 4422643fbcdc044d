package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/resolution"
)

// mesh is a hub with two spokes that are registered with it.
type mesh struct {
	*world
	hub, spoke1, spoke2 *node
}

const (
	lan1         = "172.16.1.0/24"
	lan2         = "172.16.2.0/24"
	host1, host2 = "172.16.1.10", "172.16.2.10"
)

func hubConfig() overlay.InterfaceConfig {
	cfg := testConfig("10.255.0.1/24")
	cfg.Redirect = true
	return cfg
}

func spokeConfig(address string) overlay.InterfaceConfig {
	cfg := testConfig(address)
	cfg.Shortcut, cfg.Server = true, false
	cfg.NHS = []overlay.NHSConfig{{Name: "192.0.2.1"}}
	return cfg
}

func newMesh(t testing.TB, change ...func(*overlay.InterfaceConfig)) mesh {
	return newMeshNAT(t, false, false, change...)
}

func newMeshNAT(t testing.TB, nat1, nat2 bool, change ...func(*overlay.InterfaceConfig)) mesh {
	t.Helper()
	m := mesh{world: newWorld(t)}
	start := func(cfg overlay.InterfaceConfig) overlay.InterfaceConfig {
		for _, f := range change {
			f(&cfg)
		}
		return cfg
	}
	m.hub = m.add("hub", start(hubConfig()), "192.0.2.1", "172.16.0.1/24")
	m.hub.addRoutes(viaTunnel(lan1, "10.255.0.11"), viaTunnel(lan2, "10.255.0.12"))
	m.spoke1 = m.addSpoke(
		"spoke1", start(spokeConfig("10.255.0.11/24")), "192.0.2.11", "172.16.1.1/24", nat1,
	)
	m.spoke2 = m.addSpoke(
		"spoke2", start(spokeConfig("10.255.0.12/24")), "192.0.2.12", "172.16.2.1/24", nat2,
	)
	m.until("both spokes register", 5*time.Second, func() bool {
		return m.spoke1.registered() && m.spoke2.registered()
	})
	return m
}

func (m *mesh) addSpoke(
	name string,
	cfg overlay.InterfaceConfig,
	nbma, lan string,
	nat bool,
) *node {
	w := m.world
	if !nat {
		return w.add(name, cfg, nbma, lan, "172.16.0.0/16")
	}
	n := w.add(name, cfg, "192.168.7.11", lan, "172.16.0.0/16")
	n.public = addr(nbma)
	return n
}

func viaTunnel(prefix, nextHop string) event.Route {
	return event.Route{Prefix: mustPrefix(prefix), NextHop: addr(nextHop), Device: "gre1"}
}

func (n *node) addRoutes(routes ...event.Route) {
	n.routes = append(n.routes, routes...)
	n.handle(event.RoutesChanged{Table: testTable, Added: routes})
}

func (n *node) removeRoutes(routes ...event.Route) {
	n.routes = slices.DeleteFunc(
		n.routes,
		func(r event.Route) bool { return slices.Contains(routes, r) },
	)
	n.handle(event.RoutesChanged{Table: testTable, Removed: routes})
}

// direct reports whether packets between the LANs go from spoke to spoke, both ways.
func (m *mesh) direct() bool {
	return len(m.spoke1.shortcuts) == 1 && len(m.spoke2.shortcuts) == 1
}

func (m *mesh) makeShortcut() {
	m.t.Helper()
	if got := m.pingPong(m.spoke1, host1, m.spoke2, host2); !slices.Equal(got, []string{
		"spoke1", "hub", "spoke2",
	}) {
		m.t.Fatalf("the first packet went %v\n%s", got, m)
	}
	m.until("shortcuts both ways", 5*time.Second, m.direct)
}

func TestSpokesFindEachOther(t *testing.T) {
	m := newMesh(t)
	begin := m.now
	m.makeShortcut()
	if took := m.now.Sub(begin); took > 500*time.Millisecond {
		t.Errorf("direct after %s", took)
	}
	if got, want := m.pingPong(
		m.spoke1, host1, m.spoke2, host2,
	), []string{"spoke1", "spoke2"}; !slices.Equal(got, want) {
		t.Errorf("the next packet went %v, want %v", got, want)
	}
	up := m.spoke1.last(output.NoticeShortcutUp)
	if up.Prefix != mustPrefix(lan2) || up.NextHop != addr("10.255.0.12") ||
		up.NBMA != addr("192.0.2.12") || up.Took == 0 {
		t.Errorf("notice %+v", up)
	}
}

// keepTalking sends a packet both ways every second.
func (m *mesh) keepTalking(d time.Duration) {
	for end := m.now.Add(d); m.now.Before(end); m.run(time.Second) {
		m.pingPong(m.spoke1, host1, m.spoke2, host2)
	}
}

// A shortcut in use stays, and the spoke asks again before its holding time ends. A shortcut
// without traffic for the idle time ends, and then its SA: the spoke that initiated the SA closes
// it. The SAs with the hub stay.
func TestUsedShortcutStaysIdleOneGoes(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.keepTalking(25 * time.Minute)
	if !m.direct() ||
		m.spoke1.has(output.NoticeShortcutDown)+m.spoke2.has(output.NoticeShortcutDown) != 0 {
		t.Fatalf("a shortcut in use ended\n%s", m)
	}
	m.run(4 * time.Minute)
	if !m.direct() || !m.hasSA(m.spoke1, m.spoke2) {
		t.Fatalf("ended before the idle time\n%s", m)
	}
	m.run(2 * time.Minute)
	if len(m.spoke1.shortcuts)+len(m.spoke2.shortcuts) != 0 {
		t.Errorf("idle shortcuts stay\n%s", m)
	}
	if m.hasSA(m.spoke1, m.spoke2) {
		t.Errorf("idle SA stays\n%s", m)
	}
	if got := len(m.spoke1.closed) + len(m.spoke2.closed); got != 1 {
		t.Errorf("closed %d times, want once, by the initiator", got)
	}
	if len(m.spoke1.want) != 1 || len(m.spoke2.want) != 1 {
		t.Errorf("still wanted: %v, %v", m.spoke1.want, m.spoke2.want)
	}
	m.run(time.Hour)
	if !m.hasSA(m.hub, m.spoke1) || !m.hasSA(m.hub, m.spoke2) || len(m.hub.closed) != 0 {
		t.Errorf("a hub's SA went\n%s", m)
	}
	for _, n := range m.nodes {
		if len(n.status().Peers) > 2 || n != m.hub && len(n.want) != 1 {
			t.Errorf("%s has something left: %v", n.name, n.want)
		}
	}
}

// Traffic in one direction keeps the SA, although the other spoke's shortcut is idle and ends.
func TestOneWayTrafficKeepsTheSA(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	for range 20 * 60 {
		m.ping(m.spoke1, host1, host2)
		m.run(time.Second)
	}
	if len(m.spoke1.shortcuts) != 1 || len(m.spoke2.shortcuts) != 0 ||
		!m.hasSA(m.spoke1, m.spoke2) {
		t.Errorf("%s", m)
	}
}

// A shortcut ends as soon as its SA goes, and traffic takes the way by the hub. The next traffic
// brings the shortcut back.
func TestFallBackToHub(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.terminate(m.spoke1, m.spoke2, "DPD")
	if len(m.spoke1.shortcuts)+len(m.spoke2.shortcuts) != 0 {
		t.Fatalf("routes without an SA\n%s", m)
	}
	if got, want := m.pingPong(
		m.spoke1, host1, m.spoke2, host2,
	), []string{"spoke1", "hub", "spoke2"}; !slices.Equal(got, want) {
		t.Fatalf("went %v, want %v", got, want)
	}
	m.until("shortcuts again", 5*time.Second, func() bool {
		m.pingPong(m.spoke1, host1, m.spoke2, host2)
		return m.direct()
	})
}

// If the spokes cannot make an SA, the requester gets a refusal, and the traffic stays on the hub.
func TestNoSABetweenSpokes(t *testing.T) {
	m := newMesh(t)
	m.refuse = func(from, to *node) bool { return from != m.hub && to != m.hub }
	m.pingPong(m.spoke1, host1, m.spoke2, host2)
	m.run(resolution.AnswerWait + time.Second)
	if m.spoke1.has(output.NoticeUnresolved) != 1 || m.spoke2.has(output.NoticeUnresolved) != 1 {
		t.Errorf("%s", m)
	}
	if len(m.spoke1.shortcuts)+len(m.spoke2.shortcuts) != 0 {
		t.Error("a route without an SA")
	}
	m.run(time.Minute)
	for _, n := range []*node{m.spoke1, m.spoke2} {
		if len(n.want) != 1 {
			t.Errorf("%s still dials: %v", n.name, n.want)
		}
	}
}

// A spoke behind NAT dials; the other one answers at once and waits. If both are behind NAT, both
// dial.
func TestShortcutsBehindNAT(t *testing.T) {
	for _, tt := range []struct {
		rule       string
		nat1, nat2 bool
	}{{"first spoke", true, false}, {"second spoke", false, true}} {
		t.Run(tt.rule, func(t *testing.T) {
			m := newMeshNAT(t, tt.nat1, tt.nat2)
			behind, open := m.spoke1, m.spoke2
			if tt.nat2 {
				behind, open = open, behind
			}
			if got := behind.status().PublicNBMA; got != behind.public ||
				behind.has(output.NoticeNAT) != 1 {
				t.Errorf("public address %s, want %s", got, behind.public)
			}
			m.makeShortcut()
			if open.neighbors[behind.cfg.Address.Addr()] != peerid.At(behind.public) {
				t.Errorf("neighbours %v", open.neighbors)
			}
			if !m.sas[saKey{behind, open}] {
				t.Error("the one behind NAT did not dial")
			}
			if open.has(output.NoticePeerFailed) != 0 {
				t.Error("the other dialled in vain")
			}
		})
	}
}

func TestBothBehindNAT(t *testing.T) {
	m := mesh{world: newWorld(t)}
	m.hub = m.add("hub", hubConfig(), "192.0.2.1", "172.16.0.1/24")
	m.hub.addRoutes(viaTunnel(lan1, "10.255.0.11"), viaTunnel(lan2, "10.255.0.12"))
	m.spoke1 = m.add(
		"spoke1", spokeConfig("10.255.0.11/24"), "192.168.1.2", "172.16.1.1/24", "172.16.0.0/16",
	)
	m.spoke2 = m.add(
		"spoke2", spokeConfig("10.255.0.12/24"), "192.168.2.2", "172.16.2.1/24", "172.16.0.0/16",
	)
	m.spoke1.public, m.spoke2.public = addr("198.51.100.1"), addr("198.51.100.2")
	m.until("both register", 5*time.Second, func() bool {
		return m.spoke1.registered() && m.spoke2.registered()
	})
	m.makeShortcut()
}

// Without IPsec, shortcuts work in the same way, as with FRR.
func TestMeshWithoutIPsec(t *testing.T) {
	m := newMesh(t, func(c *overlay.InterfaceConfig) { c.Protected = false })
	m.makeShortcut()
	if len(m.sas) != 0 || len(m.spoke1.want) != 0 {
		t.Errorf("SAs wanted without protection: %v", m.spoke1.want)
	}
	m.run(7 * time.Minute)
	if len(m.spoke1.shortcuts) != 0 || !m.spoke1.registered() {
		t.Errorf("%s", m)
	}
}

// Every packet carries the password, on each hop. A spoke with another password does not get
// registered.
func TestMeshWithPassword(t *testing.T) {
	m := newMesh(t, func(c *overlay.InterfaceConfig) { c.Authentication = "secret" })
	m.makeShortcut()
	cfg := spokeConfig("10.255.0.13/24")
	cfg.Authentication = "guess"
	other := m.add("other", cfg, "192.0.2.13", "172.16.3.1/24")
	m.run(10 * time.Second)
	if other.registered() || len(m.hub.status().Bindings) != 2 {
		t.Error("registered with a wrong password")
	}
	if other.has(output.NoticeError) == 0 {
		t.Error("the spoke was not told")
	}
}

// A lost request or reply costs one repetition.
func TestLostPackets(t *testing.T) {
	m := newMesh(t)
	lost := 0
	m.lose = func(_, _ *node, _ []byte) bool { lost++; return lost%2 == 0 && lost < 10 }
	m.pingPong(m.spoke1, host1, m.spoke2, host2)
	m.run(100 * time.Millisecond)
	m.pingPong(m.spoke1, host1, m.spoke2, host2)
	m.until("a shortcut in spite of losses", 30*time.Second, func() bool {
		m.pingPong(m.spoke1, host1, m.spoke2, host2)
		return m.direct()
	})
}

// A change of the route beneath a shortcut ends it, if the traffic has another way now.
func TestRouteBeneathChanges(t *testing.T) {
	for _, tt := range []struct {
		rule           string
		added, removed []event.Route
		ends           bool
	}{
		{
			"removed, another router's in its place",
			[]event.Route{viaTunnel("172.16.0.0/12", "10.255.0.9")},
			[]event.Route{viaTunnel("172.16.0.0/16", "10.255.0.1")}, true,
		},
		{
			"a more specific one inside", []event.Route{viaTunnel("172.16.2.128/25", "10.255.0.1")},
			nil,
			true,
		},
		{"another way to the same prefix", []event.Route{viaTunnel(lan2, "10.255.0.9")}, nil, true},
		{
			"the same way to the same prefix", []event.Route{viaTunnel(lan2, "10.255.0.1")}, nil,
			false,
		},
		{
			"the destination is ours now", []event.Route{{Prefix: mustPrefix(lan2),
				Device: "lan1"}}, nil,
			true,
		},
		{"elsewhere", []event.Route{viaTunnel("172.16.9.0/24", "10.255.0.1")}, nil, false},
		{
			"an address of ours elsewhere",
			[]event.Route{{Prefix: mustPrefix("172.16.9.1/32"), Device: "lan0", Local: true}}, nil,
			false,
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := newMesh(t)
			m.makeShortcut()
			m.spoke1.handle(
				event.RoutesChanged{Table: testTable, Added: tt.added, Removed: tt.removed},
			)
			if got := len(m.spoke1.shortcuts) == 0; got != tt.ends {
				t.Errorf("ended: %v, want %v", got, tt.ends)
			}
		})
	}
}

// RFC 2332 §5.2.5: the router that answered takes its answer back when its routes change.
func TestAnswerTakenBack(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.spoke2.removeRoutes(event.Route{Prefix: mustPrefix(lan2), Device: "lan0"})
	m.run(10 * time.Millisecond)
	if len(m.spoke1.shortcuts) != 0 || len(m.spoke2.shortcuts) != 1 {
		t.Errorf("%s", m)
	}
	if got := len(m.spoke2.engine.ifaces["gre1"].purges.ByID); got != 0 {
		t.Errorf("%d purges wait for a reply that came", got)
	}
}

// With `cygnet leave`, a router withdraws all routes and neighbours, and tells the other routers.
func TestLeave(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.spoke1.handle(event.Leave{Interface: "gre1"})
	if len(m.spoke1.neighbors)+len(m.spoke1.shortcuts)+len(m.spoke1.closed) != 0 {
		t.Errorf(
			"left behind: %v %v, closed before anybody heard of it: %v",
			m.spoke1.neighbors, m.spoke1.shortcuts, m.spoke1.closed,
		)
	}
	m.run(5 * underlayDelay) // the goodbye goes to spoke2 first, then to the hub
	if len(m.spoke1.want) != 0 || m.spoke1.left != 1 {
		t.Errorf("wants %v, said %d times that it left", m.spoke1.want, m.spoke1.left)
	}
	if len(m.spoke1.closed) != 2 {
		t.Errorf("closed %v, want hub and spoke2", m.spoke1.closed)
	}
	if len(m.hub.status().Bindings) != 1 ||
		m.hub.last(output.NoticeUnbound).Reason != "the client took its registration back" {
		t.Errorf("the hub was not told\n%s", m)
	}
	if len(m.spoke2.shortcuts) != 0 {
		t.Errorf("spoke2 was not told\n%s", m)
	}
	m.run(time.Minute)
	if !m.spoke1.status().Left || len(m.spoke1.want) != 0 {
		t.Error("something woke up after leaving")
	}

	m.spoke1.engine.Configure(
		m.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{m.spoke1.cfg}}, &m.spoke1.out,
	)
	m.spoke1.carryOut()
	m.until("it joins again", 5*time.Second, m.spoke1.registered)
}

// charon comes back with only some of the SAs, while the kernel and the peers still have the
// others. A shortcut through such an SA goes on. The spoke dials the peer, even if the peer would
// have had to dial before. The shortcut ends if no SA can be made, or if another router answers.
func TestResyncDialsWhatIsGone(t *testing.T) {
	for name, after := range map[string]func(m mesh, n, other *node) (stays bool){
		"reached": func(m mesh, n, other *node) bool { return true },
		"not reached": func(m mesh, n, other *node) bool {
			m.refuse = func(_, _ *node) bool { return true }
			return false
		},
		"somebody else": func(m mesh, n, other *node) bool {
			m.refuse = func(_, _ *node) bool { return true }
			n.handle(event.PeerSecured{Peer: event.Peer{Interface: "gre1",
				ID: peerid.At(other.local), Identity: "spoke9"}})
			return false
		},
	} {
		for _, dialler := range []string{"spoke1", "spoke2"} {
			m := newMesh(t)
			m.makeShortcut()
			n, other := m.spoke1, m.spoke2
			if dialler == "spoke2" {
				n, other = other, n
			}
			delete(m.sas, saKey{m.spoke1, m.spoke2})
			delete(m.sas, saKey{m.spoke2, m.spoke1})
			n.handle(event.PeersSecured{Interface: "gre1", Peers: n.secured()})
			if len(n.shortcuts) != 1 || n.want[peerid.At(other.local)] != output.SAInitiate ||
				!n.registered() {
				t.Fatalf("%s, %s: %s", name, dialler, m)
			}
			stays := after(m, n, other)
			m.run(peers.ResyncGrace)
			if (n.has(output.NoticeShortcutDown) == 0) != stays ||
				(len(n.shortcuts) == 1) != stays {
				t.Errorf("%s, %s: %s", name, dialler, m)
			}
		}
	}
}
