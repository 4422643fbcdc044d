package nhrpd

import (
	"net/netip"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// wantedRoutes returns the routes that the engine wants: host routes to routers that are not on the
// link, routes of shortcuts, and routes to the prefixes that clients announced. It runs on the
// loop.
func (l *loop) wantedRoutes(interfaces []engine.InterfaceStatus) []api.Route {
	routes := []api.Route{}
	for _, ifc := range interfaces {
		p := l.ports[ifc.Name]
		if p == nil {
			continue
		}
		add := func(prefix netip.Prefix, nextHop netip.Addr) {
			routes = append(routes, api.Route{
				Interface: ifc.Name,
				Prefix:    prefix,
				NextHop:   nextHop,
				Table:     p.config.Table,
				Metric:    p.config.Metric,
			})
		}
		for _, router := range ifc.Routers {
			add(netip.PrefixFrom(router, router.BitLen()), netip.Addr{})
		}
		for _, s := range ifc.Shortcuts {
			if s.Routed {
				add(s.Prefix, s.NextHop)
			}
		}
		for _, b := range ifc.Bindings {
			for _, prefix := range b.Prefixes {
				if b.Routed {
					add(prefix, b.Protocol)
				}
			}
		}
	}
	return routes
}

// tablesStatus returns what the API shows of the kernel's reconciler.
func tablesStatus(st tables.Stats) api.Tables {
	return api.Tables{
		WantedNeighbors: st.WantedNeighbors,
		WantedRoutes:    st.WantedRoutes,
		Waiting:         st.Waiting,
		Failing:         st.Failing,
		Failures:        st.Failures,
		Resyncs:         st.Resyncs,
		Restored:        st.Restored,
		Removed:         st.Removed,
	}
}

// markInstalled marks those of the routes that the kernel has.
func (d *Daemon) markInstalled(routes []api.Route) {
	if len(routes) == 0 {
		return
	}
	there, err := d.platform.OwnRoutes()
	has := make(map[rtnl.Route]bool, len(there))
	for _, r := range there {
		r.Metric = 0
		has[r] = true
	}
	for i := range routes {
		r := &routes[i]
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
