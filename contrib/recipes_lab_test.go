//go:build lab

package contrib

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// provided are sites whose underlay is an Internet: each has a network of its own, and a provider
// forwards between them. A server is in another network of the Internet.
type provided struct {
	*sites
	provider *lab.Router
	server   *lab.Host
}

// gateways has the provider's address in the network of each site.
var gateways = map[string]string{
	"hub": "198.51.100.254", "spoke1": "203.0.113.254", "spoke2": "192.0.2.254",
}

// newProvided makes the routers and hosts. No daemon runs on them yet, and the routers have no
// default route.
func newProvided(t *testing.T) *provided {
	t.Helper()
	n := lab.New(t)
	p := &provided{sites: &sites{Net: n}}
	p.provider = n.Router("provider", lab.Addr("198.51.100.254/24"), lab.LAN("198.18.0.1/24"))
	p.provider.IP("addr add 203.0.113.254/24 dev eth0", "addr add 192.0.2.254/24 dev eth0")
	p.server = p.provider.Host("server")
	p.hub = n.Router("hub", lab.Addr("198.51.100.1/24"), lab.LAN("172.16.0.1/24"))
	p.spoke1 = n.Router("spoke1", lab.Addr("203.0.113.11/24"), lab.LAN("172.16.1.1/24"))
	p.spoke2 = n.Router("spoke2", lab.Addr("192.0.2.12/24"), lab.LAN("172.16.2.1/24"))
	p.host1, p.host2 = p.spoke1.Host("host1"), p.spoke2.Host("host2")
	for _, r := range []*lab.Router{p.hub, p.spoke1, p.spoke2} {
		r.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
	}
	return p
}

// snippet returns an example of a recipe; see lab.Snippet.
func snippet(t *testing.T, recipe, first string) string {
	t.Helper()
	return lab.Snippet(t, "../doc/recipes/"+recipe+".md", first)
}

// shell runs an example of commands on a router, with arguments.
func shell(r *lab.Router, commands string, args ...string) {
	r.Run("sh", append([]string{"-ec", commands, "sh"}, args...)...)
}

// awaitDefault waits until a router has a default route through the tunnel, by the hub.
func (p *provided) awaitDefault(r *lab.Router) {
	p.Helper()
	p.Await(r.Name+" has a default route through the tunnel", 90*time.Second, func() error {
		hop := r.NextHop(p.server.Addr)
		return lab.True(hop == netip.MustParseAddr("10.255.0.1"), "the next hop is %v", hop)
	})
}

// awaitRule waits until a router has the rule for its underlay's address, and no other.
func (p *provided) awaitRule(r *lab.Router, address string) {
	p.Helper()
	want := "100:\tfrom " + address + " lookup "
	p.Await(r.Name+" has the rule for "+address, 30*time.Second, func() error {
		rules := r.Run("ip", "rule")
		return lab.True(strings.Contains(rules, want) && strings.Count(rules, "100:\t") == 1,
			"%s", rules)
	})
}

// awaitInternet waits until a host reaches the server by the tunnel: its packets cross the underlay
// encrypted only, until the hub sends them on.
func (p *provided) awaitInternet(t *testing.T, host *lab.Host) {
	t.Helper()
	p.Await(host.Name+" reaches the Internet", 60*time.Second, func() error {
		return host.Reaches(p.server.Addr)
	})
	if n := p.Underlay.Count(func(q lab.Packet) bool { return q.Src == host.Addr }); n > 0 {
		t.Errorf("%d packets of %s in clear on the underlay", n, host.Name)
	}
}

// awaitShortcut waits until spoke1 sends straight to spoke2.
func (p *provided) awaitShortcut(t *testing.T, from string) {
	t.Helper()
	nbma := netip.MustParseAddr(from)
	at := p.spoke2.Capture("gre1")
	straight := func(q lab.Packet) bool { return q.Src == p.host1.Addr && q.Link == nbma }
	p.Await("spoke1 sends straight to spoke2", 90*time.Second, func() error {
		if err := p.host1.Reaches(p.host2.Addr); err != nil {
			return err
		}
		return lab.True(at.Count(straight) > 0, "all came by the hub")
	})
	p.host1.Ping(p.host2.Addr, 5)
}

// healthy fails the test if a packet of GRE crossed the underlay in clear, or if one of the routers
// has a problem.
func (p *provided) healthy(t *testing.T, routers ...*lab.Router) {
	t.Helper()
	if n := p.Underlay.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("%d packets of clear GRE on the underlay", n)
	}
	for _, r := range routers {
		p.Await(r.Name+" has no problems", 60*time.Second, func() error {
			code, out := r.StatusCode()
			return lab.True(code == 0, "%s", out)
		})
	}
}

// A default route through the tunnel, by OSPF, and the underlay in a VRF of its own on all routers,
// with each of the three ways to run charon. The hub's own default route leads to a firewall in
// its LAN. The underlay's device is deleted and made again, with another address.
func TestFrontDoorVRF(t *testing.T) {
	p := newProvided(t)
	const recipe = "front-door-vrf"
	firewall := p.hub.Host("firewall")
	firewall.IP("addr add 198.18.1.1/32 dev lo")
	inside := netip.MustParseAddr("198.18.1.1")
	p.hub.IP("route add default via " + firewall.Addr.String())
	charons := map[*lab.Router]func(){
		p.hub: func() {
			p.hub.Run("sysctl", "-q", "-p", vrfSysctl(t, p.hub))
			p.hub.DebianCharon(read(t, "swanctl/charon-cygnet.conf") +
				read(t, "swanctl/charon-vrf.conf"))
		},
		p.spoke1: func() {
			p.spoke1.Run("sysctl", "-q", "-p", vrfSysctl(t, p.spoke1))
			p.spoke1.Charon()
		},
		p.spoke2: func() {
			if !strings.Contains(read(t, "systemd/strongswan-vrf.conf"), "ip vrf exec inet ") {
				t.Error("the drop-in does not run charon in the VRF of the recipe")
			}
			p.spoke2.CharonIn("inet")
		},
	}
	up := snippet(t, recipe, "# The underlay has a new address: wan-up ADDRESS/LENGTH GATEWAY")
	toml := snippet(t, recipe, "# /etc/cygnet/cygnet.toml") + "\n" +
		snippet(t, recipe, "[interface.gre1.ipsec]")
	p.each(func(r *lab.Router, role string, own *strings.Replacer) {
		shell(r, snippet(t, recipe, "# The VRF of the underlay"))
		p.pppoe(r, up, r.NBMA)
		charons[r]()
		config := own.Replace(toml)
		if r == p.hub {
			config = strings.NewReplacer(`nhs          = [{ nbma = "198.51.100.1" }]`, "",
				"shortcut     = true", "redirect = true",
				"10.255.0.11", "10.255.0.1", "spoke1", "hub").Replace(config)
		}
		r.Cygnetd(config)
	})
	p.each(func(r *lab.Router, role string, own *strings.Replacer) {
		// The times are shorter than the example's, since OSPF first waits the dead interval. Some
		// two seconds without the hub, when the address changes, must end no neighbour: the route
		// would go for a moment after the traffic is back.
		config := strings.NewReplacer("hello-interval 5", "hello-interval 1",
			"dead-interval 20", "dead-interval 10").
			Replace(own.Replace(read(t, "frr/ospf-"+role+".conf")))
		if r == p.hub {
			config += snippet(t, recipe, "! The hub announces its own default route to the spokes")
		}
		r.IntegratedFRR(config, "ospfd")
	})
	reaches := func(host *lab.Host) {
		t.Helper()
		p.Await(host.Name+" reaches the Internet", 90*time.Second, func() error {
			return host.Reaches(inside)
		})
	}
	p.awaitDefault(p.spoke1)
	p.awaitDefault(p.spoke2)
	reaches(p.host1)
	reaches(p.host2)
	p.awaitShortcut(t, "203.0.113.11")
	p.awaitRule(p.spoke1, "203.0.113.11")
	p.healthy(t, p.hub, p.spoke1, p.spoke2)

	p.spoke1.IP("link del wan0")
	p.pppoe(p.spoke1, up, netip.MustParseAddr("203.0.113.21"))
	p.awaitRule(p.spoke1, "203.0.113.21")
	reaches(p.host1)
	p.awaitShortcut(t, "203.0.113.21")
	p.healthy(t, p.spoke1)

	p.spoke1.Cygnet("leave")
	if rules := p.spoke1.Run("ip", "rule"); strings.Contains(rules, "lookup 100") {
		t.Errorf("the rule is left after a goodbye:\n%s", rules)
	}
	reaches(p.host2)
}

// vrfSysctl gives a router the example of sysctl for VRFs, and returns its path.
func vrfSysctl(t *testing.T, r *lab.Router) string {
	t.Helper()
	const path = "/etc/cygnet/61-cygnet-vrf.conf"
	r.WriteFile(path, 0o644, read(t, "sysctl/61-cygnet-vrf.conf"))
	return path
}

// pppoe makes wan0, which goes to the provider by eth0, and has the recipe set it up.
func (p *provided) pppoe(r *lab.Router, up string, address netip.Addr) {
	r.IP("addr flush dev eth0", "link add wan0 type bridge", "link set eth0 master wan0")
	shell(r, up, fmt.Sprintf("%s/24", address), gateways[r.Name])
}

// Spokes with nothing but a default route by BGP through the hub: the Internet is at the hub, and
// shortcuts lead to other spokes. A DHCP client gets another address, somebody removes the rule,
// and the line to the provider goes and comes.
func TestCentralBreakout(t *testing.T) {
	p := newProvided(t)
	const recipe = "central-breakout"
	up := snippet(t, recipe, "# The underlay has a new address: wan-up ADDRESS/LENGTH GATEWAY")
	toml := snippet(t, recipe, "# /etc/cygnet/cygnet.toml") + "\n" +
		snippet(t, recipe, "[interface.gre1.ipsec]")
	p.hub.IP("route add default via " + gateways["hub"])
	shell(p.hub, snippet(t, recipe, "# The Internet for the sites"))
	p.each(func(r *lab.Router, role string, own *strings.Replacer) {
		r.Charon()
		if r == p.hub {
			r.Cygnetd(read(t, "cygnet/hub.toml"))
			return
		}
		shell(r, up, r.NBMA.String()+"/24", gateways[r.Name])
		r.Cygnetd(own.Replace(toml))
	})
	const hub = "! A hub that gives its spokes a default route and nothing else: /etc/frr/frr.conf"
	p.hub.IntegratedFRR("frr defaults traditional\n"+snippet(t, recipe, hub), "bgpd")
	p.spoke1.IntegratedFRR(read(t, "frr/spoke.conf"), "bgpd")
	const before = "import where net ~ SITES;\n\t\texport where source != RTS_BGP;"
	bird := strings.ReplaceAll(read(t, "bird/spoke.conf"), "10.255.0.11", "10.255.0.12")
	if !strings.Contains(bird, before) {
		t.Fatalf("the example has no %q", before)
	}
	startBIRD(p.spoke2, strings.Replace(bird, before,
		snippet(t, recipe, "import where net = 0.0.0.0/0;")+"export where source != RTS_BGP;", 1))

	p.awaitDefault(p.spoke1)
	p.awaitDefault(p.spoke2)
	p.awaitInternet(t, p.host1)
	p.awaitInternet(t, p.host2)
	p.awaitShortcut(t, "203.0.113.11")
	p.awaitRule(p.spoke1, "203.0.113.11")
	p.healthy(t, p.hub, p.spoke1, p.spoke2)

	p.spoke1.IP("rule del priority 100")
	p.awaitRule(p.spoke1, "203.0.113.11")
	shell(p.spoke1, up, "203.0.113.21/24", gateways["spoke1"])
	p.awaitRule(p.spoke1, "203.0.113.21")
	p.awaitDefault(p.spoke1)
	p.awaitInternet(t, p.host1)
	p.awaitShortcut(t, "203.0.113.21")
	p.healthy(t, p.spoke1)
}

// The sites by the tunnel, and the Internet by each site's own line. What is for the sites never
// leaves for the Internet.
func TestSplitBreakout(t *testing.T) {
	p := newProvided(t)
	p.each(func(r *lab.Router, role string, own *strings.Replacer) {
		r.IP("route add default via " + gateways[r.Name])
		if r != p.hub {
			shell(r, snippet(t, "split-breakout",
				"# The Internet for this site, and nothing else"))
		}
	})
	if err := p.host1.Reaches(p.host2.Addr); err == nil {
		t.Error("the sites reach each other without a tunnel")
	}
	p.each(func(r *lab.Router, role string, own *strings.Replacer) {
		r.Charon()
		r.Cygnetd(own.Replace(read(t, "cygnet/"+role+".toml")))
		startBIRD(r, own.Replace(read(t, "bird/"+role+".conf")))
	})
	p.sites.awaitRoutes("bird")
	direct := p.Underlay.Count(func(q lab.Packet) bool { return q.Dst == p.server.Addr })
	p.host1.Ping(p.server.Addr, 3)
	own := func(q lab.Packet) bool { return q.Src == p.spoke1.NBMA && q.Dst == p.server.Addr }
	if n := p.Underlay.Count(own); n < 3 || direct > 0 {
		t.Errorf("%d packets went to the Internet by the site's own line", n)
	}
	p.awaitShortcut(t, "203.0.113.11")
	for _, h := range []*lab.Host{p.host1, p.host2} {
		leaked := func(q lab.Packet) bool { return q.Dst == h.Addr || q.Src == h.Addr }
		if n := p.Underlay.Count(leaked); n > 0 {
			t.Errorf("%d packets of %s in clear on the underlay", n, h.Name)
		}
	}
	p.healthy(t, p.hub, p.spoke1, p.spoke2)
}
