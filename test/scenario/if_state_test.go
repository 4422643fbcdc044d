//go:build lab

package scenario

import (
	"net/netip"
	"testing"

	"cygnet/test/lab"
)

// With if_state, FRR leaves its route through the tunnel while no hub is there, and uses the route
// to another router of the site; when the hub is back, so is the route through the tunnel. A stop
// of the daemon changes nothing.
func TestIfState(t *testing.T) {
	m := lab.NewMesh(t)
	s := m.Spoke1
	s.UseRoutes()
	s.Interface = append(s.Interface, "if_state = true")
	s.IPsec = append(s.IPsec, `dpd_delay = "1s"`)
	m.Hub.Start()
	s.Start()
	registered(m, s, soon)
	other := s.Host.Addr // stands for another router in the site's LAN
	s.IntegratedFRR("ip route 172.16.0.0/16 10.255.0.1\n"+
		"ip route 172.16.0.0/16 "+other.String()+" 200\n", "staticd")
	via := func(when string, hop netip.Addr) {
		t.Helper()
		m.Await(when+" the route leads to "+hop.String(), later, func() error {
			return lab.True(s.NextHop(m.Hub.Host.Addr) == hop, "the routes are %+v",
				s.Routes("172.16.0.0/16"))
		})
	}
	via("with the hub", m.Hub.Overlay)

	m.Hub.Die()
	via("without the hub", other)
	// FRR hears of the change from the kernel, and may be faster than the daemon's own loop.
	m.Await("the status says that the tunnel is dormant", soon, func() error {
		st, err := status(s)
		if err != nil {
			return err
		}
		return lab.True(st.Interfaces[0].Dormant, "it says %+v", st.Interfaces[0])
	})
	m.Hub.Return()
	via("with the hub back", m.Hub.Overlay)
	s.Host.Ping(m.Hub.Host.Addr, 2)

	s.Daemon.Kill()
	s.Daemon.Start()
	registered(m, s, soon)
	via("after a restart of the daemon", m.Hub.Overlay)
	encrypted(m)
}
