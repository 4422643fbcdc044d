//go:build lab

package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

const (
	tenantsPage  = "../../doc/recipes/overlays-in-vrfs.md"
	secretOfBlue = "a key that the routers of blue share\n"
)

// tenant is one of the tenants of doc/recipes/overlays-in-vrfs.md: what each router has for it.
type tenant struct {
	vrf, device         string
	table               int
	hub, spoke1, spoke2 *lab.Site
}

// look has the routers' tables read in the tenant's VRF from now on.
func (n tenant) look() {
	for _, s := range []*lab.Site{n.hub, n.spoke1, n.spoke2} {
		s.LookInto(n.vrf, n.table)
	}
}

// direct keeps traffic going between the spokes' hosts until both spokes send what is for the
// other's LAN straight to the other, through an SA between the tenant's underlay addresses. A
// question that had no usable answer is asked again only when another packet comes.
func (n tenant) direct(m *lab.Mesh) {
	m.Helper()
	n.look()
	flow := n.spoke1.Host.Flow(n.spoke2.Host.Addr, 50*time.Millisecond)
	for _, pair := range [][2]*lab.Site{{n.spoke1, n.spoke2}, {n.spoke2, n.spoke1}} {
		from, to := pair[0], pair[1]
		m.Await("a direct way from "+from.Name+" in "+n.vrf, later, func() error {
			hop, at := from.NextHop(to.Host.Addr), from.Neighbors(n.device)[to.Overlay]
			if hop != to.Overlay || at != to.Public {
				return fmt.Errorf("next hop %s, and %s is at %s", hop, to.Overlay, at)
			}
			return secured(from, to)
		})
	}
	flow.Stop()
}

// newTenants makes the network of the page, with its VRFs. Both tenants have one underlay address
// on each router, or one each. Nothing runs on it yet.
func newTenants(t *testing.T, oneAddress bool) (m *lab.Mesh, blue, red tenant) {
	m = exampleMesh(t)
	blue = tenant{"blue", "gre1", 10, m.Hub, m.Spoke1, m.Spoke2}
	var second []*lab.Site
	for number, s := range m.Sites() {
		there := *s
		if !oneAddress {
			there.Public = addr(strings.Replace(s.Public.String(), "100.", "100.1", 1))
			if s == m.Hub {
				there.Public = addr("198.51.100.101")
			}
			s.IP("addr add " + there.Public.String() + "/24 dev eth0")
		}
		there.Router = s.SecondLAN(fmt.Sprintf("172.16.%d.1/24", number))
		there.Host = there.Router.Host(s.Name + "-red")
		for line := range strings.Lines(
			lab.Snippet(t, tenantsPage, "# VRFs of two tenants, with their LANs")) {
			if command, is := strings.CutPrefix(strings.TrimSpace(line), "ip "); is {
				s.IP(command)
			}
		}
		second = append(second, &there)
	}
	return m, blue, tenant{"red", "gre2", 20, second[0], second[1], second[2]}
}

// asSpoke2 turns a text of the page for the spoke into that for the second one.
func asSpoke2(text string) string {
	return replace(text, "10.255.0.11", "10.255.0.12", "198.51.100.111", "198.51.100.112",
		"198.51.100.11", "198.51.100.12", "spoke1", "spoke2")
}

// onOneAddress turns a configuration of the page into one with both tenants on the first one's
// address. They share the SAs, and so have one identity and one secret.
func onOneAddress(text string) string {
	return replace(text, "198.51.100.101", "198.51.100.1", "198.51.100.111", "198.51.100.11",
		"gre2.psk", "gre1.psk", ".blue.", ".", ".red.", ".")
}

// perKey turns a configuration of the page into one with both tenants on the first one's address
// and an SA pair for each, by its own identities and secret.
func perKey(text string) string {
	return replace(text, "198.51.100.101", "198.51.100.1", "198.51.100.111", "198.51.100.11",
		"key      = 42", "key      = 2752554", "key      = 43", "key      = 2818091",
		"psk_file        = ", "sa = \"per-key\"\npsk_file = ")
}

// startTenants starts the daemons of the page on all routers, with cygnetd's configurations as
// change has them.
func startTenants(m *lab.Mesh, red tenant, change func(string) string) {
	m.Helper()
	text := func(first string) string { return lab.Snippet(m, tenantsPage, first) }
	hub, spoke := change(text("# The hub of two tenants")), change(text("# A spoke of two tenants"))
	configs := []string{hub, spoke, asSpoke2(spoke)}
	for i, s := range m.Sites() {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, secretOfBlue)
		s.WriteFile("/etc/cygnet/gre2.psk", 0o600, "a key that the routers of red share\n")
		s.Charon = s.Router.Charon()
		s.Daemon = s.Cygnetd(configs[i])
	}
	red.hub.Charon, red.spoke1.Charon, red.spoke2.Charon =
		m.Hub.Charon, m.Spoke1.Charon, m.Spoke2.Charon
	m.Hub.IntegratedFRR(text("! Blue, the hub: BGP")+text("! Red, the hub: OSPF"), "bgpd", "ospfd")
	m.Spoke1.IntegratedFRR(text("! Blue, a spoke: BGP")+text("! Red, a spoke: OSPF"),
		"bgpd", "ospfd")
	m.Spoke2.IntegratedFRR(asSpoke2(text("! Blue, a spoke: BGP")), "bgpd")
	m.Spoke2.WriteFile("/etc/cygnet/bird.conf", 0o644,
		asSpoke2(text("# Red, a spoke: OSPF with BIRD")))
	m.Spoke2.Router.Start("bird", nil, "/usr/sbin/bird",
		"-f", "-c", "/etc/cygnet/bird.conf", "-s", "/run/bird.ctl")
}

// Two tenants have the same addresses on the same routers, in a VRF each: the page runs as it
// stands. Blue has shortcuts beneath BGP's one route for all sites, red has OSPF's routes to each
// site, by multicast over the tunnel, with FRR and BIRD. What is sent in one VRF comes out in that
// VRF and nowhere else.
func TestOverlaysOfTwoTenants(t *testing.T) {
	m, blue, red := newTenants(t, false)
	startTenants(m, red, func(text string) string { return text })
	served(t, m, blue, red)
	withoutProblems(m, "blue")
	encrypted(m)
	alive(m)
}

// The two tenants are on one underlay address of each router and share the SAs. A restart of all
// daemons loses no packet of either.
func TestTwoTenantsShareSAs(t *testing.T) {
	m, blue, red := newTenants(t, true)
	startTenants(m, red, onOneAddress)
	served(t, m, blue, red)
	awaitOnePair(m, m.Spoke1, m.Spoke2)
	withoutProblems(m, "blue")
	restartedUnderTraffic(m, blue, red)
	encrypted(m)
	alive(m)
}

// As TestTwoTenantsShareSAs, with an SA pair for each tenant, made by the tenant's own identities
// and secret. The secret of one tenant makes no SA of the other.
func TestTwoTenantsHaveSAsOfTheirOwn(t *testing.T) {
	m, blue, red := newTenants(t, true)
	startTenants(m, red, perKey)
	served(t, m, blue, red)
	awaitOwnPairs(m, m.Spoke1, m.Spoke2, "gre1", "gre2")
	withoutProblems(m, "blue")
	restartedUnderTraffic(m, blue, red)
	awaitOwnPairs(m, m.Spoke1, m.Spoke2, "gre1", "gre2")
	withSecretOfBlue(m)
	encrypted(m)
	alive(m)
}

// withSecretOfBlue starts a spoke anew with blue's secret in the place of red's. Blue takes it, and
// red does not.
func withSecretOfBlue(m *lab.Mesh) {
	m.Helper()
	s := m.Spoke2
	s.Daemon.Terminate()
	s.Charon.Terminate() // it keeps every secret that it was given
	s.WriteFile("/etc/cygnet/gre2.psk", 0o600, secretOfBlue)
	s.Charon.Start()
	s.Daemon.Start()
	m.Await("the spoke is registered in blue", later, func() error {
		return registeredIn(s, "gre1")
	})
	m.Await("the spoke's status says that red takes no such secret", later, func() error {
		st, err := status(s)
		if err != nil {
			return err
		}
		nhs := st.Interfaces[1].NHS[0]
		return lab.True(nhs.State != api.NHSRegistered && contains(nhs.Error, "PSK"), "%+v", nhs)
	})
	for _, sa := range m.Hub.Charon.With(s.Public) {
		if sa.Child == "gre-gre2" {
			m.Errorf("the hub has an SA of red with it: %+v", sa)
		}
	}
}

// restartedUnderTraffic restarts the daemons of all routers at once, with a flow in blue between
// the spokes and one in red between a spoke and the hub. Neither may lose a packet. The flows are
// slow, and have static routes besides those of BGP and OSPF: all routers are on one processor, and
// where that is too busy with the start of the daemons for OSPF's dead interval, its routes go.
func restartedUnderTraffic(m *lab.Mesh, blue, red tenant) {
	m.Helper()
	for _, s := range []*lab.Site{blue.spoke1, blue.spoke2} {
		s.IP("route add vrf blue 172.16.0.0/12 via 10.255.0.1 dev gre1 onlink metric 10")
	}
	red.spoke1.IP("route add vrf red 172.16.0.0/24 via 10.255.0.1 dev gre2 onlink metric 10")
	red.hub.IP("route add vrf red 172.16.1.0/24 via 10.255.0.11 dev gre2 onlink metric 10")
	var flows []*lab.Flow
	for _, way := range [][2]*lab.Site{{blue.spoke1, blue.spoke2}, {red.spoke1, red.hub}} {
		f := way[0].Host.Flow(way[1].Host.Addr, 20*time.Millisecond)
		f.AnsweredBy(way[1].Host.Node)
		flows = append(flows, f)
	}
	begin := time.Now()
	for _, s := range m.Sites() {
		s.Daemon.Terminate()
	}
	for _, s := range m.Sites() {
		s.Daemon.Start()
	}
	for _, n := range []tenant{blue, red} {
		n.direct(m)
		for _, s := range []*lab.Site{n.spoke1, n.spoke2} {
			m.Await(s.Name+" is registered in "+n.vrf, later, func() error {
				return registeredIn(s, n.device)
			})
		}
	}
	lossless(m, begin, flows)
	for _, f := range flows {
		f.Stop()
	}
}

// registeredIn returns nil when a spoke is registered on a tunnel.
func registeredIn(s *lab.Site, device string) error {
	st, err := status(s)
	if err != nil {
		return err
	}
	for _, i := range st.Interfaces {
		if i.Name == device && len(i.NHS) == 1 && i.NHS[0].State == api.NHSRegistered {
			return nil
		}
	}
	return fmt.Errorf("the interfaces are %+v", st.Interfaces)
}

// served awaits that each tenant has its routes and its direct paths, and proves that the two are
// kept apart.
func served(t *testing.T, m *lab.Mesh, blue, red tenant) {
	t.Helper()
	blue.look()
	for _, s := range []*lab.Site{blue.spoke1, blue.spoke2} {
		m.Await(s.Name+" has one route for all sites by BGP", later, func() error {
			routes := s.Routes("172.16.0.0/12")
			return lab.True(len(routes) > 0 && routes[0].Dst == "172.16.0.0/12" &&
				routes[0].Gateway == blue.hub.Overlay, "%+v", routes)
		})
	}
	blue.direct(m)
	red.look()
	for _, s := range []*lab.Site{red.hub, red.spoke1} {
		m.Await(s.Name+" has the second spoke's LAN by OSPF", later, func() error {
			return byOSPF(s, red.spoke2, red.spoke2)
		})
	}
	m.Await("BIRD has the other LANs by OSPF", later, func() error {
		for _, to := range []*lab.Site{red.hub, red.spoke1} {
			if hop := red.spoke2.NextHop(to.Host.Addr); hop != to.Overlay {
				return fmt.Errorf("the next hop to %s is %s", to.Host.Addr, hop)
			}
		}
		return nil
	})
	m.Await("the tenant's hosts reach each other", soon, func() error {
		return red.spoke1.Host.Reaches(red.spoke2.Host.Addr)
	})
	red.direct(m)

	apart(t, m, blue, red)
	apart(t, m, red, blue)
}

// apart proves that a tenant's packets come out of the tenant's own tunnel, and that an address
// which only this tenant has is reached by this tenant only.
func apart(t *testing.T, m *lab.Mesh, n, other tenant) {
	t.Helper()
	captures := map[string]*lab.Capture{}
	for _, device := range []string{"gre1", "gre2"} {
		captures[device] = n.spoke2.Capture(device)
	}
	n.spoke1.Host.Ping(n.spoke2.Host.Addr, 5)
	for device, capture := range captures {
		want := 0
		if device == n.device {
			want = 5
		}
		to := passing(n.spoke1.Host.Addr, n.spoke2.Host.Addr)
		if got := capture.Count(to); got != want {
			t.Errorf("in %s, %d packets came out of %s, want %d", n.vrf, got, device, want)
		}
	}
	// An address of its own for each tenant: what one tenant asks for in vain, the router in front
	// of the other's host still asks the LAN for some seconds later.
	only := addr(fmt.Sprintf("172.16.2.%d", 100+n.table))
	n.spoke2.Host.IP(fmt.Sprintf("addr add %s/32 dev lo", only))
	m.Await(fmt.Sprintf("%s is reached in %s", only, n.vrf), soon, func() error {
		return n.spoke1.Host.Reaches(only)
	})
	if err := other.spoke1.Host.Reaches(only); err == nil {
		t.Errorf("%s is reached from %s, and only %s has it", only, other.vrf, n.vrf)
	}
	n.spoke2.Host.IP(fmt.Sprintf("addr del %s/32 dev lo", only))
}
