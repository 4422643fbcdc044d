package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
)

// Surroundings checks what others set up around the tunnels that exist: routes, VRFs and routing
// protocols that keep traffic from a tunnel. outer returns the underlay addresses that an interface
// has to reach.
func (h Host) Surroundings(c *config.Config, outer func(*config.Interface) []netip.Addr) []Finding {
	if h.LookAround == nil {
		return nil
	}
	var all []Finding
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		around, err := h.LookAround(i.Name, outer(i))
		add := func(s Severity, format string, args ...any) {
			all = append(all, Finding{
				About:     AboutRouting,
				Severity:  s,
				Interface: i.Name,
				Text:      fmt.Sprintf(format, args...),
			})
		}
		switch {
		case errors.Is(err, rtnl.ErrNoPermission):
			continue
		case err != nil:
			add(Warning, "what is around the tunnel could not be looked at: %v", err)
			continue
		}
		describe(i, &around, add)
	}
	return all
}

// describe adds a finding for each of the surroundings: what it means, and what to do.
func describe(
	i *config.Interface, s *tunnel.Surroundings, add func(s Severity, format string, args ...any),
) {
	for _, a := range s.Turned {
		add(Error, "the route to %s leads into a tunnel in place of the underlay, as a default route through the tunnel does: everything to that "+
			"router is lost, IKE included; give it a route of its own (ip route add %s/32 via GATEWAY dev DEVICE), or all that the tunnel "+
			"sends a table of its own (ip rule add from ADDRESS lookup 100; ip route add default via GATEWAY table 100)",
			a, a)
	}
	if s.VRF != "" {
		severity, means := Warning,
			"shorter ways are not noticed, so that no shortcuts are made by this router's indications"
		if i.Admission && i.SourceCheck {
			severity, means = Error,
				"source_check drops all data from it (set source_check = false), and shorter ways are not noticed"
		}
		add(severity, "the tunnel is in the VRF %s, where this version looks routes up in the main table: %s; move it out of the VRF "+
			"(ip link set %s nomaster)",
			s.VRF, means, i.Name)
	}
	if len(s.Groups) > 0 {
		names := make([]string, len(s.Groups))
		for n, g := range s.Groups {
			names[n] = protocol(g)
		}
		fate := "goes to no peer"
		if i.Protected {
			fate = "is blocked by the guard, and goes to no peer"
		}
		add(Warning, "a routing protocol speaks by multicast on the tunnel (%s), which %s, so that it finds no neighbours; use BGP, or name "+"the neighbours (OSPF: network type non-broadcast or point-to-multipoint non-broadcast)",
			strings.Join(names, ", "), fate)
	}
	for _, hop := range s.Hops {
		add(Warning, "the route to %s has the link-local next hop %s, whose NBMA address NHRP does not find: what takes the route is lost; "+
			"have the routing protocol announce overlay addresses as next hops (FRR: a route-map with set ipv6 next-hop prefer-global), or "+
			"use a static route",
			hop.Prefix, hop.NextHop)
	}
	if s.Discard {
		add(Advice, "the tunnel was there before the daemon, and drops packets without DF that are larger than the path to a peer, and tells "+
			"nobody: ip link set %s type gre nopmtudisc ignore-df has them leave in fragments",
			i.Name)
	}
}

// protocol returns the routing protocol of a multicast group, with the group's address.
func protocol(group netip.Addr) string {
	name := map[string]string{
		"224.0.0.5":   "OSPF",
		"224.0.0.6":   "OSPF",
		"224.0.0.9":   "RIP",
		"224.0.0.10":  "EIGRP",
		"224.0.0.13":  "PIM",
		"224.0.0.111": "Babel",
		"ff02::5":     "OSPFv3",
		"ff02::6":     "OSPFv3",
		"ff02::9":     "RIPng",
		"ff02::a":     "EIGRP",
		"ff02::d":     "PIM",
		"ff02::1:6":   "Babel",
	}[group.String()]
	if name == "" {
		return group.String()
	}
	return fmt.Sprintf("%s, %s", name, group)
}

// configuredAddresses returns the underlay addresses of an interface's configuration, without
// names: those of its NHSs and of its static maps.
func configuredAddresses(i *config.Interface) []netip.Addr {
	var all []netip.Addr
	for _, n := range i.NHS {
		if a, err := netip.ParseAddr(n.NBMA); err == nil {
			all = append(all, a)
		}
	}
	for _, m := range i.Maps {
		all = append(all, m.NBMA)
	}
	return all
}
