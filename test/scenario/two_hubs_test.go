//go:build lab

package scenario

import (
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// twoHubs is the network of the examples with two hubs of one cloud. Both hubs have the address of
// a service, as hubs of one data centre do.
type twoHubs struct {
	*lab.Mesh
	second  *lab.Site
	routing map[*lab.Site]*lab.FRR // of the spokes, and of the first hub
}

var service = addr("172.16.200.1")

// newTwoHubs starts the examples for two hubs of one cloud with an interval of BFD in milliseconds.
// When it returns, BGP prefers the first hub, and BFD with both hubs is up.
func newTwoHubs(t lab.T, interval string) *twoHubs {
	t.Helper()
	m := &twoHubs{Mesh: exampleMesh(t), routing: map[*lab.Site]*lab.FRR{}}
	m.second = &lab.Site{
		Router:  m.Router("hub2", lab.Addr("198.51.100.2/24")),
		Overlay: addr("10.255.0.2"),
		Public:  addr("198.51.100.2"),
	}
	as2 := func(text string) string {
		return replace(text, "10.255.0.1", "10.255.0.2", "198.51.100.1", "198.51.100.2",
			"hub.example.net", "hub2.example.net")
	}
	for _, s := range append(m.Sites(), m.second) {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
		s.Charon = s.Router.Charon()
	}
	example := func(name string) string {
		return replace(contrib(t, name), "interval 300", "interval "+interval)
	}
	hubConf, spokeConf := example("frr/two-hubs-hub.conf"), example("frr/two-hubs-spoke.conf")
	m.second.Daemon = m.second.Cygnetd(as2(contrib(t, "cygnet/hub.toml")))
	runExamples(m.Mesh, contrib(t, "cygnet/hub.toml"), replace(contrib(t, "cygnet/spoke.toml"),
		`nhs      = [{ nbma = "198.51.100.1" }]`,
		`nhs = [{ nbma = "198.51.100.1" }, { nbma = "198.51.100.2" }]`))
	registeredWithHub(m.Mesh, m.second, soon, m.spokes()...)
	for _, hub := range []*lab.Site{m.Hub, m.second} {
		hub.IP("addr add 172.16.200.1/24 dev lo")
	}
	m.routing[m.Hub] = m.Hub.IntegratedFRR(hubConf, "bgpd", "bfdd")
	m.second.IntegratedFRR(as2(hubConf), "bgpd", "bfdd")
	m.routing[m.Spoke1] = m.Spoke1.IntegratedFRR(spokeConf, "bgpd", "bfdd")
	m.routing[m.Spoke2] = m.Spoke2.IntegratedFRR(another(spokeConf), "bgpd", "bfdd")
	m.via(m.Hub, 2, later)
	m.Await("BFD with both hubs is up", later, m.bfdIsUp)
	return m
}

func (m *twoHubs) spokes() []*lab.Site { return []*lab.Site{m.Spoke1, m.Spoke2} }

// via awaits that the spokes' routes to all sites lead to a hub, while that many hubs offer theirs.
func (m *twoHubs) via(hub *lab.Site, offers int, within time.Duration) {
	m.Helper()
	for _, s := range m.spokes() {
		m.Await(s.Name+" has its route to all sites via "+hub.Name, within, func() error {
			var bgp struct {
				Paths []struct{ Valid bool }
			}
			if err := m.routing[s].Show(&bgp, "show bgp ipv4 unicast 172.16.0.0/12"); err != nil {
				return err
			}
			return lab.True(s.NextHop(m.Hub.Host.Addr) == hub.Overlay && len(bgp.Paths) == offers,
				"next hop %s, BGP has %+v", s.NextHop(m.Hub.Host.Addr), bgp.Paths)
		})
	}
}

// bfdIsUp returns nil when BFD of both spokes with both hubs is up.
func (m *twoHubs) bfdIsUp() error {
	for _, s := range m.spokes() {
		var peers []struct{ Peer, Status string }
		if err := m.routing[s].Show(&peers, "show bfd peers"); err != nil {
			return err
		}
		up := slices.DeleteFunc(peers, func(p struct{ Peer, Status string }) bool {
			return p.Status != "up"
		})
		if len(up) != 2 {
			return lab.True(false, "on %s up are %+v", s.Name, up)
		}
	}
	return nil
}

// The examples for two hubs of one cloud work as they are, but for the timers of BFD: those are
// five times as long, since a guest may stand still for longer than the examples allow. BGP prefers
// the first hub. When that hub dies without a word, BFD tells the spokes, and what goes to the hubs
// goes to the second one until the first is back. A shortcut loses nothing when the hub dies and
// when it comes back.
func TestTwoHubs(t *testing.T) {
	m := newTwoHubs(t, "1500")
	shortcut(m.Mesh)
	direct := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, beat)
	served := m.Spoke1.Host.Flow(service, beat)
	direct.Back(time.Now(), soon)
	served.Back(time.Now(), soon)
	died := time.Now()
	m.Hub.Die()
	// A bgpd that lives on may get a spoke's new connection in the moment in which the old one is
	// reset. FRR's (8.4.4) then sent that spoke keepalives and no route for two minutes.
	m.routing[m.Hub].Kill()
	m.via(m.second, 1, later)
	served.Back(time.Now(), soon)
	returned := time.Now()
	m.Hub.Return()
	m.routing[m.Hub].Boot()
	m.via(m.Hub, 2, later)
	served.Back(time.Now(), soon)
	direct.Back(time.Now(), soon)
	_, _, longest := served.Loss(died)
	t.Logf("the service was away for %s", longest.Round(time.Millisecond))
	if sent, lost, longest := direct.Loss(died); lost > 0 || sent == 0 {
		t.Errorf("of the direct traffic %d of %d packets were lost, for at most %s; the hub was back after %s",
			lost, sent, longest, returned.Sub(died))
	}
	alive(m.Mesh)
	encrypted(m.Mesh)
}
