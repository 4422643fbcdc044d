package status

import (
	"cmp"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// Counters returns what the API shows of the engine's counters. dropped has all drops, also those
// before and after the engine.
func Counters(st engine.Stats, dropped map[string]uint64) api.Counters {
	return api.Counters{
		Received: st.Received, Sent: st.Sent, Dropped: dropped,
		Registered: st.Registered, Served: st.Served,
	}
}

// addRoundTrips gives peers whose direct path was not probed the round-trip time of the
// registration with them.
func addRoundTrips(out *api.Interface) {
	for i := range out.NHS {
		n := &out.NHS[i]
		for k := range out.Peers {
			p := &out.Peers[k]
			if p.NBMA == n.NBMA && p.Mark == 0 && p.RoundTrip == 0 {
				p.RoundTrip = n.RoundTrip
			}
		}
	}
}

// Limits returns the limits of an interface, and how full the tables of the engine are.
func Limits(c *config.Limits, fill engine.Fill) []api.Limit {
	full := func(name string, limit, used int) api.Limit {
		return api.Limit{Name: name, Limit: limit, Used: &used}
	}
	rate := func(name string, limit int) api.Limit { return api.Limit{Name: name, Limit: limit} }
	return []api.Limit{
		full("bindings", c.Bindings, fill.Bindings),
		full("prefixes", c.Prefixes, fill.Prefixes),
		full("shortcuts", c.Shortcuts, fill.Shortcuts),
		full("answers", c.Answers, fill.Answers),
		full("held", c.Held, fill.Held),
		full("sas", c.SAs, 0),
		full("links", c.Links, 0),
		rate("indications", c.Indications),
		rate("errors", c.Errors),
		rate("requests", c.Requests),
		rate("transit", c.Transit),
		rate("multicast_packets", c.MulticastPackets),
		rate("multicast_bytes", c.MulticastBytes),
	}
}

// AddUse adds to the limits of each interface what the engine does not know: the most SAs of one
// identity, and the devices of peers at IPv6 addresses.
func AddUse(interfaces []api.Interface, sas []api.SA) {
	type identity struct{ iface, name string }
	of, most := make(map[identity]int), make(map[string]int)
	for i := range sas {
		for _, iface := range append([]string{sas[i].Interface}, sas[i].SharedBy...) {
			k := identity{iface, sas[i].RemoteIdentity}
			of[k]++
			most[iface] = max(most[iface], of[k])
		}
	}
	for i := range interfaces {
		ifc := &interfaces[i]
		for k := range ifc.Limits {
			switch l := &ifc.Limits[k]; {
			case l.Name == "sas":
				*l.Used = most[ifc.Name]
			case l.Name == "links" && ifc.Links != nil:
				*l.Used = ifc.Links.Devices
			}
		}
	}
}

// AddTraffic adds to interfaces and their peers what SAs carried. group returns the name under
// which strongSwan has the SAs of an interface.
func AddTraffic(
	interfaces []api.Interface, byGroup map[string]vici.Traffic, byPeer map[vici.Key]vici.Traffic,
	group func(iface string) string,
) {
	for i := range interfaces {
		ifc := &interfaces[i]
		name := cmp.Or(group(ifc.Name), ifc.Name)
		if t, known := byGroup[name]; known {
			ifc.Traffic = (*api.Traffic)(&t)
		}
		for k := range ifc.Peers {
			p := &ifc.Peers[k]
			key := vici.Key{Interface: name, NBMA: p.NBMA}
			if p.Mark != 0 {
				key = vici.Key{Interface: name, Mark: p.Mark}
			}
			if t, known := byPeer[key]; known {
				p.Traffic = (*api.Traffic)(&t)
			}
		}
	}
}
