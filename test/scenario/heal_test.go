//go:build lab

package scenario

import (
	"testing"

	"cygnet/test/lab"
)

// What somebody deletes from the kernel's tables comes back, and so does the tunnel.
func TestFlushedTablesHeal(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)

	m.Hub.Run("ip", "neigh", "flush", "dev", "gre1", "nud", "all")
	m.Hub.Run("ip", "neigh", "flush", "dev", "gre1", "nud", "permanent")
	registered(m, m.Spoke1, later)
	registered(m, m.Spoke2, later)

	m.Spoke1.Run("ip", "route", "del", m.Spoke2.LAN.String(), "via", m.Spoke2.Overlay.String(),
		"dev", "gre1")
	m.Await("the route of the shortcut is back", later, func() error {
		return up(m.Spoke1, m.Spoke2)
	})

	m.Spoke1.RemoveGuards()
	m.Await("the guard is back", later, func() error {
		return lab.True(len(m.Spoke1.Guards()) > 0, "there is no block policy for GRE")
	})

	m.Spoke1.IP("link del gre1")
	m.Await("the tunnel is back", later, func() error {
		return lab.True(m.Spoke1.HasDevice("gre1"), "there is no gre1")
	})
	m.Await("the tunnel is up", soon, func() error {
		_, err := m.Spoke1.Try("ip", "route", "get", m.Hub.Overlay.String(), "oif", "gre1")
		return err
	})
	m.Spoke1.SetRoutes()
	registered(m, m.Spoke1, later)
	m.Await("traffic passes again", later, func() error {
		return m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr)
	})
	alive(m)
	encrypted(m)
}
