package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// FurtherHub adds a hub beside the mesh's own. The new hub has the NBMA address 192.0.2.NUMBER, the
// overlay address 10.255.0.NUMBER, the routes of the mesh's hub, and no LAN. Nothing runs on the
// new hub until Start, and Sites does not list it.
func (m *Mesh) FurtherHub(number int) *Site {
	m.Helper()
	name := fmt.Sprintf("hub%d", number)
	public := netip.AddrFrom4([4]byte{192, 0, 2, byte(number)})
	s := &Site{
		Router:  m.Router(name, Addr(public.String()+"/24")),
		Overlay: netip.AddrFrom4([4]byte{10, 255, 0, byte(number)}),
		Public:  public,
		PSK:     m.Hub.PSK,
		routes:  slices.Clone(m.Hub.routes),
	}
	s.Interface = append(
		[]string{fmt.Sprintf("address = %q", s.Overlay.String()+"/24")},
		m.Hub.Interface[1:]...)
	s.IPsec = append(
		[]string{fmt.Sprintf("identity = %q", name+".example.net")},
		m.Hub.IPsec[1:]...)
	return s
}

// Die switches the site off as a power cut would: the site tells nobody, and its line is dead. Only
// its routing daemons live on: see FRR.Kill.
func (s *Site) Die() {
	s.net.Helper()
	s.IP("link set eth0 down")
	s.Daemon.Kill()
	if s.Charon != nil {
		s.Charon.Kill()
	}
	// A kernel that has just booted has no IPsec state and no tunnel.
	s.Run("ip", "xfrm", "state", "flush")
	s.Run("ip", "xfrm", "policy", "flush")
	s.IP("link del gre1")
}

// Return switches the site on again after Die. The files that it had are still there.
func (s *Site) Return() {
	s.net.Helper()
	s.IP("link set eth0 up")
	if s.Charon != nil {
		s.Charon.Start()
	}
	s.Daemon.Start()
	s.SetRoutes()
}
