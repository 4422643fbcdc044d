package config

import (
	"strings"
	"testing"
)

// Overlays in different VRFs may have the same addresses. The table of a VRF is not known from the
// file, and no table of host routes comes with it; a table that is given stays.
func TestOverlaysInVRFs(t *testing.T) {
	const overlay = `
		[interface.gre1]
		address = "10.255.0.1/24"
		underlay = "192.0.2.1"
		protection = "none"
		vrf = "blue"
		`
	other := strings.NewReplacer("gre1", "gre2", "192.0.2.1", "192.0.2.2", "blue", "red")
	c, err := Parse([]byte(overlay+other.Replace(overlay)+"table = 1011\n"), "test.toml")
	if err != nil {
		t.Fatal(err)
	}
	if i := c.Interfaces[0]; i.VRF != "blue" || !i.VRFTable || i.Table != 0 || i.HostTable != 0 {
		t.Errorf("%+v", i)
	}
	if i := c.Interfaces[1]; i.VRF != "red" || i.VRFTable || i.Table != 1011 || i.HostTable != 0 {
		t.Errorf("%+v", i)
	}
}
