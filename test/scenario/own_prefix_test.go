//go:build lab

package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// loopback is an address of spoke2's host that spoke2 announces as a host prefix.
const loopback = "172.16.102.1"

// ownPrefixes is a network in which a routing protocol gives every spoke each site's own prefix,
// and no wider one. Its mesh has the addresses of the examples.
type ownPrefixes struct {
	*lab.Mesh
	protocol string // of the routing protocol's routes in the kernel

	// selected returns nil if the routing protocol on spoke1 has its own route to a prefix as the
	// best one.
	selected func(prefix string) error

	// monitor is the only monitor of spoke1's routes. A second one would write to the same log, and
	// the first one's probes would not tell whether the second had printed all changes.
	monitor routeMonitor
}

// startOwnPrefixes runs cygnetd and charon on the mesh of the examples, then a routing protocol by
// route, and awaits that spoke1 has spoke2's prefixes by the protocol.
func startOwnPrefixes(t *testing.T, protocol string, route func(m *lab.Mesh)) *ownPrefixes {
	t.Helper()
	m := exampleMesh(t)
	for _, s := range m.Sites() {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key made by openssl rand -base64 32\n")
		s.Charon = s.Router.Charon()
	}
	m.Spoke2.Host.IP("addr add " + loopback + "/32 dev lo")
	m.Spoke2.IP("route add " + loopback + "/32 via " + m.Spoke2.Host.Addr.String() + " dev lan0")
	runExamples(m, contrib(t, "cygnet/hub.toml"), contrib(t, "cygnet/spoke.toml"))
	route(m)
	n := &ownPrefixes{Mesh: m, protocol: protocol, monitor: monitorRoutes(m, m.Spoke1)}
	for _, x := range []struct {
		at   *lab.Site
		dst  string
		from *lab.Site
	}{
		{m.Spoke1, "172.16.2.0/24", m.Spoke2},
		{m.Spoke1, loopback, m.Spoke2},
		{m.Spoke2, "172.16.1.0/24", m.Spoke1},
	} {
		n.Await(x.at.Name+" has "+x.dst+" by "+protocol, later, func() error {
			return n.has(x.at, x.dst, m.Hub, protocol)
		})
	}
	return n
}

// has returns nil when a site's main table has a route to exactly dst via another site, by a
// protocol.
func (n *ownPrefixes) has(s *lab.Site, dst string, via *lab.Site, protocol string) error {
	routes := s.Routes("172.16.0.0/12")
	return lab.True(slices.ContainsFunc(routes, func(r lab.Route) bool {
		return r.Dst == dst && r.Gateway == via.Overlay && r.Protocol == protocol
	}), "the routes are %+v", routes)
}

// halved returns nil when a site has a shortcut to a peer's LAN as two halves, and the routing
// protocol's route to the whole LAN beside them.
func (n *ownPrefixes) halved(s, peer *lab.Site, lower, upper string) error {
	if err := n.has(s, peer.LAN.String(), n.Hub, n.protocol); err != nil {
		return err
	}
	var own []string
	for _, r := range s.Routes(peer.LAN.String()) {
		if r.Protocol == ownProtocol && r.Gateway == peer.Overlay {
			own = append(own, r.Dst)
		}
	}
	if !slices.Equal(own, []string{lower, upper}) {
		return fmt.Errorf("the daemon's routes on %s to the LAN of %s are %v", s.Name, peer.Name,
			own)
	}
	return up(s, peer)
}

// bothHalved returns nil when both spokes have a shortcut to each other as two halves.
func (n *ownPrefixes) bothHalved() error {
	if err := n.halved(n.Spoke1, n.Spoke2, "172.16.2.0/25", "172.16.2.128/25"); err != nil {
		return err
	}
	return n.halved(n.Spoke2, n.Spoke1, "172.16.1.0/25", "172.16.1.128/25")
}

// steady proves that the routes of spoke1 stay as they are while a flow sends this many packets,
// and that none of them is lost.
func (n *ownPrefixes) steady(flow *lab.Flow, packets int) {
	n.Helper()
	before, since := len(n.monitor.changes()), time.Now()
	n.Await(fmt.Sprintf("%d packets", packets), later, func() error {
		sent, _, _ := flow.Loss(since)
		return lab.True(sent >= packets, "sent %d", sent)
	})
	if now := n.monitor.changes(); len(now) != before {
		n.Errorf("the routes changed while %d packets passed: %q", packets, now[before:])
	}
	n.nothingLost(flow, since)
}

// nothingLost fails the test if a packet that a flow sent since then was lost.
func (n *ownPrefixes) nothingLost(flow *lab.Flow, since time.Time) {
	n.Helper()
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(since); lost > 0 || sent == 0 {
		n.Errorf("%s: %d of %d packets lost, for at most %s", flow.Name, lost, sent, longest)
	}
}

// inHostTable returns nil when a site has exactly these routes in the table for host routes, and
// the rule that leads there if and only if it has any.
func (n *ownPrefixes) inHostTable(s *lab.Site, want ...string) error {
	out, err := s.Try("ip", "-4", "route", "show", "table", "84")
	if err != nil && len(want) > 0 {
		return err
	}
	var have []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "via" && err == nil {
			have = append(have, f[0]+" via "+f[2])
		}
	}
	if !slices.Equal(have, want) {
		return fmt.Errorf("the table for host routes has %q", have)
	}
	rules := s.Run("ip", "-4", "rule")
	return lab.True(strings.Contains(rules, "32084:\tfrom all lookup 84 proto 84") ==
		(len(want) > 0), "the rules are\n%s", rules)
}

// comesStaysAndGoes proves the promises about a shortcut beside a route to the very prefix: it
// comes, stays, and goes without a loss, and the routing protocol's own route stays.
func (n *ownPrefixes) comesStaysAndGoes() {
	n.Helper()
	one, two := n.Spoke1, n.Spoke2
	flow := one.Host.Flow(two.Host.Addr, time.Millisecond)
	begin := time.Now()
	n.Await("shortcuts as halves", soon, n.bothHalved)
	n.steady(flow, 3000)
	if err := n.selected("172.16.2.0/24"); err != nil {
		n.Errorf("beside the shortcut: %v", err)
	}
	n.shows("172.16.2.0/24", "halves", "172.16.2.0/25", "172.16.2.128/25")

	// Spoke2 takes its answer back, and the next one is for less.
	two.IP("route add 172.16.2.64/26 via " + n.Hub.Overlay.String() + " dev gre1 onlink")
	n.Await("another shortcut", soon, func() error {
		if err := n.has(one, "172.16.2.0/26", two, ownProtocol); err != nil {
			return err
		}
		return lab.True(n.has(one, "172.16.2.128/25", two, ownProtocol) != nil, "halves are left")
	})
	n.nothingLost(flow, begin)
	flow.Stop()
}

// shows checks what the command line shows of spoke1's shortcut to a prefix.
func (n *ownPrefixes) shows(prefix, installed string, routes ...string) {
	n.Helper()
	if err := reportsShortcut(n.Spoke1, prefix, installed); err != nil {
		n.Errorf("want %s as %s: %v", prefix, installed, err)
	}
	var own []struct {
		Prefix    string
		Installed bool
	}
	if err := n.Spoke1.CygnetJSON(&own, "routes"); err != nil {
		n.Fatalf("%v", err)
	}
	for _, r := range routes {
		if !slices.ContainsFunc(own, func(o struct {
			Prefix    string
			Installed bool
		}) bool {
			return o.Prefix == r && o.Installed
		}) {
			n.Errorf("cygnet routes shows %+v, want %s installed", own, r)
		}
	}
}

// hostPrefixComesAndGoes proves the same for a host prefix, whose shortcut is in a table of its
// own. When spoke2 withdraws the host prefix, the shortcut ends, and the routing protocol takes its
// route away from a site.
func (n *ownPrefixes) hostPrefixComesAndGoes(from *lab.Site) {
	n.Helper()
	one, two := n.Spoke1, n.Spoke2
	flow := one.Host.Flow(addr(loopback), time.Millisecond)
	flow.AnsweredBy(n.Spoke2.Host.Node)
	begin := time.Now()
	n.Await("a shortcut to the host prefix", soon, func() error {
		if err := n.inHostTable(one, loopback+" via "+two.Overlay.String()); err != nil {
			return err
		}
		return lab.True(one.NextHop(addr(loopback)) == two.Overlay, "the next hop is %s",
			one.NextHop(addr(loopback)))
	})
	n.steady(flow, 2000)
	n.nothingLost(flow, begin)
	flow.Stop()
	if err := n.has(one, loopback, n.Hub, n.protocol); err != nil {
		n.Errorf("the routing protocol's host route: %v", err)
	}
	if err := n.selected(loopback + "/32"); err != nil {
		n.Errorf("beside the shortcut: %v", err)
	}
	n.shows(loopback+"/32", "host table", loopback+"/32")
	two.IP("route del " + loopback + "/32 dev lan0")
	n.Await("the host prefix is withdrawn, and the shortcut ends", soon, func() error {
		for _, r := range from.Routes("172.16.0.0/12") {
			if r.Dst == loopback {
				return fmt.Errorf("%s has the route %+v", from.Name, r)
			}
		}
		return n.inHostTable(one)
	})
}

// perSiteFRR turns the example of a hub with FRR into one that gives the spokes each site's prefix.
func perSiteFRR(text string) string {
	return replace(text, "  aggregate-address 172.16.0.0/12 summary-only\n", "",
		"  neighbor SPOKES next-hop-self\n",
		"  neighbor SPOKES route-reflector-client\n  neighbor SPOKES next-hop-self force\n")
}

// bestInFRR returns a function that returns nil if zebra on a site has its own route of a protocol
// selected for a prefix, and in the kernel.
func bestInFRR(s *lab.Site, protocol string) func(string) error {
	return func(prefix string) error { return zebraUses(s, protocol, prefix, netip.Addr{}) }
}

// zebraUses returns nil if zebra on a site has its own route of a protocol selected for a prefix,
// and in the kernel. If a next hop is given, the route leads there.
func zebraUses(s *lab.Site, protocol, prefix string, hop netip.Addr) error {
	family := "ip"
	if strings.Contains(prefix, ":") {
		family = "ipv6"
	}
	out, err := s.Try("vtysh", "-c", "show "+family+" route "+prefix+" json")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	var routes map[string][]struct {
		Protocol            string
		Selected, Installed bool
		Nexthops            []struct{ IP string }
	}
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return fmt.Errorf("zebra's answer: %w\n%s", err, out)
	}
	for _, r := range routes[prefix] {
		there := !hop.IsValid() || len(r.Nexthops) == 1 && r.Nexthops[0].IP == hop.String()
		if there && strings.HasPrefix(r.Protocol, protocol) && r.Selected && r.Installed {
			return nil
		}
	}
	return fmt.Errorf("zebra on %s does not use its route by %s to %s:\n%s", s.Name, protocol,
		prefix, out)
}

// startPerSiteFRR starts FRR's bgpd on all sites of the examples, with each site's own prefix, and
// with BFD between the spokes and the hub.
func startPerSiteFRR(t *testing.T) func(m *lab.Mesh) {
	return func(m *lab.Mesh) {
		m.Helper()
		start := func(s *lab.Site, config string) {
			var pairs []string
			for _, peer := range []string{"SPOKES", "10.255.0.1"} {
				line := " neighbor " + peer + " timers 10 30\n"
				pairs = append(pairs, line, line+" neighbor "+peer+" bfd profile tunnel\n")
			}
			s.IntegratedFRR(bfdProfile(t)+replace(config, pairs...), "bgpd", "bfdd")
		}
		start(m.Hub, perSiteFRR(contrib(t, "frr/hub.conf")))
		start(m.Spoke1, contrib(t, "frr/spoke.conf"))
		start(m.Spoke2, another(contrib(t, "frr/spoke.conf")))
	}
}

// announcedBy checks what the hub has by BGP: each of these prefixes once, from the site that has
// it. None of the daemon's routes is among them.
func announcedBy(m *lab.Mesh, want map[string]*lab.Site) error {
	out, err := m.Hub.Try("vtysh", "-c", "show ip bgp json")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	var table struct {
		Routes map[string][]struct {
			Nexthops []struct{ IP string }
		}
	}
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		return fmt.Errorf("bgpd's answer: %w\n%s", err, out)
	}
	for prefix, paths := range table.Routes {
		s := want[prefix]
		switch {
		case s == nil:
			return fmt.Errorf("%s is announced", prefix)
		case s == m.Hub:
		case len(paths) != 1 || paths[0].Nexthops[0].IP != s.Overlay.String():
			return fmt.Errorf("%s is announced as %+v, want %s alone", prefix, paths, s.Name)
		}
	}
	return lab.True(len(table.Routes) == len(want), "announced are %v", table.Routes)
}

// With FRR's BGP, each site's own prefix in the routing table and no aggregate, shortcuts come,
// stay and go as beneath an aggregate: zebra keeps its own routes, and nothing is lost or
// announced. This holds for networks and for host prefixes.
func TestSitesPrefixesByFRR(t *testing.T) {
	n := startOwnPrefixes(t, "bgp", startPerSiteFRR(t))
	n.selected = bestInFRR(n.Spoke1, "bgp")
	n.comesStaysAndGoes()
	n.hostPrefixComesAndGoes(n.Spoke1)
	bfdBetweenSites(t, n.Mesh)
	// The withdrawal reached the hub after whatever it might have heard of the shortcuts.
	n.Await("the hub has the sites' own prefixes and no others", soon, func() error {
		return announcedBy(n.Mesh, map[string]*lab.Site{
			"172.16.0.0/24": n.Hub, "172.16.1.0/24": n.Spoke1, "172.16.2.0/24": n.Spoke2,
		})
	})
	alive(n.Mesh)
	encrypted(n.Mesh)
}

// perSiteBIRD turns the example of a hub with BIRD into one that gives the spokes each site's
// prefix.
func perSiteBIRD(text string) string {
	return replace(text, "		export where proto = \"all_sites\";\n",
		"		export where proto != \"all_sites\";\n",
		"	hold time 30;\n", "	hold time 30;\n	rr client;\n")
}

// startBIRD starts BIRD on a site.
func startBIRD(s *lab.Site) *lab.Process {
	return s.Router.Node.Start("bird", nil, "/usr/sbin/bird",
		"-f", "-c", "/etc/cygnet/bird.conf", "-s", "/run/bird.ctl")
}

// bestInBIRD returns a function that returns nil if BIRD on a site has the route of one of its
// protocols as the best one for a prefix.
func bestInBIRD(s *lab.Site, protocol string) func(string) error {
	return func(prefix string) error {
		out, err := s.Try("birdc", "-s", "/run/bird.ctl", "show", "route", "primary", prefix)
		return lab.True(err == nil && strings.Contains(out, prefix) &&
			strings.Contains(out, "["+protocol+" "), "BIRD on %s:\n%s", s.Name, out)
	}
}

// birdUses returns nil if the best route that BIRD on a site has for a prefix leads to a next hop.
func birdUses(s *lab.Site, prefix string, hop netip.Addr) error {
	out, err := s.Try("birdc", "-s", "/run/bird.ctl", "show route primary", prefix)
	return lab.True(err == nil && strings.Contains(out, "via "+hop.String()+" on gre1"),
		"BIRD on %s:\n%s", s.Name, out)
}

// The same holds with BIRD, whose routes stay in the kernel beside those of others. A restart of
// BIRD loses no more of what a shortcut leads to than of the hub's LAN.
func TestSitesPrefixesByBIRD(t *testing.T) {
	var bird *lab.Process // on spoke1
	n := startOwnPrefixes(t, "bird", func(m *lab.Mesh) {
		m.Hub.WriteFile("/etc/cygnet/bird.conf", 0o644, perSiteBIRD(contrib(t, "bird/hub.conf")))
		m.Spoke1.WriteFile("/etc/cygnet/bird.conf", 0o644, contrib(t, "bird/spoke.conf"))
		// The next hop of the host prefix is in spoke2's LAN, where nobody else finds it.
		m.Spoke2.WriteFile("/etc/cygnet/bird.conf", 0o644,
			replace(another(contrib(t, "bird/spoke.conf")),
				"		export where source != RTS_BGP;\n",
				"		export where source != RTS_BGP;\n		next hop self;\n"))
		startBIRD(m.Hub)
		startBIRD(m.Spoke2)
		bird = startBIRD(m.Spoke1)
	})
	n.selected = bestInBIRD(n.Spoke1, "hub")
	n.comesStaysAndGoes()
	n.hostPrefixComesAndGoes(n.Spoke1)
	out := n.Hub.Run("birdc", "-s", "/run/bird.ctl", "show", "route")
	for _, ours := range []string{
		"172.16.1.0/25", "172.16.1.128/25", "172.16.2.0/25", "172.16.2.128/25", "172.16.2.0/26",
	} {
		if strings.Contains(out, ours) {
			t.Errorf("the hub has a shortcut's route by BGP:\n%s", out)
		}
	}
	if !strings.Contains(out, "172.16.2.0/24") {
		t.Errorf("the hub lacks spoke2's LAN:\n%s", out)
	}
	n.losesNoMore("BIRD", n.selected, func() {
		bird.Kill()
		startBIRD(n.Spoke1)
	})
	alive(n.Mesh)
	encrypted(n.Mesh)
}

// A restart of zebra that keeps its routes (-K), and one of cygnetd, lose nothing of what shortcuts
// lead to, and leave halves and host routes alone. A restart of bgpd takes its routes away for
// seconds: what a shortcut leads to loses no more by that than the hub's LAN, to which there is no
// shortcut. With leave, the table for host routes and its rule go.
func TestRestartsBesideSitesPrefixes(t *testing.T) {
	var frr *lab.FRR
	n := startOwnPrefixes(t, "bgp", func(m *lab.Mesh) {
		m.Hub.FRR("bgpd", perSiteFRR(contrib(t, "frr/hub.conf")))
		frr = m.Spoke1.FRR("bgpd", contrib(t, "frr/spoke.conf"))
		m.Spoke2.FRR("bgpd", another(contrib(t, "frr/spoke.conf")))
	})
	one := n.Spoke1
	direct := one.Host.Flow(n.Spoke2.Host.Addr, 5*time.Millisecond)
	byHub := one.Host.Flow(n.Hub.Host.Addr, 5*time.Millisecond)
	host := one.Host.Flow(addr(loopback), 5*time.Millisecond)
	host.AnsweredBy(n.Spoke2.Host.Node)
	hostRoute := loopback + " via " + n.Spoke2.Overlay.String()
	n.Await("shortcuts as halves", soon, n.bothHalved)
	n.Await("a shortcut to the host prefix", soon, func() error {
		return n.inHostTable(one, hostRoute)
	})

	begin := time.Now()
	frr.Restart("zebra", "-K", "60")
	n.Await("zebra has the route by BGP again", soon, func() error {
		return bestInFRR(one, "bgp")("172.16.2.0/24")
	})
	byHub.Back(time.Now(), soon)
	_, lost, longest := byHub.Loss(begin)
	t.Logf("restart of zebra: %d packets lost by the hub, for at most %s", lost, longest)
	n.nothingLost(direct, begin)
	n.nothingLost(host, begin)
	if err := errors.Join(n.bothHalved(), n.inHostTable(one, hostRoute)); err != nil {
		t.Errorf("after zebra's restart: %v", err)
	}

	before := len(n.monitor.changes())
	begin = time.Now()
	one.Daemon.Kill()
	one.Daemon.Start()
	n.Await("cygnetd on spoke1 shows the shortcut", soon, func() error {
		return reportsShortcut(one, "172.16.2.0/24", "halves")
	})
	n.nothingLost(direct, begin)
	n.nothingLost(host, begin)
	direct.Stop()
	byHub.Stop()
	if changes := n.monitor.changes(); len(changes) != before {
		t.Errorf("a restart of cygnetd changed routes: %q", changes[before:])
	}

	n.losesNoMore("bgpd", learnedByBgpd(frr), func() { frr.Restart("bgpd") })
	n.Await("shortcuts as halves again", soon, n.bothHalved)
	alive(n.Mesh)
	one.Cygnet("leave")
	n.Await("nothing of the host routes is left", soon, func() error { return n.inHostTable(one) })
	encrypted(n.Mesh)
}

// learnedByBgpd returns a function that returns nil if bgpd has a valid path to a prefix.
func learnedByBgpd(bgpd *lab.FRR) func(string) error {
	return func(prefix string) error {
		var bgp struct{ Paths []struct{ Valid bool } }
		if err := bgpd.Show(&bgp, "show bgp ipv4 unicast "+prefix); err != nil {
			return err
		}
		return lab.True(len(bgp.Paths) > 0 && bgp.Paths[0].Valid, "bgpd has %+v for %s",
			bgp.Paths, prefix)
	}
}

// losesNoMore proves that a restart of spoke1's routing protocol loses no more of what a shortcut
// leads to than of the hub's LAN, to which there is no shortcut. learned returns nil if the program
// that was started has learned a route to a prefix.
func (n *ownPrefixes) losesNoMore(what string, learned func(prefix string) error, restart func()) {
	n.Helper()
	one := n.Spoke1
	direct := one.Host.Flow(n.Spoke2.Host.Addr, 5*time.Millisecond)
	byHub := one.Host.Flow(n.Hub.Host.Addr, 5*time.Millisecond)
	n.Await("a shortcut", soon, func() error { return up(one, n.Spoke2) })
	begin := time.Now()
	restart()
	// The kernel may still have the routes of the program that has ended. So ask the new program.
	n.Await("the routes by "+what+" are back", later, func() error {
		for _, prefix := range []string{n.Hub.LAN.String(), n.Spoke2.LAN.String()} {
			if err := learned(prefix); err != nil {
				return err
			}
			if err := n.has(one, prefix, n.Hub, n.protocol); err != nil {
				return err
			}
		}
		return nil
	})
	for _, f := range []*lab.Flow{byHub, direct} {
		f.Back(time.Now(), soon)
	}
	_, without, _ := byHub.Loss(begin)
	sent, with, _ := direct.Loss(begin)
	n.Logf("restart of %s: of %d packets %d lost by shortcut, %d by the hub", what, sent, with,
		without)
	if with > without {
		n.Errorf("restart of %s: %d lost by shortcut, %d by the hub", what, with, without)
	}
	byHub.Stop()
	direct.Stop()
}

// reportsShortcut returns nil when the daemon of a site reports a shortcut to a prefix with a
// placement.
func reportsShortcut(s *lab.Site, prefix, installed string) error {
	var shortcuts []struct{ Prefix, Installed, State string }
	if err := s.CygnetJSON(&shortcuts, "shortcuts"); err != nil {
		return err
	}
	for _, x := range shortcuts {
		if x.Prefix == prefix && x.Installed == installed && x.State == "up" {
			return nil
		}
	}
	return fmt.Errorf("cygnet shortcuts shows %+v", shortcuts)
}
