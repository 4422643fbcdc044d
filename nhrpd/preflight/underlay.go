package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// Underlay checks the underlays that have routes of their own: the VRF and the table, and what
// charon needs to take part in the VRF. outer returns the underlay addresses that an interface has
// to reach.
func (h Host) Underlay(c *config.Config, outer func(*config.Interface) []netip.Addr) []Finding {
	if h.FindUnderlay == nil {
		return nil
	}
	var all []Finding
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		if i.UnderlayTable == 0 && i.UnderlayVRF == "" {
			continue
		}
		for _, u := range underlays(i) {
			all = append(all, h.underlay(i, u, outer(i))...)
		}
	}
	return all
}

// underlays returns the underlays of an interface: one, or one for each device that the tunnel can
// send from, each with the next table.
func underlays(i *config.Interface) []tunnel.UnderlayConfig {
	first := tunnel.UnderlayConfig{
		Device: i.Underlay.Device,
		Local:  i.Underlay.Address,
		Local6: i.Underlay.Address6,
		Table:  i.UnderlayTable,
		VRF:    i.UnderlayVRF,
	}
	all := []tunnel.UnderlayConfig{first}
	for n, device := range i.Reserve {
		all = append(all, tunnel.UnderlayConfig{
			Device: device, Table: i.UnderlayTable + uint32(n) + 1,
		})
	}
	return all
}

// underlay checks one underlay of an interface. One of several whose device has no address is not
// in use, and its table may be empty.
func (h Host) underlay(
	i *config.Interface, c tunnel.UnderlayConfig, outer []netip.Addr,
) []Finding {
	var all []Finding
	u, err := h.FindUnderlay(c, outer)
	add := func(about string, s Severity, format string, args ...any) {
		all = append(all, Finding{
			About:     about,
			Severity:  s,
			Interface: i.Name,
			Text:      fmt.Sprintf(format, args...),
		})
	}
	switch {
	case errors.Is(err, rtnl.ErrNoPermission), len(i.Reserve) > 0 && u.NoAddress:
	case err != nil:
		add(AboutUnderlay, Warning, "the routes of the underlay could not be looked at: %v", err)
	default:
		describeUnderlay(i, c.Table, &u, add)
		if i.Protected && u.VRFTable != 0 && u.V6.Used && u.AcceptsVRF && u.IKE != tunnel.IKEInVRF {
			h.sendsInVRF(i, add)
		}
	}
	return all
}

// describeUnderlay adds a finding for each thing that is wrong with an underlay: what it means, and
// what to do.
func describeUnderlay(
	i *config.Interface, table uint32, u *tunnel.Underlay,
	add func(about string, s Severity, format string, args ...any),
) {
	if u.VRFMissing {
		add(AboutUnderlay, Error, "there is no VRF %s (underlay_vrf), so nothing can be sent: ip link add %s type vrf table 100; ip link set %s up",
			i.UnderlayVRF, i.UnderlayVRF, i.UnderlayVRF)
		return
	}
	if u.Outside != "" {
		add(AboutUnderlay, Error, "%s, which the tunnel sends from, is not in the VRF %s (underlay_vrf), so that the tunnel receives nothing: ip link set %s master %s",
			u.Outside, i.UnderlayVRF, u.Outside, i.UnderlayVRF)
	}
	where := "underlay_table"
	if u.VRFTable != 0 {
		if table != 0 && table != u.VRFTable {
			add(AboutUnderlay, Warning, "underlay_table is %d, and the VRF %s has the table %d, which is used: remove underlay_table, or set it to %d",
				table, i.UnderlayVRF, u.VRFTable, u.VRFTable)
		}
		table, where = u.VRFTable, "of the VRF "+i.UnderlayVRF
	}
	describeRoutes(u, &u.V4, fmt.Sprintf("table %d (%s)", table, where), "ip", table, add)
	describeRoutes(u, &u.V6, fmt.Sprintf("table %d (%s), IPv6,", table, where), "ip -6", table, add)
	if i.Protected && u.VRFTable != 0 && !u.AcceptsVRF {
		charonInVRF(i, u.IKE, add)
	}
}

// describeRoutes adds a finding for each thing that is wrong with the routes of one IP version in
// an underlay's table. ip is the command for such routes.
func describeRoutes(
	u *tunnel.Underlay, r *tunnel.UnderlayRoutes, name, ip string, table uint32,
	add func(about string, s Severity, format string, args ...any),
) {
	switch {
	case !r.Used, u.NoAddress: // the routes come with the address
	case len(r.Unrouted) > 0:
		add(AboutUnderlay, Error, "no route of %s leads to %s, so that IKE does not reach it, or goes into the tunnel: %s route add default via GATEWAY table %d",
			name, addresses(r.Unrouted), ip, table)
	case !r.Default:
		add(AboutUnderlay, Warning, "%s has no default route: only routers that its other routes lead to are reached; %s route add default via GATEWAY table %d",
			name, ip, table)
	}
	if r.Used && !r.Barred {
		severity := Advice
		if u.VRFTable != 0 {
			severity = Warning
		}
		add(AboutUnderlay, severity, "%s has no unreachable route behind its default route: while the underlay has none, IKE takes the routes of the main table, "+
			"into the tunnel if a default route leads there; %s route add unreachable default metric 4278198272 table %d",
			name, ip, table)
	}
}

// charonInVRF adds a finding if charon does not hear what comes in by the VRF.
func charonInVRF(
	i *config.Interface, sockets tunnel.IKESockets,
	add func(about string, s Severity, format string, args ...any),
) {
	const ways = "set net.ipv4.udp_l3mdev_accept = 1 (sysctl), which with the daemon's rule, or with charon.plugins.socket-default.set_sourceif = yes, which IPv6 needs, is enough; " +
		"or start charon by ip vrf exec %s (a drop-in of its unit: contrib/systemd/strongswan-vrf.conf)"
	switch sockets {
	case tunnel.IKEOutside:
		add(AboutStrongswan, Error, "charon has no socket in the VRF %s of the underlay, so that no IKE reaches it: "+ways,
			i.UnderlayVRF, i.UnderlayVRF)
	case tunnel.IKENone:
		add(AboutStrongswan, Warning, "charon does not run, and needs a way into the VRF %s of the underlay: "+ways,
			i.UnderlayVRF, i.UnderlayVRF)
	}
}

// sendsInVRF adds a finding if charon cannot send from an IPv6 address in the VRF. For a packet
// that names its source and no device, the kernel takes an IPv6 address in a VRF for none of its
// own (ip6_datagram_send_ctl: EINVAL). charon names the device with set_sourceif.
func (h Host) sendsInVRF(
	i *config.Interface, add func(about string, s Severity, format string, args ...any),
) {
	file, err := swanctl.Load(h.StrongswanConf)
	if err != nil {
		return // Strongswan has a finding
	}
	value, _, _ := charon{file}.setting("plugins", "socket-default", "set_sourceif")
	if says(value, false) {
		return
	}
	add(AboutStrongswan, Error, "charon cannot send from the IPv6 address of the underlay, which is in the VRF %s: set charon.plugins.socket-default.set_sourceif = yes "+
		"(contrib/swanctl/charon-vrf.conf), or start charon by ip vrf exec %s (a drop-in of its unit: contrib/systemd/strongswan-vrf.conf)",
		i.UnderlayVRF, i.UnderlayVRF)
}

// addresses lists addresses.
func addresses(all []netip.Addr) string {
	words := make([]string, len(all))
	for n, a := range all {
		words[n] = a.String()
	}
	return strings.Join(words, ", ")
}

// describeTurned adds a finding for each outer address whose route leads into a tunnel.
func describeTurned(
	i *config.Interface, turned []tunnel.Turned,
	add func(about string, s Severity, format string, args ...any),
) {
	for _, t := range turned {
		route := "the route to " + t.Outer.String()
		if t.Prefix.IsValid() {
			route = fmt.Sprintf("the route %s (%s) swallows the way to %s: it",
				prefixName(t.Prefix), t.By, t.Outer)
		}
		add(AboutUnderlay, Error, "%s leads into the tunnel %s in place of the underlay: everything to that router is lost, IKE included; %s",
			route, t.Device, cure(i, t.Outer))
	}
}

// cure tells what to set so that an outer address is reached by the underlay.
func cure(i *config.Interface, outer netip.Addr) string {
	switch {
	case i.UnderlayVRF != "":
		return fmt.Sprintf(
			"give the VRF %s a route to it (ip route add default via GATEWAY vrf %s)",
			i.UnderlayVRF, i.UnderlayVRF)
	case i.UnderlayTable != 0:
		return fmt.Sprintf(
			"give the underlay's table a route to it (ip route add default via GATEWAY table %d)",
			i.UnderlayTable)
	}
	return fmt.Sprintf("give the underlay a table of its own (underlay_table = 100 in [interface.%s], and ip route add default via GATEWAY table 100) or "+
		"a VRF (underlay_vrf), or this address a route of its own (ip route add %s via GATEWAY)",
		i.Name, netip.PrefixFrom(outer, outer.BitLen()))
}

// prefixName returns a prefix as the kernel's tools write it.
func prefixName(p netip.Prefix) string {
	if p.Bits() == 0 {
		return "default"
	}
	return p.String()
}
