//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// secondHub is a cloud of two hubs and three spokes with the addresses of the examples. The first
// two spokes speak a routing protocol, spoke1 by FRR and spoke2 by BIRD. The third one announces
// its network to cygnetd alone. Both hubs have the network of a service, as hubs of one data centre
// do.
type secondHub struct {
	*lab.Mesh
	second, third *lab.Site
	centre        *lab.Host // in the LAN of the first hub: it may run BIRD
	ipv6          bool
}

// hubLAN is the first hub's address in its LAN.
const hubLAN = "172.16.0.1"

// The second hub of doc/routing.md works as the page shows it, with FRR and BIRD on hubs and
// spokes: a reflector that keeps the next hops, eBGP, and OSPF point-to-multipoint. Spokes prefer
// the first hub, go over to the second one when BFD tells them, and come back, while traffic
// between the spokes loses nothing. What a spoke announces to cygnetd goes on by the protocol, to
// the spokes or to a router of a data centre.
func TestSecondHub(t *testing.T) {
	c := startSecondHub(t, false)
	for _, d := range []secondHubDesign{
		{
			examples: "ospf", only: true, first: "frr", second: "frr", shortcuts: "halves",
			toCentre: fmt.Sprintf("router ospf\n network %s area 0\nexit\n", c.Hub.LAN),
			centre: "protocol ospf v2 { ipv4 { import all; export none; }; " +
				"area 0 { interface \"eth0\" { hello 10; dead 40; }; }; }\n",
			atCentre: []string{"172.16.1.0/24", "172.16.0.0/12"},
		},
		{
			examples: "ospf", only: true, first: "bird", second: "bird", shortcuts: "halves",
		},
		{
			examples: "ebgp", first: "frr", second: "bird",
			moves: "172.16.0.0/12", shortcuts: "whole",
			// The data centre gets every site's prefix, the spokes only the one for all.
			toCentre: fmt.Sprintf(`router bgp 65000
 neighbor %[1]s remote-as external
 address-family ipv4 unicast
  neighbor %[1]s activate
  neighbor %[1]s unsuppress-map EVERY
 exit-address-family
exit
route-map EVERY permit 10
exit
`, c.centre.Addr),
			centre: fmt.Sprintf("protocol bgp hub { local as 65100; neighbor %s as 65000; "+
				"connect retry time 5; ipv4 { import all; export none; }; }\n", hubLAN),
			atCentre: []string{"172.16.1.0/24", "172.16.3.0/24"},
		},
		{
			examples: "reflector", first: "bird", second: "frr",
			moves: "172.16.200.0/24", announced: "172.16.3.0/24",
		},
	} {
		c.run(d)
	}
	encrypted(c.Mesh)
}

// The same holds with IPv6 in the tunnel.
func TestSecondHubIPv6(t *testing.T) {
	c := startSecondHub(t, true)
	for _, d := range []secondHubDesign{
		{
			examples: "ospf6", only: true, first: "bird", second: "bird", shortcuts: "halves",
		},
		{
			examples: "ebgp", first: "bird", second: "frr",
			moves: "fd00:172::/32", shortcuts: "whole",
		},
		{
			examples: "reflector", first: "frr", second: "bird",
			moves: "fd00:172:200::/64", announced: "fd00:172:3::/64",
		},
	} {
		c.run(d)
	}
	encrypted(c.Mesh)
}

// startSecondHub runs charon and cygnetd on all routers, and awaits that the hubs know the spokes.
func startSecondHub(t *testing.T, ipv6 bool) *secondHub {
	t.Helper()
	m := exampleMesh(t)
	c := &secondHub{Mesh: m, centre: m.Hub.Host, ipv6: ipv6, second: &lab.Site{
		Router:  m.Router("hub2", lab.Addr("198.51.100.2/24")),
		Overlay: addr("10.255.0.2"),
		Public:  addr("198.51.100.2"),
	}}
	c.third = &lab.Site{
		Router:  m.Router("spoke3", lab.Addr("198.51.100.13/24"), lab.LAN("172.16.3.1/24")),
		Overlay: addr("10.255.0.13"),
		Public:  addr("198.51.100.13"),
	}
	c.third.Host = c.third.Router.Host("spoke3-pc")
	for _, s := range append(m.Sites(), c.second, c.third) {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
		s.Charon = s.Router.Charon()
		if ipv6 {
			c.readdress(s)
		}
	}
	for _, s := range []*lab.Site{m.Hub, c.second} {
		s.IP("addr add " + c.in("172.16.200.1/24", "fd00:172:200::1/64 nodad") + " dev lo")
	}
	hub := c.text(replace(contrib(t, "cygnet/hub.toml"), "redirect = true",
		"accept = [\"172.16.0.0/12\"]\nredirect = true"))
	spoke := c.text(replace(contrib(t, "cygnet/spoke.toml"),
		`nhs      = [{ nbma = "198.51.100.1" }]`,
		// A guest that stands still for longer than the usual 3 s must not end direct paths.
		`nhs = [{ nbma = "198.51.100.1" }, { nbma = "198.51.100.2" }]
path_timeout = "15s"`))
	m.Hub.Daemon = m.Hub.Cygnetd(hub)
	c.second.Daemon = c.second.Cygnetd(asSecond(hub))
	m.Spoke1.Daemon = m.Spoke1.Cygnetd(spoke)
	m.Spoke2.Daemon = m.Spoke2.Cygnetd(asSpoke(spoke, 2))
	c.third.Daemon = c.third.Cygnetd(replace(asSpoke(spoke, 3), "shortcut = true",
		fmt.Sprintf("announce = [%q]\nshortcut = true", c.in("172.16.3.0/24", "fd00:172:3::/64"))))
	c.third.IP("route add " + c.sites() + " via " + m.Hub.Overlay.String() + " dev gre1 onlink")
	for _, h := range []*lab.Site{m.Hub, c.second} {
		registeredWithHub(m, h, soon, m.Spoke1, m.Spoke2)
		m.Await(h.Name+" has the announced network", soon, func() error {
			return c.has(h, c.in("172.16.3.0/24", "fd00:172:3::/64"), c.third.Overlay, ownProtocol)
		})
	}
	return c
}

// in returns the text for the family of the overlay.
func (c *secondHub) in(ipv4, ipv6 string) string {
	if c.ipv6 {
		return ipv6
	}
	return ipv4
}

// sites is the prefix that all sites' networks are in.
func (c *secondHub) sites() string { return c.in("172.16.0.0/12", "fd00:172::/32") }

// service is the address that both hubs have.
func (c *secondHub) service() netip.Addr { return addr(c.in("172.16.200.1", "fd00:172:200::1")) }

// text puts IPv6 addresses into a configuration of cygnetd, if the overlay has them.
func (c *secondHub) text(config string) string {
	if !c.ipv6 {
		return config
	}
	return replace(config, "10.255.0.1/24", "fd00:255::1/64", "10.255.0.11/24", "fd00:255::11/64",
		"172.16.0.0/12", "fd00:172::/32")
}

// readdress gives a site and its LAN IPv6 addresses in the place of those of the examples.
func (c *secondHub) readdress(s *lab.Site) {
	last := s.Overlay.As4()[3]
	s.Overlay = addr(fmt.Sprintf("fd00:255::%d", last))
	s.Run("sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1")
	if s.Host == nil {
		return
	}
	number := s.Host.Addr.As4()[2]
	s.Host.Addr = addr(fmt.Sprintf("fd00:172:%d::2", number))
	s.IP(fmt.Sprintf("addr add fd00:172:%d::1/64 dev lan0 nodad", number))
	s.Host.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", s.Host.Addr),
		fmt.Sprintf("route add default via fd00:172:%d::1", number))
}

// asSecond turns the configuration of the first hub into that of the second one.
func asSecond(text string) string {
	return replace(text, "10.255.0.1", "10.255.0.2", "198.51.100.1", "198.51.100.2",
		"fd00:255::1", "fd00:255::2", "hub.example.net", "hub2.example.net")
}

// asSpoke turns the example of spoke1 into that of another spoke.
func asSpoke(text string, number int) string {
	return replace(text, "10.255.0.11", fmt.Sprintf("10.255.0.1%d", number),
		"fd00:255::11", fmt.Sprintf("fd00:255::1%d", number),
		"spoke1", fmt.Sprintf("spoke%d", number), "65011", fmt.Sprintf("6501%d", number))
}

// has returns nil when a node has a route to exactly dst via a next hop, by a protocol.
func (c *secondHub) has(n interface{ Routes(string) []lab.Route }, dst string, hop netip.Addr,
	protocol string) error {
	routes := n.Routes(c.sites())
	return lab.True(slices.ContainsFunc(routes, func(r lab.Route) bool {
		return r.Dst == dst && r.Gateway == hop && r.Protocol == protocol
	}), "the routes are %+v", routes)
}

// run proves that a design does what doc/routing.md promises of a second hub, and ends its routing
// daemons.
func (c *secondHub) run(d secondHubDesign) {
	c.Helper()
	begin := time.Now()
	stop := c.start(d)
	c.via(d, c.Hub)
	c.bothOffer(d)
	c.announcedGoesOn(d)
	one, two := c.Spoke1, c.Spoke2
	direct := one.Host.Flow(two.Host.Addr, beat)
	c.awaitDirect(d)
	alive(c.Mesh)
	ready := time.Now()
	c.Hub.Lose(100)
	c.via(d, c.second)
	moved := time.Now()
	c.Hub.Lose(0)
	c.via(d, c.Hub)
	back := time.Now()
	direct.Back(back, soon)
	if sent, lost, longest := direct.Loss(ready); lost > 0 || sent == 0 {
		c.Errorf("with %s, %d of %d packets between the spokes were lost, for at most %s",
			d.examples, lost, sent, longest)
	}
	direct.Stop()
	c.Logf("%s: ready after %s, routes moved after %s, back after %s", d.examples,
		ready.Sub(begin).Round(time.Millisecond), moved.Sub(ready).Round(time.Millisecond),
		back.Sub(moved).Round(time.Millisecond))
	stop()
	for _, s := range []*lab.Site{one, two} {
		c.Await("the routes of "+d.examples+" are gone from "+s.Name, soon, func() error {
			hop := s.NextHop(c.service())
			return lab.True(!hop.IsValid(), "next hop %s", hop)
		})
	}
}

// start starts the routing daemons of a design, and returns what ends them.
func (c *secondHub) start(d secondHubDesign) (stop func()) {
	c.Helper()
	var ends []func()
	run := func(s *lab.Site, daemon, config string) {
		if daemon == "frr" {
			ends = append(ends, s.IntegratedFRR(config, d.daemon(), "bfdd").Stop)
			return
		}
		s.WriteFile("/etc/cygnet/bird.conf", 0o644, config)
		ends = append(ends, startBIRD(s).Terminate)
	}
	run(c.Hub, d.first, c.hubConfig(d, d.first)+d.toCentre)
	run(c.second, d.second, c.secondConfig(d, d.second))
	spokes := c.daemons(d)
	run(c.Spoke1, spokes[c.Spoke1], c.spokeConfig(d, spokes[c.Spoke1]))
	run(c.Spoke2, spokes[c.Spoke2], asSpoke(c.spokeConfig(d, spokes[c.Spoke2]), 2))
	if d.centre != "" {
		c.centre.WriteFile("/etc/cygnet/bird.conf", 0o644,
			"router id "+c.centre.Addr.String()+";\n"+"protocol device { scan time 10; }\nprotocol direct { ipv4; }\n"+
				"protocol kernel { ipv4 { export where source != RTS_DEVICE; }; }\n"+d.centre)
		ends = append(ends, c.centre.Node.Start("bird", nil, "/usr/sbin/bird",
			"-f", "-c", "/etc/cygnet/bird.conf", "-s", "/run/bird.ctl").Terminate)
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

// via awaits that both spokes have the design's routes by a hub, in the tables of their routing
// daemons and in the kernel's, and that their hosts reach the service.
func (c *secondHub) via(d secondHubDesign, hub *lab.Site) {
	c.Helper()
	hop := d.hop(hub)
	for s, daemon := range c.daemons(d) {
		dst := c.moves(d, s)
		what := fmt.Sprintf("%s has %s via %s by %s of %s", s.Name, dst, hub.Name, d.examples,
			daemon)
		c.Await(what, later, func() error {
			if daemon == "bird" {
				return errors.Join(birdUses(s, dst, hop), c.has(s, dst, hop, "bird"))
			}
			return errors.Join(zebraUses(s, d.protocol(), dst, hop),
				c.has(s, dst, hop, d.protocol()))
		})
	}
	for _, s := range []*lab.Site{c.Spoke1, c.Spoke2} {
		c.Await(s.Host.Name+" reaches the service by "+hub.Name, later, func() error {
			return s.Host.Reaches(c.service())
		})
	}
}

// daemons is the daemon of each of the spokes that speak the routing protocol.
func (c *secondHub) daemons(d secondHubDesign) map[*lab.Site]string {
	if d.only {
		return map[*lab.Site]string{c.Spoke1: d.first, c.Spoke2: d.first}
	}
	return map[*lab.Site]string{c.Spoke1: "frr", c.Spoke2: "bird"}
}

// moves is the prefix of a design whose route on a spoke leads by the hub in use.
func (c *secondHub) moves(d secondHubDesign, s *lab.Site) string {
	if d.moves != "" {
		return d.moves
	}
	other := map[*lab.Site]*lab.Site{c.Spoke1: c.Spoke2, c.Spoke2: c.Spoke1}[s]
	return c.lan(other)
}

// lan is the prefix of a site's LAN.
func (c *secondHub) lan(s *lab.Site) string {
	bits := 24
	if c.ipv6 {
		bits = 64
	}
	return netip.PrefixFrom(s.Host.Addr, bits).Masked().String()
}

// bothOffer awaits that the spokes have BFD with both hubs, and the routes of both.
func (c *secondHub) bothOffer(d secondHubDesign) {
	c.Helper()
	for s, daemon := range c.daemons(d) {
		ask := []string{"vtysh", "-c"}
		bfd, offer, word := "show bfd peers brief", "show bgp "+c.in("ipv4", "ipv6")+" unicast "+
			d.moves, " from "
		up := " up"
		if daemon == "bird" {
			ask = []string{"birdc", "-s", "/run/bird.ctl"}
			bfd, offer, word, up = "show bfd sessions", "show route "+d.moves, " on gre1", " Up "
		}
		if d.ospf() {
			word = "Full"
			offer = map[string]string{
				"frr":  "show " + c.in("ip ospf neighbor", "ipv6 ospf6 neighbor"),
				"bird": "show ospf neighbors",
			}[daemon]
		}
		c.Await("BFD with both hubs is up on "+s.Name, later, func() error {
			return printsTimes(s, 2, up, append(ask, bfd)...)
		})
		c.Await(s.Name+" has what both hubs offer by "+d.examples, later, func() error {
			return printsTimes(s, 2, word, append(ask, offer)...)
		})
	}
}

// printsTimes returns nil when the output of a command on a site has a word this many times.
func printsTimes(s *lab.Site, count int, word string, command ...string) error {
	out, err := s.Try(command[0], command[1:]...)
	return lab.True(err == nil && strings.Count(out, word) == count, "%v:\n%s", err, out)
}

// announcedGoesOn awaits that a spoke or the data centre has what spoke3 announces to cygnetd, and
// that they reach its host.
func (c *secondHub) announcedGoesOn(d secondHubDesign) {
	c.Helper()
	if d.announced != "" {
		c.Await("spoke1 has the announced network by "+d.examples, later, func() error {
			return c.has(c.Spoke1, d.announced, d.hop(c.third), d.protocol())
		})
	}
	c.Await("spoke1's host reaches spoke3's", later, func() error {
		return c.Spoke1.Host.Reaches(c.third.Host.Addr)
	})
	for _, dst := range d.atCentre {
		c.Await("the data centre has "+dst, later, func() error {
			return c.has(c.centre, dst, addr(hubLAN), "bird")
		})
	}
	if d.centre != "" {
		c.Await("the data centre reaches spoke3's host", later, func() error {
			return c.centre.Reaches(c.third.Host.Addr)
		})
	}
}

// awaitDirect awaits that traffic between the spokes goes the direct way, in the kernels too: the
// daemon calls a shortcut up before the kernel has its route.
func (c *secondHub) awaitDirect(d secondHubDesign) {
	c.Helper()
	for s, other := range map[*lab.Site]*lab.Site{c.Spoke1: c.Spoke2, c.Spoke2: c.Spoke1} {
		c.Await(s.Name+" sends straight to "+other.Name, soon, func() error {
			if err := up(s, other); err != nil || d.shortcuts == "" {
				return err
			}
			return reportsShortcut(s, c.lan(other), d.shortcuts)
		})
	}
}
