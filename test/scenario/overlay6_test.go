//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"testing"

	"cygnet/test/lab"
)

// The overlay and the networks behind the routers are IPv6, over an IPv4 underlay. Spokes register,
// the hub's indication leads to a shortcut through an SA of its own, the traffic goes straight, and
// without traffic the shortcut ends. The hub and spoke2 have host prefixes, spoke1 has the usual
// prefix.
func TestIPv6Overlay(t *testing.T) {
	m := lab.NewMesh(t)
	m.Add(`idle_time = "10s"`) // from one step to the next a busy guest stands still for seconds
	for number, s := range m.Sites() {
		sixth(m, s, number)
	}
	m.Hub.SetAddress(128, `overlay = "fd00:255::/64"`)
	m.Spoke2.SetAddress(128)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	atHub := m.Hub.Capture("gre1")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 1)
	if n := atHub.Count(passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr)); n != 1 {
		t.Errorf("the first packet came to the hub %d times", n)
	}
	shortcut(m)

	atHub = m.Hub.Capture("gre1")
	atSpoke2 := m.Spoke2.Capture("gre1")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	to := passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr)
	if straight, hub := atSpoke2.Count(to), atHub.Count(to); straight != 10 || hub != 0 {
		t.Errorf("of 10 packets %d came to spoke2, %d to the hub", straight, hub)
	}
	m.Await("the shortcut ends", later, func() error { return down(m, m.Spoke1, m.Spoke2) })
	m.Await("the other one, too", later, func() error { return down(m, m.Spoke2, m.Spoke1) })
	m.Spoke2.Host.Ping(m.Spoke1.Host.Addr, 3)
	encrypted(m)
	m.Spoke2.Ping(m.Hub.Overlay, 2)
	alive(m)
}

// The same overlay in a VRF, with source_check: the data path's programs look the ways back of IPv6
// sources up in the VRF, those of link-local addresses too.
func TestIPv6OverlayInVRF(t *testing.T) {
	m := lab.NewMesh(t)
	m.UseVRF("blue", 10)
	m.Add("source_check = true")
	for number, s := range m.Sites() {
		sixth(m, s, number)
	}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	inVRF(m, m.Spoke1, "blue", "10")
	atHub, atSpoke2 := m.Hub.Capture("gre1"), m.Spoke2.Capture("gre1")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	to := passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr)
	if straight, hub := atSpoke2.Count(to), atHub.Count(to); straight != 10 || hub != 0 {
		t.Errorf("of 10 packets %d came to spoke2, %d to the hub", straight, hub)
	}
	m.Spoke1.Ping(m.Hub.Overlay, 3)
	encrypted(m)
	alive(m)
}

// sixth gives a site that does not run yet, and its host, IPv6 addresses in the place of the mesh's
// usual ones.
func sixth(m *lab.Mesh, s *lab.Site, number int) {
	m.Helper()
	overlay := func(number int) netip.Addr {
		if number == 0 {
			return netip.MustParseAddr("fd00:255::1")
		}
		return netip.MustParseAddr(fmt.Sprintf("fd00:255::1%d", number))
	}
	lan := netip.MustParsePrefix(fmt.Sprintf("fd00:172:%d::/64", number))
	router := lan.Addr().Next()
	s.Overlay = overlay(number)
	s.Interface[0] = fmt.Sprintf("address = %q", s.Overlay.String()+"/64")
	s.Host.Addr = router.Next()
	s.Run("sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1")
	s.IP("addr add " + router.String() + "/64 dev lan0 nodad")
	s.Host.IP("addr add "+s.Host.Addr.String()+"/64 dev eth0 nodad",
		"route add default via "+router.String())
	if number > 0 {
		s.UseRoutes("fd00:172::/32 via " + overlay(0).String())
		return
	}
	s.UseRoutes("fd00:172:1::/64 via "+overlay(1).String(),
		"fd00:172:2::/64 via "+overlay(2).String())
}
