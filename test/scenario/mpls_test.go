//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// Two spokes have two VRFs each, with the same networks in both VRFs. Labelled packets between the
// spokes go straight through an SA of theirs, and each VRF reaches its own: with routes and labels
// set by hand, and with FRR's BGP and the hub as a route reflector, as doc/routing.md shows both.
func TestMPLSVPN(t *testing.T) {
	m := lab.NewMesh(t)
	one, two := m.Spoke1, m.Spoke2
	for _, s := range m.Sites() {
		s.UseRoutes()
	}
	if out, err := m.Hub.Try("modprobe", "-a", "mpls_router", "mpls_iptunnel"); err != nil {
		t.Skipf("this kernel has no MPLS: %v\n%s", err, out)
	}
	m.Start()
	registered(m, one, soon)
	registered(m, two, soon)
	for number, s := range m.Sites()[1:] {
		s.WriteFile("/etc/cygnet/mpls.conf", 0o644,
			lab.Snippet(t, routingPage, "net.mpls.platform_labels = 10000"))
		s.Run("sysctl", "-q", "-p", "/etc/cygnet/mpls.conf")
		s.IP("link add red type vrf table 101", "link set red up", "link set lan0 master red",
			"link add blue type vrf table 102", "link set blue up",
			"link add lan1 type dummy", "link set lan1 master blue", "link set lan1 up",
			fmt.Sprintf("addr add 172.16.%d.1/24 dev lan1", number+1))
	}
	// Only the blue VRF has this one.
	two.IP("link add lan2 type dummy", "link set lan2 master blue", "link set lan2 up",
		"addr add 172.16.66.1/24 dev lan2")

	byHand := lab.Snippet(t, routingPage, "ip -f mpls route add 9001 dev red")
	back := replace(byHand, "9001", "9002", "9002", "9001", "172.16.2.", "172.16.1.",
		"10.255.0.12", "10.255.0.11")
	for s, commands := range map[*lab.Site]string{one: byHand, two: back} {
		s.Run("sysctl", "-q", "-w", "net.mpls.conf.gre1.input=1")
		for command := range strings.Lines(commands) {
			s.Run("sh", "-c", command)
		}
	}
	m.Await("spoke1's host reaches spoke2's by labels set by hand", soon, func() error {
		return one.Host.Reaches(two.Host.Addr)
	})
	directlySecured(m, func() { one.Host.Ping(two.Host.Addr, 10) })
	for s, commands := range map[*lab.Site]string{one: byHand, two: back} {
		s.Run("sysctl", "-q", "-w", "net.mpls.conf.gre1.input=0")
		for command := range strings.Lines(commands) {
			s.Run("sh", "-c", replace(command, " add ", " del "))
		}
	}
	if one.Host.Reaches(two.Host.Addr) == nil {
		t.Error("the spokes' hosts reach each other without labels")
	}
	vpnByBGP(t, m)
	alive(m)
	encrypted(m)
}

// vpnByBGP starts FRR as doc/routing.md shows it, and proves that each VRF has the routes and
// reaches the networks of its own.
func vpnByBGP(t *testing.T, m *lab.Mesh) {
	t.Helper()
	one, two := m.Spoke1, m.Spoke2
	m.Hub.IntegratedFRR(lab.Snippet(t, routingPage, "! MPLS VPN, the hub"), "bgpd")
	red := lab.Snippet(t, routingPage, "router bgp 65000 vrf red")
	config := lab.Snippet(t, routingPage, "! MPLS VPN, a spoke") + red +
		replace(red, "vrf red", "vrf blue", "65000:1", "65000:2")
	one.IntegratedFRR(config, "bgpd")
	two.IntegratedFRR(another(config), "bgpd")
	for vrf, dst := range map[string]string{"red": "172.16.2.0/24", "blue": "172.16.66.0/24"} {
		m.Await("spoke1 has "+dst+" in VRF "+vrf+" with a label, via spoke2", later, func() error {
			out, err := one.Try("ip", "route", "show", dst, "vrf", vrf)
			return lab.True(err == nil && contains(out, "encap mpls", "via "+two.Overlay.String(),
				"dev gre1", "proto bgp"), "%s%v", out, err)
		})
	}
	m.Await("spoke1's host reaches spoke2's in VRF red", later, func() error {
		return one.Host.Reaches(two.Host.Addr)
	})
	m.Await("spoke1 reaches a network of spoke2 in VRF blue", later, func() error {
		out, err := one.Try("ping", "-n", "-c", "1", "-W", "1", "-I", "blue", "172.16.66.1")
		return lab.True(err == nil, "%s", out)
	})
	directlySecured(m, func() { one.Host.Ping(two.Host.Addr, 10) })
	if one.Host.Reaches(netip.MustParseAddr("172.16.66.1")) == nil {
		t.Error("VRF red reaches a network that only blue has")
	}
}

// directlySecured proves that the ten packets that ping sends from spoke1's LAN to spoke2's go
// through the SA between the spokes, and the answers too.
func directlySecured(m *lab.Mesh, ping func()) {
	m.Helper()
	one, two := m.Spoke1, m.Spoke2
	if err := adjacent(one, two); err != nil {
		m.Errorf("%v", err)
	}
	// The sums over the ESP states may go down meanwhile: where both spokes dialled, one SA of two
	// ends.
	begin := time.Now()
	ping()
	esp := func(from, to *lab.Site) int {
		return m.Underlay.Count(lab.OfKind(lab.ESP), lab.From(from.Public), lab.To(to.Public),
			lab.Since(begin))
	}
	there, back := esp(one, two), esp(two, one)
	if there < 10 || back < 10 {
		m.Errorf("the SA between the spokes carried %d and %d packets of 10", there, back)
	}
}
