package tunnel

import (
	"net/netip"
	"slices"
	"strconv"

	"cygnet/kernel/sysctl"
)

// settings returns the settings that a tunnel must have. ICMP redirects are off for all interfaces
// and for the tunnel, because the kernel sends them if either setting is on.
func settings(c Config) []sysctl.Setting {
	const noRedirects = "redirects would name next hops that peers cannot reach"
	list := []sysctl.Setting{
		{Path: "net/ipv4/conf/all/send_redirects", Value: "0", Why: noRedirects},
		{Path: "net/ipv4/conf/" + c.Name + "/send_redirects", Value: "0", Why: noRedirects},
	}
	if c.has(netip.IPv6Unspecified()) {
		list = append(list, sysctl.Setting{
			Path:  "net/ipv6/conf/" + c.Name + "/disable_ipv6",
			Value: "0",
			Why:   "the tunnel has an IPv6 overlay address",
		})
	}
	if c.LinkLocal.IsValid() {
		list = append(list, sysctl.Setting{
			Path:  "net/ipv6/conf/" + c.Name + "/addr_gen_mode",
			Value: "1",
			Why:   "the tunnel's link-local address is that of its overlay address",
		})
	}
	if !c.ResolveMisses {
		return list
	}
	const asksUs = "neighbours that are missing are asked of the daemon, and packets wait meanwhile"
	for _, p := range c.Addresses {
		family := "ipv4"
		if p.Addr().Is6() {
			family = "ipv6"
		}
		table := "net/" + family + "/neigh/" + c.Name + "/"
		tries := strconv.Itoa(missTries)
		list = append(list,
			sysctl.Setting{Path: table + "app_solicit", Value: tries, Why: asksUs},
			sysctl.Setting{Path: table + "mcast_solicit", Value: "0", Why: asksUs},
			sysctl.Setting{Path: table + "ucast_solicit", Value: "0", Why: asksUs})
	}
	return list
}

// has reports whether the tunnel has an overlay address of the same family as a.
func (c *Config) has(a netip.Addr) bool {
	return slices.ContainsFunc(c.Addresses, func(p netip.Prefix) bool {
		return p.Addr().Is4() == a.Is4()
	})
}

// missTries is how often the kernel asks for a missing neighbour. It asks once a second, so this is
// also for how many seconds it holds packets.
const missTries = 5
