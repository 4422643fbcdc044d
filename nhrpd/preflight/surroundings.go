package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/linklocal"
)

// Surroundings checks what others set up around the tunnels that exist: routes, VRFs and routing
// protocols that keep traffic from a tunnel. outer returns the underlay addresses that an interface
// has to reach.
func (h Host) Surroundings(c *config.Config, outer func(*config.Interface) []netip.Addr) []Finding {
	if h.FindSurroundings == nil {
		return nil
	}
	var all []Finding
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		around, err := h.FindSurroundings(i.Name, underlays(i)[0], outer(i))
		addAbout := func(about string, s Severity, format string, args ...any) {
			all = append(all, Finding{
				About:     about,
				Severity:  s,
				Interface: i.Name,
				Text:      fmt.Sprintf(format, args...),
			})
		}
		add := func(s Severity, format string, args ...any) {
			addAbout(AboutRouting, s, format, args...)
		}
		switch {
		case errors.Is(err, rtnl.ErrNoPermission):
			continue
		case err != nil:
			add(Warning, "what is around the tunnel could not be looked at: %v", err)
			continue
		}
		describeTurned(i, around.Turned, addAbout)
		describe(i, &around, add)
		describeVRF(i, &around.VRF, c.Interfaces, add)
	}
	return all
}

// describe adds a finding for each of the surroundings: what it means, and what to do.
func describe(
	i *config.Interface, s *tunnel.Surroundings, add func(s Severity, format string, args ...any),
) {
	if len(s.Groups) > 0 && !i.Multicast.On() {
		names := make([]string, len(s.Groups))
		for n, g := range s.Groups {
			names[n] = protocol(g)
		}
		add(Warning, "a routing protocol speaks by multicast on the tunnel (%s), which multicast = [] keeps from all peers, so that it finds no "+
			"neighbours; remove that line, or name the neighbours to the routing protocol (OSPF: network type non-broadcast)",
			strings.Join(names, ", "))
	}
	for _, hop := range s.Hops {
		if linklocal.Overlay(i.IPv6().Overlay).Router(hop.NextHop) != hop.NextHop {
			continue
		}
		add(Warning, "the route to %s has the link-local next hop %s, which belongs to no overlay address, so that what takes the route is "+
			"lost: routers have link-local addresses with the last 64 bits of their overlay addresses, where the overlay is an IPv6 range of "+
			"/64 or longer; give that router's tunnel such an address, or have the routing protocol announce overlay addresses as next hops "+
			"(FRR: a route-map with set ipv6 next-hop prefer-global)",
			hop.Prefix, hop.NextHop)
	}
	if s.Discard && i.OuterDF == "" {
		add(Advice, "the tunnel was there before the daemon, and drops packets without DF that are larger than the path to a peer, and tells "+
			"nobody (pmtudisc): outer_df = \"never\" has them leave in fragments (nopmtudisc ignore-df), and outer_df = \"always\" says that it "+
			"is meant")
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
