//go:build lab

package contrib

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

const routingPage = "../doc/routing.md"

// design is a routing design of the examples, as one scenario runs it.
type design struct {
	examples  string              // the examples are DAEMON/EXAMPLES-hub.conf and -spoke.conf
	with      string              // further examples of FRR, for IPv6, in the same file
	protocol  string              // the protocol of FRR's routes
	daemons   map[string]string   // the folder of each router's example: frr or bird
	ipv6      bool                // the tunnel and the networks have IPv6 addresses
	both      bool                // and IPv4 addresses, too: both families are on one tunnel
	linkLocal bool                // the next hops of IPv6 are link-local addresses
	nat       bool                // spoke2 is behind NAT
	over6     bool                // the underlay is IPv6 only
	change    func(string) string // changes each example; nil: they stay as they are
	cygnet    func(string) string // changes each cygnet.toml; nil: they stay as they are
	direct    bool                // the routes lead straight to the other spokes: phase 2
}

// frrDaemons are FRR's daemons for the examples of a design.
var frrDaemons = map[string]string{
	"reflector": "bgpd",
	"ebgp":      "bgpd",
	"ospf":      "ospfd",
	"ospf6":     "ospf6d",
}

// Route reflectors keep the next hops: spokes have each other as next hops and talk directly from
// the first packet on. FRR and BIRD work together.
func TestReflector(t *testing.T) {
	design{
		examples: "reflector", protocol: "bgp", direct: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "bird"},
	}.run(t)
}

// The same with IPv6 in the tunnel, and BIRD on the hub.
func TestReflectorIPv6(t *testing.T) {
	design{
		examples: "reflector", protocol: "bgp", direct: true, ipv6: true,
		daemons: map[string]string{"hub": "bird", "spoke1": "frr", "spoke2": "bird"},
	}.run(t)
}

// Spokes with AS numbers of their own have one route for all sites, and shortcuts beneath it. FRR
// and BIRD work together.
func TestEBGP(t *testing.T) {
	design{
		examples: "ebgp", protocol: "bgp",
		daemons: map[string]string{"hub": "frr", "spoke1": "bird", "spoke2": "frr"},
	}.run(t)
}

// The same with IPv6 in the tunnel, and BIRD on the hub.
func TestEBGPIPv6(t *testing.T) {
	design{
		examples: "ebgp", protocol: "bgp", ipv6: true,
		daemons: map[string]string{"hub": "bird", "spoke1": "frr", "spoke2": "bird"},
	}.run(t)
}

// OSPF finds its neighbours over the tunnel, because cygnetd sends what is for groups to all
// spokes. The hub is the designated router, the spokes have each other as next hops. FRR and BIRD
// work together.
func TestOSPF(t *testing.T) {
	design{
		examples: "ospf", protocol: "ospf", direct: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "bird"},
	}.run(t)
}

// The same with BIRD on the hub.
func TestOSPFByBIRD(t *testing.T) {
	design{
		examples: "ospf", protocol: "ospf", direct: true,
		daemons: map[string]string{"hub": "bird", "spoke1": "bird", "spoke2": "frr"},
	}.run(t)
}

// OSPF needs no multicast where the hub names its neighbours, as doc/routing.md shows.
func TestOSPFNonBroadcast(t *testing.T) {
	design{
		examples: "ospf", protocol: "ospf", direct: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "frr"},
		cygnet: func(config string) string {
			return strings.Replace(config, "\nkey ", "\nmulticast = []\nkey ", 1)
		},
		change: func(config string) string {
			config = strings.Replace(config, "network broadcast", "network non-broadcast", 1)
			if !strings.Contains(config, "ip ospf priority 10\n") {
				return config
			}
			return config + lab.Snippet(t, routingPage, "! OSPF, non-broadcast, on the hub")
		},
	}.run(t)
}

// OSPFv3 names link-local addresses as next hops. They lead to the routers whose overlay addresses
// have the same last 64 bits, behind NAT too.
func TestOSPFv3(t *testing.T) {
	design{
		examples: "ospf6", protocol: "ospf", direct: true, ipv6: true, linkLocal: true, nat: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "bird"},
	}.run(t)
}

// The same with BIRD on the hub.
func TestOSPFv3ByBIRD(t *testing.T) {
	design{
		examples: "ospf6", protocol: "ospf", direct: true, ipv6: true, linkLocal: true,
		daemons: map[string]string{"hub": "bird", "spoke1": "frr", "spoke2": "bird"},
	}.run(t)
}

// One tunnel carries both families, and BGP has a session of each. FRR and BIRD work together.
func TestReflectorBothFamilies(t *testing.T) {
	design{
		examples: "reflector", protocol: "bgp", direct: true, both: true, nat: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "bird"},
	}.run(t)
}

// OSPF and OSPFv3 run on one tunnel, by the two examples in one configuration, with BFD for both
// and with OSPFv3's own authentication, as doc/routing.md shows them. BFD is five times as slow as
// there: a guest may stand still for longer than that allows.
func TestOSPFBothFamilies(t *testing.T) {
	const interval = 1500
	s := design{
		examples: "ospf", protocol: "ospf", direct: true, both: true, linkLocal: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "frr"},
		with:    "ospf6",
		change: func(config string) string {
			slow := strings.NewReplacer("interval 300", fmt.Sprintf("interval %d", interval))
			return slow.Replace(lab.Snippet(t, routingPage, "bfd")) + config +
				lab.Snippet(t, routingPage, "! OSPF, BFD") + lab.Snippet(t, routingPage, "! OSPFv3, BFD") +
				lab.Snippet(t, routingPage, "! OSPFv3, authentication")
		},
	}.run(t)
	show := func(v any, what string) error {
		out, err := s.hub.Try("vtysh", "-c", "show "+what+" json")
		if err == nil {
			err = json.Unmarshal([]byte(out), v)
		}
		if err != nil {
			return fmt.Errorf("show %s: %w\n%s", what, err, out)
		}
		return nil
	}
	s.Await("the hub has BFD with both spokes by OSPF and by OSPFv3", 60*time.Second, func() error {
		var sessions []struct {
			Peer, Status string
			Interval     int `json:"transmit-interval"`
		}
		if err := show(&sessions, "bfd peers"); err != nil {
			return err
		}
		up := make(map[string]bool)
		for _, x := range sessions {
			up[x.Peer] = x.Status == "up" && x.Interval == interval
		}
		want := map[string]bool{
			"10.255.0.11": true, "10.255.0.12": true, "fe80::11": true, "fe80::12": true,
		}
		return lab.True(maps.Equal(up, want), "the sessions are %+v", sessions)
	})
	var interfaces map[string]struct{ AuthInfo struct{ AuthType string } }
	if err := show(&interfaces, "ipv6 ospf6 interface gre1"); err != nil {
		t.Fatal(err)
	}
	if have := interfaces["gre1"].AuthInfo.AuthType; have != "manualkey" {
		t.Errorf("want OSPFv3 authenticated by a manual key, have %q", have)
	}
}

// The same over an underlay of IPv6 only: each router replicates what is for groups to devices of
// its peers.
func TestOSPFOverIPv6(t *testing.T) {
	design{
		examples: "ospf", protocol: "ospf", direct: true, both: true, linkLocal: true, over6: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "frr"},
		with:    "ospf6",
	}.run(t)
}

// run runs the examples on a hub and two spokes, and proves that the routing daemons have the
// routes that the design promises and that traffic between the spokes goes the direct way. It
// returns the routers.
func (d design) run(t *testing.T) *sites {
	s := d.sites(t)
	ipv4 := [2]netip.Addr{s.host1.Addr, s.host2.Addr}
	s.each(func(r *lab.Router, role string, own *strings.Replacer) {
		r.Charon()
		r.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
		text := own.Replace(read(t, "cygnet/"+role+".toml"))
		if d.ipv6 || d.both {
			s.readdress(r)
		}
		switch {
		case d.both:
			text = strings.NewReplacer(`"10.255.0.1/24"`, `["10.255.0.1/24", "fd00:255::1/64"]`,
				`"10.255.0.11/24"`, `["10.255.0.11/24", "fd00:255::11/64"]`,
				`"10.255.0.12/24"`, `["10.255.0.12/24", "fd00:255::12/64"]`).Replace(text)
		case d.ipv6:
			text = strings.NewReplacer(`"10.255.0.1/24"`, `"fd00:255::1/64"`,
				`"10.255.0.11/24"`, `"fd00:255::11/64"`,
				`"10.255.0.12/24"`, `"fd00:255::12/64"`).Replace(text)
		}
		if d.over6 {
			text = toIPv6.Replace(text)
		}
		if d.cygnet != nil {
			text = d.cygnet(text)
		}
		r.Cygnetd(text)
	})
	s.each(func(r *lab.Router, role string, own *strings.Replacer) {
		config := own.Replace(read(t, d.daemons[r.Name]+"/"+d.examples+"-"+role+".conf"))
		if r == s.spoke2 {
			config = strings.NewReplacer("fd00:255::11", "fd00:255::12", "65011", "65012").
				Replace(config)
		}
		daemons := []string{frrDaemons[d.examples]}
		if d.with != "" {
			daemons = append(daemons, frrDaemons[d.with])
			config += strings.NewReplacer("route-map SITE", "route-map SITE6",
				"prefix-list SITES", "prefix-list SITES6").
				Replace(own.Replace(read(t, "frr/"+d.with+"-"+role+".conf")))
		}
		if d.change != nil {
			config = d.change(config)
		}
		if strings.Contains(config, "bfd profile") {
			daemons = append(daemons, "bfdd")
		}
		switch d.daemons[r.Name] {
		case "frr":
			r.IntegratedFRR(config, daemons...)
		case "bird":
			startBIRD(r, config)
		}
	})
	if d.both {
		first, ipv6 := d, [2]netip.Addr{s.host1.Addr, s.host2.Addr}
		first.linkLocal = false
		s.host1.Addr, s.host2.Addr = ipv4[0], ipv4[1]
		first.awaitRoutes(s)
		first.awaitDirect(t, s)
		s.host1.Addr, s.host2.Addr = ipv6[0], ipv6[1]
		d.ipv6 = true
	}
	d.awaitRoutes(s)
	d.awaitDirect(t, s)
	return s
}

// sites makes the routers and hosts of the design.
func (d design) sites(t *testing.T) *sites {
	t.Helper()
	if d.over6 {
		return newSitesIPv6(t)
	}
	return newSitesNAT(t, d.nat)
}

// startBIRD starts BIRD with a configuration.
func startBIRD(r *lab.Router, config string) {
	r.WriteFile("/etc/cygnet/bird.conf", 0o644, config)
	r.Start("bird", nil, "/usr/sbin/bird",
		"-f",
		"-c", "/etc/cygnet/bird.conf",
		"-s", "/run/bird.ctl")
}

// readdress gives a router's LAN and its host IPv6 addresses, which take the place of the others.
func (s *sites) readdress(r *lab.Router) {
	r.Run("sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1")
	number := map[*lab.Router]int{s.spoke1: 1, s.spoke2: 2}[r]
	r.IP(fmt.Sprintf("addr add fd00:172:%d::1/64 dev lan0 nodad", number))
	if h := map[*lab.Router]*lab.Host{s.spoke1: s.host1, s.spoke2: s.host2}[r]; h != nil {
		h.Addr = netip.MustParseAddr(fmt.Sprintf("fd00:172:%d::2", number))
		h.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", h.Addr),
			fmt.Sprintf("route add default via fd00:172:%d::1", number))
	}
}

// in returns the text for the family of the design.
func (d design) in(ipv4, ipv6 string) string {
	if d.ipv6 {
		return ipv6
	}
	return ipv4
}

// awaitRoutes waits until the routing daemons have given every router the routes of the design.
func (d design) awaitRoutes(s *sites) {
	s.Helper()
	all := d.in("172.16.0.0/12", "fd00:172::/32")
	site0 := d.in("172.16.0.0/24", "fd00:172::/64")
	site1 := d.in("172.16.1.0/24", "fd00:172:1::/64")
	site2 := d.in("172.16.2.0/24", "fd00:172:2::/64")
	hub := netip.MustParseAddr(d.in("10.255.0.1", "fd00:255::1"))
	spoke1 := netip.MustParseAddr(d.in("10.255.0.11", "fd00:255::11"))
	spoke2 := netip.MustParseAddr(d.in("10.255.0.12", "fd00:255::12"))
	if d.linkLocal {
		hub, spoke1, spoke2 = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::11"),
			netip.MustParseAddr("fe80::12")
	}
	want := map[*lab.Router]map[string]netip.Addr{
		s.hub:    {site1: spoke1, site2: spoke2},
		s.spoke1: {all: hub},
		s.spoke2: {all: hub},
	}
	if d.direct {
		want[s.spoke1] = map[string]netip.Addr{site0: hub, site2: spoke2}
		want[s.spoke2] = map[string]netip.Addr{site0: hub, site1: spoke1}
	}
	for r, routes := range want {
		protocol := "bird"
		if d.daemons[r.Name] == "frr" {
			protocol = d.protocol
		}
		for prefix, hop := range routes {
			s.Await(fmt.Sprintf("%s has %s via %s", r.Name, prefix, hop), 90*time.Second,
				func() error {
					for _, route := range r.Routes(all) {
						if route.Dst == prefix && route.Gateway == hop &&
							route.Protocol == protocol {
							return nil
						}
					}
					return fmt.Errorf("the routes are %+v", r.Routes(all))
				})
		}
	}
}

// awaitDirect waits until traffic between the spokes goes the direct way. In phase 2 that is the
// only way that it ever goes. It fails the test if a GRE packet crossed the underlay without IPsec.
func (d design) awaitDirect(t *testing.T, s *sites) {
	t.Helper()
	atHub, atSpoke2 := s.hub.Capture("gre1"), s.spoke2.Capture("gre1")
	between := func(p lab.Packet) bool { return p.Src == s.host1.Addr && p.Dst == s.host2.Addr }
	s.Await("the hosts reach each other", 60*time.Second, func() error {
		return s.host1.Reaches(s.host2.Addr)
	})
	if n := atHub.Count(between); d.direct && n > 0 {
		// The hub may carry packets only if the direct way takes longer than two seconds, as on a
		// slow machine: the daemon then relays through the hub, and says so.
		s.Await(fmt.Sprintf("spoke1 says why %d packets went through the hub", n), 30*time.Second,
			func() error {
				events := s.spoke1.Cygnet("events")
				const relayed = "traffic to a router goes through the NHS"
				return lab.True(strings.Contains(events, relayed), "the events are\n%s", events)
			})
	}
	straight := func(p lab.Packet) bool {
		// What came over IPv6 has no outer header any more. The hub's capture is the proof then.
		return between(p) && (d.over6 || p.Link == s.spoke1.NBMA)
	}
	byHub := 0
	s.Await("spoke1 sends straight to spoke2", 60*time.Second, func() error {
		before := atHub.Count(between)
		if err := s.host1.Reaches(s.host2.Addr); err != nil {
			return err
		}
		byHub = atHub.Count(between)
		return lab.True(atSpoke2.Count(straight) > 0 && (!d.over6 || byHub == before),
			"all came by the hub")
	})
	s.host1.Ping(s.host2.Addr, 10)
	if n := atHub.Count(between) - byHub; d.direct && n > 0 {
		t.Errorf("%d packets went through the hub after that", n)
	}
	if n := s.Underlay.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("%d packets of clear GRE on the underlay", n)
	}
}
