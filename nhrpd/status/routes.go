package status

import (
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// Routes returns the routes that the engine wants of an interface: host routes to routers that are
// not on the link, routes of shortcuts, and routes to the prefixes that clients announced. The
// interface's routes have that table and metric. Routes in the table for host routes have the table
// hosts.
func Routes(ifc *engine.InterfaceStatus, table, hosts, metric uint32) []api.Route {
	var routes []api.Route
	add := func(prefix netip.Prefix, nextHop netip.Addr, beside bool) {
		table := table
		if beside {
			table = hosts
		}
		routes = append(routes, api.Route{
			Interface: ifc.Name,
			Prefix:    prefix,
			NextHop:   nextHop,
			Table:     table,
			Metric:    metric,
		})
	}
	for _, router := range ifc.Routers {
		add(netip.PrefixFrom(router, router.BitLen()), netip.Addr{},
			slices.Contains(ifc.HostTable, router))
	}
	for _, s := range ifc.Shortcuts {
		for _, prefix := range s.Routes {
			add(prefix, s.NextHop, s.Placement == engine.PlacedHostTable)
		}
	}
	for _, b := range ifc.Bindings {
		for _, prefix := range b.Prefixes {
			if b.Routed {
				add(prefix, b.Protocol, false)
			}
		}
	}
	return routes
}

// MarkInstalled marks those of the wanted routes that the kernel has. err is why the kernel's
// routes could not be read; it then becomes the error of every route.
func MarkInstalled(wanted []api.Route, kernel []rtnl.Route, err error) {
	has := make(map[rtnl.Route]bool, len(kernel))
	for _, r := range kernel {
		r.Metric = 0
		has[r] = true
	}
	for i := range wanted {
		r := &wanted[i]
		if err != nil {
			r.Error = err.Error()
			continue
		}
		r.Installed = has[rtnl.Route{
			Device:  r.Interface,
			Prefix:  r.Prefix,
			NextHop: r.NextHop,
			Table:   r.Table,
		}]
	}
}

// Tables returns what the API shows of the kernel's reconciler.
func Tables(st tables.Stats) api.Tables {
	return api.Tables{
		WantedNeighbors: st.WantedNeighbors,
		WantedRoutes:    st.WantedRoutes,
		WantedRules:     st.WantedRules,
		Waiting:         st.Waiting,
		Failing:         st.Failing,
		Failures:        st.Failures,
		Resyncs:         st.Resyncs,
		Restored:        st.Restored,
		Removed:         st.Removed,
	}
}
