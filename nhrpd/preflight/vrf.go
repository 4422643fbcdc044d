package preflight

import (
	"slices"

	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
)

// vrf checks that the VRF of a tunnel exists.
func (n *network) vrf(i *config.Interface) {
	if i.VRF == "" {
		return
	}
	k := slices.IndexFunc(n.links, func(l Link) bool { return l.Name == i.VRF })
	switch {
	case k < 0:
		n.add(Warning, i, "there is no VRF %s yet, and the tunnel waits for it: ip link add %s up type vrf table NUMBER",
			i.VRF, i.VRF)
	case !n.links[k].IsVRF:
		n.add(Error, i,
			"%s is no VRF, and the tunnel cannot be in it: set vrf to the name of a VRF", i.VRF)
	}
}

// describeVRF adds a finding for each thing about the VRF that a tunnel is in which keeps traffic
// from the tunnel, or lets it out of the VRF. all has the interfaces of the configuration.
func describeVRF(
	i *config.Interface,
	vrf *tunnel.VRF,
	all []config.Interface,
	add func(s Severity, format string, args ...any),
) {
	if vrf.Name == "" {
		return
	}
	switch right := i.Table == vrf.Table; {
	case i.VRF == "" && right:
		add(Advice, "the tunnel is in the VRF %s, and nothing puts it back when it comes out or is made again: set vrf = %q in place of table",
			vrf.Name, vrf.Name)
	case i.VRF == "":
		add(Error, "the tunnel is in the VRF %s, which uses table %d, and the daemon keeps its routes in table %d: shortcuts and announced "+
			"prefixes carry nothing; set vrf = %q, or take the tunnel out of the VRF (ip link set %s nomaster)",
			vrf.Name, vrf.Table, i.Table, vrf.Name, i.Name)
	case !i.VRFTable && !right:
		add(Error, "table is %d, and the VRF %s uses table %d: shortcuts and announced prefixes carry nothing; remove table",
			i.Table, vrf.Name, vrf.Table)
	}
	if vrf.Down {
		add(Warning, "the VRF %s is down, so that programs in it reach nobody: ip link set %s up",
			vrf.Name, vrf.Name)
	}
	if vrf.Leaks {
		add(Warning, "what has no route in the VRF %s leaves it, by a route outside of it: ip route add vrf %s unreachable default metric "+
			"4278198272 keeps it in (and the same with ip -6)",
			vrf.Name, vrf.Name)
	}
	for k := range all {
		if all[k].HostTable == vrf.Table {
			add(Error, "the VRF %s uses table %d, which is the host_table of %s, so that the whole host uses the routes of the VRF: give %s "+
				"another host_table",
				vrf.Name, vrf.Table, all[k].Name, all[k].Name)
		}
	}
}
