//go:build lab

package scenario

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"cygnet/test/lab"
)

// ospfd returns the configuration of FRR's OSPF on a site: a non-broadcast network with the hub in
// its centre, whose neighbours have to be named.
func ospfd(s *lab.Site, priority int, neighbors ...*lab.Site) string {
	config := fmt.Sprintf("interface gre1\n ip ospf network non-broadcast\n ip ospf priority %d\n"+
		" ip ospf hello-interval 2\n ip ospf dead-interval 8\n"+
		" ip ospf bfd\n ip ospf bfd profile tunnel\nexit\n"+
		"router ospf\n ospf router-id %s\n passive-interface lan0\n"+
		" network 10.255.0.0/24 area 0\n network 172.16.0.0/12 area 0\n", priority, s.Overlay)
	for _, n := range neighbors {
		config += " neighbor " + n.Overlay.String() + " poll-interval 2\n"
	}
	return config
}

// With OSPF on a non-broadcast network, the route to a site leads to that spoke itself (phase 2).
// The direct way comes and stays, OSPF's own routes are the ones in use, and nothing is lost.
func TestNextHopsByOSPF(t *testing.T) {
	m := exampleMesh(t)
	one, two := m.Spoke1, m.Spoke2
	for _, s := range m.Sites() {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key made by openssl rand -base64 32\n")
		s.Charon = s.Router.Charon()
	}
	runExamples(m, contrib(t, "cygnet/hub.toml"), contrib(t, "cygnet/spoke.toml"))
	for s, config := range map[*lab.Site]string{
		m.Hub: ospfd(m.Hub, 10, one, two), one: ospfd(one, 0, m.Hub), two: ospfd(two, 0, m.Hub),
	} {
		s.IntegratedFRR(bfdProfile(t)+config, "ospfd", "bfdd")
	}
	n := &ownPrefixes{Mesh: m, protocol: "ospf", selected: bestInFRR(one, "ospf"),
		monitor: monitorRoutes(m, one)}
	m.Await("OSPF has the routes between the spokes", later, func() error {
		if err := n.has(one, "172.16.2.0/24", two, "ospf"); err != nil {
			return err
		}
		return n.has(two, "172.16.1.0/24", one, "ospf")
	})
	// Until spoke2 is secured, packets wait in the kernel, which keeps some 250 of them.
	first := one.Host.Flow(two.Host.Addr, 20*time.Millisecond)
	begin := time.Now()
	m.Await("the direct way", soon, func() error {
		if err := up(one, two); err != nil {
			return err
		}
		return up(two, one)
	})
	flow := one.Host.Flow(two.Host.Addr, time.Millisecond)
	n.steady(flow, 2000)
	n.nothingLost(first, begin)
	first.Stop()
	flow.Stop()
	if err := n.selected("172.16.2.0/24"); err != nil {
		t.Errorf("beside the direct way: %v", err)
	}
	bfdStaysUp(m, map[*lab.Site]int{m.Hub: 2, one: 1, two: 1})
	alive(m)
	encrypted(m)
}

// announcedByOSPF checks what the routers announce by OSPF: each of these prefixes, by the site
// that has it. None of the daemon's routes is among them.
func announcedByOSPF(m *lab.Mesh, want map[string]*lab.Site) error {
	out, err := m.Hub.Try("vtysh", "-c", "show ip ospf database external json")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	var database struct {
		AsExternalLinkStates []struct {
			LinkStateID, AdvertisingRouter string
			LSAAge, NetworkMask            int
		}
	}
	if err := json.Unmarshal([]byte(out), &database); err != nil {
		return fmt.Errorf("ospfd's answer: %w\n%s", err, out)
	}
	const withdrawn = 3600 // the age of an LSA that its router has withdrawn
	have, by := make(map[string]string), make(map[string]string)
	for _, x := range database.AsExternalLinkStates {
		if x.LSAAge < withdrawn {
			have[fmt.Sprintf("%s/%d", x.LinkStateID, x.NetworkMask)] += x.AdvertisingRouter
		}
	}
	for prefix, s := range want {
		by[prefix] = s.Overlay.String()
	}
	return lab.True(maps.Equal(have, by), "announced are %v, want %v", have, by)
}

// With OSPF point-to-multipoint, by the examples and what doc/routing.md adds to them, the routes
// to the sites lead to the hub (phase 3), and the same holds as with BGP.
func TestSitesPrefixesByOSPF(t *testing.T) {
	n := startOwnPrefixes(t, "ospf", func(m *lab.Mesh) {
		spoke := contrib(t, "frr/ospf-spoke.conf")
		for s, config := range map[*lab.Site]string{
			m.Hub: contrib(t, "frr/ospf-hub.conf"), m.Spoke1: spoke, m.Spoke2: another(spoke),
		} {
			s.IntegratedFRR(bfdProfile(t)+config+
				lab.Snippet(t, routingPage, "! OSPF, point-to-multipoint")+
				lab.Snippet(t, routingPage, "! OSPF, BFD"), "ospfd", "bfdd")
		}
	})
	n.selected = bestInFRR(n.Spoke1, "ospf")
	n.comesStaysAndGoes()
	// FRR's hub does not pass on the withdrawal (doc/limits.md).
	n.hostPrefixComesAndGoes(n.Hub)
	bfdBetweenSites(t, n.Mesh)
	n.Await("the hub has the sites' own prefixes and no others", soon, func() error {
		return announcedByOSPF(n.Mesh, map[string]*lab.Site{
			"172.16.0.0/24": n.Hub, "172.16.1.0/24": n.Spoke1, "172.16.2.0/24": n.Spoke2,
		})
	})
	alive(n.Mesh)
	encrypted(n.Mesh)
}
