//go:build lab

package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// commands returns the commands of a program that the comments of an example give, each
// as the words behind the program's name.
func commands(text, program string) [][]string {
	var found [][]string
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "!   "+program+" "); ok {
			found = append(found, strings.Fields(command))
		}
	}
	return found
}

// nhrpdExample runs one of the examples for FRR's nhrpd on a site, as it stands: its IPsec, its
// tunnel, its firewall rules, nhrpd and ospfd.
func nhrpdExample(m *lab.Mesh, s *lab.Site, text string) *frrSite {
	m.Helper()
	s.WriteFile("/etc/swanctl/swanctl.conf", 0o600, replace(contrib(m, "swanctl/frr.conf"),
		"198.51.100.11", s.Public.String(), "spoke1.example.net", s.Name+".example.net",
		"the key that the other routers have", psk))
	s.Charon = s.Router.Charon()
	s.Run("swanctl", "--load-all")
	for _, c := range commands(text, "ip") {
		s.IP(strings.Join(c, " "))
	}
	for _, c := range commands(text, "iptables") {
		s.Iptables(c...)
	}
	return &frrSite{Site: s, FRR: s.IntegratedFRR(text, "nhrpd", "ospfd")}
}

// psk is the key that the routers of an example have in common.
const psk = "a key made by openssl rand -base64 32"

// ospfExample runs the examples for Cygnet and for OSPF on a site, with what they need beside
// nhrpd: a host address on the tunnel, and OSPF's point-to-multipoint.
func ospfExample(m *lab.Mesh, s *lab.Site, toml, ospf string) {
	m.Helper()
	s.WriteFile("/etc/cygnet/gre1.psk", 0o600, psk+"\n")
	s.Charon = s.Router.Charon()
	s.Daemon = s.Cygnetd(replace(toml, s.Overlay.String()+"/24", s.Overlay.String()+"/32"))
	s.IntegratedFRR(
		replace(ospf, "ip ospf network broadcast", "ip ospf network point-to-multipoint"), "ospfd")
}

// byOSPF returns nil when a site's kernel has the route to another site's LAN through a router, and
// FRR's ospfd made that route.
func byOSPF(s, to, through *lab.Site) error {
	for _, r := range s.Routes(to.LAN.String()) {
		if r.Dst == to.LAN.String() && r.Gateway == through.Overlay && r.Protocol == "ospf" {
			return nil
		}
	}
	return fmt.Errorf("%s has %+v", s.Name, s.Routes("0.0.0.0/0"))
}

// ospfAmong awaits the routes of OSPF between all sites, and a shortcut beneath them between our
// spoke and FRR's.
func ospfAmong(m *lab.Mesh, two *frrSite) {
	m.Helper()
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		registered(m, s, soon)
		m.Await(s.Name+" has the hub's LAN by OSPF", later, func() error {
			return byOSPF(s, m.Hub, m.Hub)
		})
		m.Await("the hub has the LAN of "+s.Name+" by OSPF", later, func() error {
			return byOSPF(m.Hub, s, s)
		})
	}
	for _, pair := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
		m.Await(pair[0].Name+" has the LAN of "+pair[1].Name+" by OSPF", later, func() error {
			return byOSPF(pair[0], pair[1], m.Hub)
		})
	}
	shortcutWith(m, m.Spoke1, two)
	m.Spoke1.Host.Ping(two.Host.Addr, 10)
	encrypted(m)
	alive(m)
}

// A spoke with FRR's nhrpd and its multicast maps, and a spoke of ours, are OSPF neighbours of our
// hub under IPsec, and find each other beneath OSPF's routes.
func TestOSPFWithFRRSpokeUnderOurHub(t *testing.T) {
	m := exampleMesh(t)
	ospfExample(m, m.Hub, contrib(t, "cygnet/hub.toml"), contrib(t, "frr/ospf-hub.conf"))
	ospfExample(m, m.Spoke1, contrib(t, "cygnet/spoke.toml"), contrib(t, "frr/ospf-spoke.conf"))
	ospfAmong(m, nhrpdExample(m, m.Spoke2, nhrpdSpoke2(t)))
}

// The same under a hub with FRR's nhrpd.
func TestOSPFWithOurSpokeUnderFRRHub(t *testing.T) {
	m := exampleMesh(t)
	nhrpdExample(m, m.Hub, contrib(t, "frr/nhrpd-hub.conf"))
	ospfExample(m, m.Spoke1, contrib(t, "cygnet/spoke.toml"), contrib(t, "frr/ospf-spoke.conf"))
	ospfAmong(m, nhrpdExample(m, m.Spoke2, nhrpdSpoke2(t)))
}

// nhrpd has no priorities of its NHSs: an FRR spoke registers with all of them, and the routing
// protocol says which hub it uses. It goes to our second hub when the first one dies.
func TestFRRSpokeWithTwoHubs(t *testing.T) {
	m := exampleMesh(t)
	hub2 := &lab.Site{
		Router:  m.Router("hub2", lab.Addr("198.51.100.2/24")),
		Overlay: addr("10.255.0.2"),
		Public:  addr("198.51.100.2"),
	}
	hub2.JoinLAN(m.Hub.Router, "172.16.0.2/24")
	second := []string{"10.255.0.1", "10.255.0.2", "198.51.100.1", "198.51.100.2", "hub.example",
		"hub2.example", "redistribute connected", "redistribute connected metric 100"}
	hub, ospf := contrib(t, "cygnet/hub.toml"), contrib(t, "frr/ospf-hub.conf")
	ospfExample(m, m.Hub, hub, ospf)
	ospfExample(m, hub2, replace(hub, second...), replace(ospf, second...))
	nhs := " ip nhrp nhs dynamic nbma 198.51.100.1\n ip nhrp map multicast 198.51.100.1\n"
	spoke := nhrpdExample(m, m.Spoke2,
		replace(nhrpdSpoke2(t), nhs, nhs+strings.ReplaceAll(nhs, "100.1\n", "100.2\n")))
	for _, h := range []*lab.Site{m.Hub, hub2} {
		m.Await("the FRR spoke is registered with "+h.Name, soon, func() error {
			if at := h.Neighbors("gre1")[spoke.Overlay]; at != spoke.Public {
				return fmt.Errorf("the neighbour %s of %s is at %s", spoke.Overlay, h.Name, at)
			}
			return spoke.knows(h, "nhs")
		})
		m.Await(h.Name+" has the spoke's LAN by OSPF", later, func() error {
			return byOSPF(h, spoke.Site, spoke.Site)
		})
	}
	m.Await("the spoke uses the first hub", later, func() error {
		return byOSPF(spoke.Site, m.Hub, m.Hub)
	})

	m.Hub.Die()
	began := time.Now()
	m.Await("the spoke uses the second hub", later, func() error {
		for _, r := range spoke.Routes("172.16.0.0/24") {
			if r.Gateway != hub2.Overlay {
				return fmt.Errorf("the route is %+v", r)
			}
		}
		return spoke.Host.Reaches(addr("172.16.0.2"))
	})
	t.Logf("the spoke uses the second hub after %s", time.Since(began))
	encrypted(m)
}

// nhrpdSpoke2 returns the example of a spoke with nhrpd, as spoke2 has it.
func nhrpdSpoke2(t lab.T) string {
	t.Helper()
	return replace(another(contrib(t, "frr/nhrpd-spoke.conf")), "198.51.100.11", "198.51.100.12")
}
