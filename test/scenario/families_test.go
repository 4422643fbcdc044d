//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// addIPv6 gives a site that does not run yet, and its host, IPv6 addresses beside their own.
func addIPv6(s *lab.Site, number int) {
	overlay, lan := familyOf(number)
	s.Interface[0] = fmt.Sprintf("address = [%q, %q]", s.Overlay.String()+"/24", overlay.String()+"/64")
	s.Run("sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1")
	router := lan.Addr().Next()
	s.IP("addr add " + router.String() + "/64 dev lan0 nodad")
	s.Host.IP("addr add "+router.Next().String()+"/64 dev eth0 nodad",
		"route add default via "+router.String())
}

// familyOf returns the IPv6 overlay address of a site by its number, and its LAN.
func familyOf(number int) (overlay netip.Addr, lan netip.Prefix) {
	overlay = netip.MustParseAddr("fd00:255::1")
	if number > 0 {
		overlay = netip.MustParseAddr(fmt.Sprintf("fd00:255::1%d", number))
	}
	return overlay, netip.MustParsePrefix(fmt.Sprintf("fd00:172:%d::/64", number))
}

// inIPv6 returns the mesh as it is seen with IPv6 only: with the IPv6 addresses of its sites and
// hosts. Its sites run already.
func inIPv6(m *lab.Mesh) *lab.Mesh {
	six := *m
	for number, s := range map[int]**lab.Site{0: &six.Hub, 1: &six.Spoke1, 2: &six.Spoke2} {
		site, host := **s, *(*s).Host
		overlay, lan := familyOf(number)
		host.Addr = lan.Addr().Next().Next()
		site.Overlay, site.Host = overlay, &host
		*s = &site
	}
	six.Spoke3 = nil
	return &six
}

// Both overlay families are on one tunnel, through one SA between any two routers. Spokes register
// both addresses and announce prefixes of both, also from behind NAT; shorter ways come about in
// both, by indications and by missed neighbours, and a restart of the daemon keeps them. A spoke
// whose rule gives it no IPv6 address works with IPv4, and says what it lacks.
func TestBothFamilies(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke2"), lab.ThirdSpoke())
	for number, s := range m.Sites() {
		addIPv6(s, number)
	}
	// A daemon that is stopped answers no probes, and a busy machine may take long to start it.
	m.Add(`path_timeout = "1m"`)
	m.Hub.Interface = append(m.Hub.Interface, `accept = ["172.16.0.0/12", "fd00:172::/32"]`)
	m.Hub.UseRoutes()
	for number, s := range []*lab.Site{m.Spoke1, m.Spoke2, m.Spoke3} {
		overlay, lan := familyOf(number + 1)
		identity := s.Name + ".example.net"
		rule := lab.Rule(identity, s.Overlay.String())
		if s != m.Spoke3 {
			rule = strings.Replace(rule, fmt.Sprintf("[%q]", s.Overlay.String()),
				fmt.Sprintf("[%q, %q]", s.Overlay.String(), overlay.String()), 1)
		}
		m.Hub.Rules = append(m.Hub.Rules, rule)
		s.Interface = append(s.Interface,
			fmt.Sprintf("announce = [%q, %q]", s.LAN.String(), lan.String()))
		s.UseRoutes("172.16.0.0/12 via 10.255.0.1", "fd00:172::/32 via fd00:255::1")
	}
	m.Start()
	six := inIPv6(m)
	for _, mesh := range []*lab.Mesh{m, six} {
		registered(mesh, mesh.Spoke1, soon)
		registered(mesh, mesh.Spoke2, soon)
	}
	registered(m, m.Spoke3, soon)
	for _, mesh := range []*lab.Mesh{m, six} {
		for number, s := range []*lab.Site{mesh.Spoke1, mesh.Spoke2} {
			lan := s.LAN
			if s.Overlay.Is6() {
				_, lan = familyOf(number + 1)
			}
			m.Await(s.Name+" announces "+lan.String(), soon, func() error {
				return leads(m.Hub, lan.String(), s.Overlay)
			})
		}
	}
	saysWhatItLacks(m)

	missed(m, six)
	shortcut(m)
	shortcut(six)
	oneSA(m)
	m.Spoke3.Host.Ping(m.Spoke1.Host.Addr, 3)

	kept := func(when string) {
		t.Helper()
		for _, mesh := range []*lab.Mesh{m, six} {
			if err := up(mesh.Spoke1, mesh.Spoke2); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			if at := m.Hub.Neighbors("gre1")[mesh.Spoke1.Overlay]; at != m.Spoke1.Public {
				t.Errorf("%s: the hub's neighbour %s is at %s", when, mesh.Spoke1.Overlay, at)
			}
		}
	}
	for _, s := range []*lab.Site{m.Spoke1, m.Hub} {
		s.Daemon.Terminate()
		kept("after the end of the daemon on " + s.Name)
		s.Daemon.Start()
		kept("with a new daemon on " + s.Name)
	}
	m.Await("spoke1 is registered anew with both addresses", soon, func() error {
		n, err := nhs(m.Spoke1)
		if err != nil {
			return err
		}
		return lab.True(len(n.Registrations) == 2 && n.Registrations[0].State == "registered" &&
			n.Registrations[1].State == "registered", "%+v", n)
	})
	for _, mesh := range []*lab.Mesh{m, six} {
		mesh.Spoke1.Host.Ping(mesh.Spoke2.Host.Addr, 3)
	}
	encrypted(m)
	alive(m)
}

// missed sends packets by routes that lead to the other spoke itself, by its overlay and by its
// link-local address. The kernel misses the neighbours and holds the packets. They go straight if
// the direct way comes in time, and in any case once it is there.
func missed(m, six *lab.Mesh) {
	m.Helper()
	one, two := six.Spoke1, six.Spoke2
	two.IP("addr add fd00:173:2::1/64 dev lan0 nodad", "addr add fd00:174:2::1/64 dev lan0 nodad")
	one.IP("route add fd00:173:2::/64 via fd00:255::12 dev gre1 onlink",
		"route add fd00:174:2::/64 via fe80::12 dev gre1 onlink")
	atHub := m.Hub.Capture("gre1")
	for _, way := range []struct{ dest, by string }{
		{"fd00:173:2::1", "fd00:255::12"},
		{"fd00:174:2::1", "fe80::12"},
	} {
		to, by := netip.MustParseAddr(way.dest), netip.MustParseAddr(way.by)
		began := time.Now()
		one.Host.Ping(to, 3)
		inTime := func(p lab.Packet) bool { return p.At.Sub(began) < relayAfter }
		if n := atHub.Count(passing(one.Host.Addr, to), inTime); n != 0 {
			m.Errorf("%d packets to %s did not wait for the direct way", n, to)
		}
		m.Await("the direct way to "+way.dest, later, func() error {
			if err := one.Host.Reaches(to); err != nil {
				return err
			}
			at := one.Neighbors("gre1")[by]
			return lab.True(at == two.Public, "the neighbour %s is at %s", by, at)
		})
		direct := time.Now()
		one.Host.Ping(to, 3)
		if n := atHub.Count(passing(one.Host.Addr, to), lab.Since(direct)); n != 0 {
			m.Errorf("%d packets to %s went through the hub", n, to)
		}
	}
}

// oneSA proves that both families of the two spokes share one SA.
func oneSA(m *lab.Mesh) {
	m.Helper()
	m.Await("one SA between the spokes", soon, func() error {
		sas := m.Spoke1.Charon.With(m.Spoke2.Public)
		return lab.True(len(sas) == 1, "%+v", sas)
	})
}

// saysWhatItLacks proves that the third spoke says which address the hub has refused, and why.
func saysWhatItLacks(m *lab.Mesh) {
	m.Helper()
	m.Await("spoke3 says that its IPv6 address is refused", soon, func() error {
		n, err := nhs(m.Spoke3)
		if err != nil {
			return err
		}
		return lab.True(n.State == "registered" && len(n.Registrations) == 2 &&
			n.Registrations[1].State == "refused" &&
			strings.Contains(n.Registrations[1].Error, "about fd00:255::13 only"), "%+v", n)
	})
	st, err := status(m.Spoke3)
	if err != nil {
		m.Fatalf("%v", err)
	}
	if !slices.ContainsFunc(st.Problems, func(p api.Problem) bool {
		return p.Code == "nhs-refused" && strings.Contains(p.Text, "of fd00:255::13")
	}) {
		m.Errorf("the problems are %+v", st.Problems)
	}
	m.Await("the hub says why", soon, func() error {
		return logged(m.Hub, "registration refused", "fd00:255::13")
	})
}
