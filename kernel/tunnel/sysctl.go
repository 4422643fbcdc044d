package tunnel

import (
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
	if !c.ResolveMisses {
		return list
	}
	const asksUs = "neighbours that are missing are asked of the daemon, and packets wait meanwhile"
	family := "ipv4"
	if c.Address.Addr().Is6() {
		family = "ipv6"
	}
	table := "net/" + family + "/neigh/" + c.Name + "/"
	return append(list,
		sysctl.Setting{Path: table + "app_solicit", Value: strconv.Itoa(missTries), Why: asksUs},
		sysctl.Setting{Path: table + "mcast_solicit", Value: "0", Why: asksUs},
		sysctl.Setting{Path: table + "ucast_solicit", Value: "0", Why: asksUs})
}

// missTries is how often the kernel asks for a missing neighbour. It asks once a second, so this is
// also for how many seconds it holds packets.
const missTries = 5
