package config

import "cygnet/nhrpd/config/document"

// vrf checks the VRF of a tunnel. Only the running kernel knows the VRF's table, which Table is
// then by default.
func (c *checker) vrf(raw *rawInterface, i *Interface) {
	if !raw.VRF.Set {
		return
	}
	switch name := raw.VRF.V; {
	case name == i.Name:
		c.Report(raw.VRF.At,
			"found %s, the name of the tunnel itself; allowed is the name of a VRF",
			document.Quote(name))
	case !isDeviceName(name):
		c.Report(raw.VRF.At, "found %s; allowed is the name of a VRF, such as blue (ip link add blue up type vrf table 10)", document.Quote(name))
	default:
		i.VRF = name
	}
	if !raw.Table.Set {
		i.Table, i.VRFTable = 0, true
	}
}
