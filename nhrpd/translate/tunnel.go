package translate

import (
	"net/netip"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/linklocal"
)

// TunnelConfig returns what the kernel has to know of an interface.
func TunnelConfig(c *config.Interface) tunnel.Config {
	v6 := c.IPv6()
	var addresses []netip.Prefix
	for _, f := range c.Families() {
		addresses = append(addresses, f.Address)
	}
	return tunnel.Config{
		Name:          c.Name,
		Addresses:     addresses,
		LinkLocal:     linklocal.Overlay(v6.Overlay).Of(v6.Address.Addr()),
		Local:         c.Underlay.Address,
		Local6:        c.Underlay.Address6,
		IPv4Only:      !c.Protected,
		Underlay:      c.Underlay.Device,
		VRF:           c.UnderlayVRF,
		Master:        c.VRF,
		Key:           c.Key,
		TTL:           c.TTL,
		MTU:           c.MTU,
		OuterDF:       rtnl.OuterDF(c.OuterDF),
		Protected:     c.Protected,
		Front:         inFront(c),
		ResolveMisses: c.Shortcut,
		Multicast:     c.Multicast.On(),
	}
}

// UnderlayRules are the routing rules of an interface's underlay: for IPv4, and for IPv6.
type UnderlayRules [2]rtnl.Rule

// RulesOf returns the rules that have everything from the tunnel's addresses take the routes of the
// underlay, whatever the main table says. A rule is the zero rule if the interface has none, or
// none now, or has several underlays: UplinkRule has the rules of those.
func RulesOf(c *config.Interface, st tunnel.State) (rules UnderlayRules) {
	table := c.UnderlayTable
	if c.UnderlayVRF != "" {
		table = st.VRFTable
	}
	if table == 0 || len(c.Reserve) > 0 {
		return rules
	}
	for i, local := range []netip.Addr{st.Local, st.Local6} {
		if local.IsValid() {
			rules[i] = rtnl.Rule{
				Family:   rtnl.Family(local),
				Table:    table,
				Priority: c.UnderlayRule,
				From:     local,
			}
		}
	}
	return rules
}

// UplinkRule returns the rule that has everything from addr take the routes of the uplink that has
// that address, which is the interface's i-th. The rule is there for each uplink, so that the
// probes of those that are not in use take the right way. It returns the zero rule if there is
// none.
func UplinkRule(c *config.Interface, i int, addr netip.Addr) rtnl.Rule {
	if c.UnderlayTable == 0 || !addr.IsValid() {
		return rtnl.Rule{}
	}
	return rtnl.Rule{
		Family:   rtnl.Family(addr),
		Table:    c.UnderlayTable + uint32(i),
		Priority: c.UnderlayRule,
		From:     addr,
	}
}
