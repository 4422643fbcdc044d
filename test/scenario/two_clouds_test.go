//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/test/lab"
)

// member is a router's part in one cloud. Its site has the router's overlay address and NBMA
// address there.
type member struct {
	*lab.Site
	device string
}

// cloud is one of two DMVPNs that the same spokes are in.
type cloud struct {
	hub    *lab.Site
	spokes [2]member
}

// twoClouds is the network of the examples for two clouds with a hub each. Both hubs are in one
// LAN, whose host sends by the second.
type twoClouds struct {
	*lab.Mesh
	first, second cloud
	routing       [2]*lab.FRR // on the spokes
	atFirst       *lab.FRR    // on the first hub
}

// newTwoClouds starts the routers with the examples as they are, but for the timers of BFD: those
// are five times as long, since a guest may stand still for longer than the examples allow. Each
// spoke has two addresses on one line.
func newTwoClouds(t *testing.T) *twoClouds {
	t.Helper()
	return newClouds(t, contrib(t, "cygnet/two-clouds-spoke.toml"),
		func(_, s *lab.Site, number int) netip.Addr {
			second := addr(fmt.Sprintf("198.51.100.%d", 111+number))
			s.IP("addr add " + second.String() + "/24 dev eth0")
			return second
		})
}

// newClouds starts the routers, of which the spokes have that configuration. The function line
// connects a spoke with the second cloud's hub, and returns the spoke's address there.
func newClouds(
	t *testing.T, asSpoke string, line func(hub, s *lab.Site, number int) netip.Addr,
) *twoClouds {
	t.Helper()
	c := &twoClouds{Mesh: exampleMesh(t)}
	c.first.hub = c.Hub
	c.second.hub = &lab.Site{
		Router:  c.Router("hub2", lab.Addr("198.51.100.2/24")),
		Overlay: addr("10.254.0.1"),
		Public:  addr("198.51.100.2"),
	}
	c.second.hub.JoinLAN(c.Hub.Router, "172.16.0.2/24")
	c.Hub.Host.IP("route replace default via 172.16.0.2")
	example := func(name string) string {
		return replace(contrib(t, name), "interval 300", "interval 1500")
	}
	ofSecond := func(text string) string {
		return replace(text, "10.255.0.", "10.254.0.", `"198.51.100.1"`, `"198.51.100.2"`,
			"hub.example.net", "hub2.example.net", "= 42", "= 43")
	}
	asHub, routes := example("cygnet/hub.toml"), example("frr/linked-hub.conf")
	c.atFirst = c.start(c.first.hub, asHub, replace(routes, "10.255.0.2", "172.16.0.2"))
	c.start(c.second.hub, ofSecond(asHub), ofSecond(replace(routes, "10.255.0.2", "172.16.0.1")))

	routes = example("frr/two-clouds-spoke.conf")
	for i, s := range []*lab.Site{c.Spoke1, c.Spoke2} {
		there := *s
		there.Overlay = addr(fmt.Sprintf("10.254.0.%d", 11+i))
		there.Public = line(c.second.hub, s, i)
		own := func(text string) string {
			return replace(text, "10.255.0.11", s.Overlay.String(),
				"10.254.0.11", there.Overlay.String(), "198.51.100.111", there.Public.String(),
				"198.51.100.11", s.Public.String(), "spoke1", s.Name)
		}
		c.routing[i] = c.start(s, own(asSpoke), own(routes))
		there.Charon = s.Charon
		c.first.spokes[i], c.second.spokes[i] = member{s, "gre1"}, member{&there, "gre2"}
	}
	return c
}

// start starts charon, the daemon and FRR on a router.
func (c *twoClouds) start(s *lab.Site, config, routes string) *lab.FRR {
	c.Helper()
	s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
	s.Charon = s.Router.Charon()
	s.Daemon = s.Cygnetd(config)
	return s.IntegratedFRR(routes, "bgpd", "bfdd")
}

// leads awaits that the spokes' routes to all sites lead to a cloud's hub, and that BGP has the
// offers of so many hubs.
func (c *twoClouds) leads(to cloud, offers int) {
	c.Helper()
	for number := range to.spokes {
		c.leadsOf(number, to, offers)
	}
}

// leadsOf awaits the same of one spoke.
func (c *twoClouds) leadsOf(number int, to cloud, offers int) {
	c.Helper()
	s := to.spokes[number]
	c.Await(s.Name+" has its route to all sites via "+to.hub.Name, later, func() error {
		var bgp struct{ Paths []struct{ Valid bool } }
		err := c.routing[number].Show(&bgp, "show bgp ipv4 unicast 172.16.0.0/12")
		if err != nil {
			return err
		}
		hop := s.NextHop(c.Hub.Host.Addr)
		return lab.True(hop == to.hub.Overlay && len(bgp.Paths) == offers,
			"next hop %s, BGP has %+v", hop, bgp.Paths)
	})
}

// direct awaits that each spoke sends what is for the other's LAN straight to the other, in one
// cloud.
func (c *twoClouds) direct(in cloud) {
	c.Helper()
	for i, s := range in.spokes {
		peer := in.spokes[1-i]
		c.Await("a shortcut from "+s.Name+" by "+s.device, soon, func() error {
			hop, at := s.NextHop(peer.Host.Addr), s.Neighbors(s.device)[peer.Overlay]
			if hop != peer.Overlay || at != peer.Public {
				return fmt.Errorf("the next hop is %s, and %s is at %s", hop, peer.Overlay, at)
			}
			return secured(s.Site, peer.Site)
		})
	}
}

// givenUp awaits that bgpd on the first hub has given the spokes up. It runs on while the hub is
// dead. If a spoke's new connection came in the moment in which the old one is reset, FRR's bgpd
// (8.4.4) might send that spoke keepalives and no route.
func (c *twoClouds) givenUp() {
	c.Helper()
	c.Await("bgpd on the first hub has given the spokes up", later, func() error {
		var summary struct {
			Peers map[string]struct{ State string }
		}
		if err := c.atFirst.Show(&summary, "show bgp ipv4 unicast summary"); err != nil {
			return err
		}
		for _, s := range c.first.spokes {
			if p := summary.Peers[s.Overlay.String()]; p.State == "Established" {
				return fmt.Errorf("it has a session with %s: %+v", s.Name, summary.Peers)
			}
		}
		return lab.True(len(summary.Peers) > 0, "it has no peers at all")
	})
}

// watched awaits that BFD on the spokes is up with both hubs.
func (c *twoClouds) watched() {
	c.Helper()
	c.Await("BFD with both hubs is up", later, func() error {
		for i, s := range c.first.spokes {
			if err := bfdUp(c.routing[i], 2); err != nil {
				return fmt.Errorf("on %s %w", s.Name, err)
			}
		}
		return nil
	})
}

// Two clouds with a hub each: the spokes prefer the first cloud, by BGP. When its hub dies without
// a word, BFD tells the spokes, and their traffic goes by the second cloud: at once by its hub, and
// a moment later directly there. When the first hub is back, so is the traffic. What goes directly
// between the spokes loses nothing by that.
func TestTwoClouds(t *testing.T) {
	c := newTwoClouds(t)
	toHub := c.Spoke1.Host.Flow(c.Hub.Host.Addr, beat)
	between := c.Spoke1.Host.Flow(c.Spoke2.Host.Addr, beat)
	c.leads(c.first, 2)
	c.direct(c.first)
	c.watched()
	toHub.Back(time.Now(), soon)
	between.Back(time.Now(), soon)

	died := time.Now()
	c.first.hub.Die()
	c.leads(c.second, 1)
	toHub.Back(time.Now(), soon)
	_, _, longest := toHub.Loss(died)
	t.Logf("the hubs' LAN was away for %s", longest.Round(time.Millisecond))
	c.direct(c.second)

	c.givenUp()
	returned := time.Now()
	c.first.hub.Return()
	c.leads(c.first, 2)
	c.direct(c.first)
	for flow, since := range map[*lab.Flow]time.Time{toHub: returned, between: died} {
		flow.Back(time.Now(), soon)
		if sent, lost, longest := flow.Loss(since); lost > 0 || sent == 0 {
			t.Errorf("%s: %d of %d packets lost, for at most %s", flow.Name, lost, sent, longest)
		}
	}
	alive(c.Mesh)
	encrypted(c.Mesh)
}

// bfdUp returns nil when BFD on a router has exactly so many neighbours and is up with all.
func bfdUp(frr *lab.FRR, neighbors int) error {
	var peers []struct{ Peer, Status string }
	if err := frr.Show(&peers, "show bfd peers"); err != nil {
		return err
	}
	for _, p := range peers {
		if p.Status != "up" {
			return fmt.Errorf("BFD has %+v", peers)
		}
	}
	return lab.True(len(peers) == neighbors, "BFD has %+v", peers)
}
