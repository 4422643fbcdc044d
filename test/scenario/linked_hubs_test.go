//go:build lab

package scenario

import (
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// The examples for two hubs of one cloud that lead to each other work as they are, but for the
// timers of BFD. Each spoke is registered with one hub only. A spoke reaches the other's LAN
// through both hubs first, and directly a moment later, and loses nothing by that. Without a direct
// way its packets take both hubs again, and so does BFD between the sites with the least TTL that
// doc/routing.md tells.
func TestLinkedHubs(t *testing.T) {
	m := exampleMesh(t)
	second := &lab.Site{
		Router:  m.Router("hub2", lab.Addr("198.51.100.2/24")),
		Overlay: addr("10.255.0.2"),
		Public:  addr("198.51.100.2"),
	}
	example := func(name string) string {
		return replace(contrib(t, name), "interval 300", "interval 1500")
	}
	ofSecond := func(text string) string {
		return replace(text, `10.255.0.1/`, `10.255.0.2/`, "10.255.0.1\n", "10.255.0.2\n",
			"10.255.0.2 ", "10.255.0.1 ", "198.51.100.1", "198.51.100.2",
			"198.51.100.2", "198.51.100.1", "hub.example.net", "hub2.example.net")
	}
	bySecond := func(text string) string {
		return another(replace(text, "10.255.0.1 ", "10.255.0.2 ", "198.51.100.1", "198.51.100.2"))
	}
	asHub, routes := example("cygnet/linked-hub.toml"), example("frr/linked-hub.conf")
	run := func(s *lab.Site, config, routes string) {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
		s.Charon = s.Router.Charon()
		s.Daemon = s.Cygnetd(config)
		s.IntegratedFRR(routes, "bgpd", "bfdd")
	}
	run(m.Hub, asHub, routes)
	run(second, ofSecond(asHub), ofSecond(routes))
	asSpoke, routes := example("cygnet/spoke.toml"), example("frr/spoke.conf")
	run(m.Spoke1, asSpoke, routes)
	run(m.Spoke2, bySecond(asSpoke), bySecond(routes))

	registeredWithHub(m, second, soon, m.Hub, m.Spoke2)
	registeredWithHub(m, m.Hub, soon, second, m.Spoke1)
	for s, hub := range map[*lab.Site]*lab.Site{m.Spoke1: m.Hub, m.Spoke2: second} {
		m.Await(s.Name+" has its route to all sites via "+hub.Name, later, func() error {
			hop := s.NextHop(addr("172.16.200.1"))
			return lab.True(hop == hub.Overlay, "the next hop is %s", hop)
		})
	}
	m.Await("the first hub leads to spoke2's LAN by the second", later, func() error {
		return leads(m.Hub, "172.16.2.0/24", second.Overlay)
	})
	m.Await("the second hub leads to spoke1's LAN by the first", later, func() error {
		return leads(second, "172.16.1.0/24", m.Hub.Overlay)
	})

	begin := time.Now()
	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, beat)
	shortcut(m)
	atHubs := []*lab.Capture{m.Hub.Capture("gre1"), second.Capture("gre1")}
	direct := goesStraight(m, m.Spoke1, m.Spoke2, 20)
	nothingLost(m, flow, begin)
	for _, c := range atHubs {
		if n := c.Count(direct.Requests()) + c.Count(direct.Replies()); n > 0 {
			t.Errorf("%d packets of the spokes' hosts still went through a hub", n)
		}
	}
	flow.Stop()
	bfdThroughTwoHubs(t, m)
	alive(m)
	if !second.Daemon.Alive() {
		t.Errorf("cygnetd on hub2 ended:\n%s", second.Daemon.Output())
	}
	encrypted(m)
}

// bfdThroughTwoHubs closes the direct way between the spokes, and proves that BFD between their
// sites then needs a lower least TTL, and comes up with it.
func bfdThroughTwoHubs(t *testing.T, m *lab.Mesh) {
	t.Helper()
	one, two := m.Spoke1, m.Spoke2
	for s, other := range map[*lab.Site]*lab.Site{one: two, two: one} {
		s.Iptables("-A", "INPUT", "-s", other.Public.String(), "-j", "DROP")
	}
	config := lab.Snippet(t, routingPage, "bfd") + "bfd\n" +
		lab.Snippet(t, routingPage, "peer 172.16.2.1 multihop local-address 172.16.1.1") + "exit\n"
	low := replace(config, " profile tunnel\nexit",
		" profile tunnel\n"+lab.Snippet(t, routingPage, " minimum-ttl 253")+"exit")
	load := func(s *lab.Site, config string) {
		s.WriteFile("/etc/cygnet/bfd.conf", 0o644, config)
		s.Run("vtysh", "-f", "/etc/cygnet/bfd.conf")
	}
	load(one, config)
	load(two, replace(low, "172.16.2.1", "172.16.1.1", "172.16.1.1", "172.16.2.1"))
	is := func(s *lab.Site, peer, state string) {
		m.Await("BFD of "+s.Name+" with "+peer+" is "+state, later, func() error {
			sessions, err := bfdSessions(s, "peers")
			if err != nil {
				return err
			}
			return lab.True(slices.ContainsFunc(sessions, func(x bfdSession) bool {
				return x.Peer == peer && x.Status == state
			}), "the sessions are %+v", sessions)
		})
	}
	// Spoke2 hears spoke1 and answers. Spoke1 does not take the answer: its TTL is 253.
	is(two, "172.16.1.1", "init")
	is(one, "172.16.2.1", "down")
	load(one, low)
	is(one, "172.16.2.1", "up")
	is(two, "172.16.1.1", "up")
}
