//go:build lab

package scenario

import (
	"testing"

	"cygnet/test/lab"
)

// A spoke behind NAT is at the address that the world sees, and its ESP travels in UDP.
func TestSpokeBehindNAT(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"))
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	m.Hub.Host.Ping(m.Spoke1.Host.Addr, 3)
	if n := m.Underlay.Count(lab.OfKind(lab.ESPinUDP), lab.Between(m.Spoke1.Public, m.Hub.Public)); n < 12 {
		t.Errorf("6 pings made %d packets of ESP in UDP", n)
	}
	shortcut(m)
	atSpoke2 := m.Spoke2.Capture("gre1")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	if n := atSpoke2.Count(passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr), by(m.Spoke1)); n != 10 {
		t.Errorf("of 10 packets %d came straight from the spoke behind NAT", n)
	}
	alive(m)
	encrypted(m)
}

// Two spokes behind a NAT each reach each other, through the hub at least.
func TestBothSpokesBehindNAT(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"), lab.SpokeBehindNAT("spoke2"))
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 100)
	m.Spoke2.Host.Ping(m.Spoke1.Host.Addr, 100)
	alive(m)
	encrypted(m)
}
