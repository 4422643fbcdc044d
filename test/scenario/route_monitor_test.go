//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"cygnet/test/lab"
)

// routeMonitor records the changes of a site's IPv4 routes, in all tables, as ip-monitor(8) prints
// them.
type routeMonitor struct {
	m       *lab.Mesh
	site    *lab.Site
	process *lab.Process
}

// monitorRoutes starts a monitor and returns once it hears of changes.
func monitorRoutes(m *lab.Mesh, s *lab.Site) routeMonitor {
	m.Helper()
	r := routeMonitor{m, s,
		s.Router.Node.Start("route-monitor", nil, "ip", "-4", "-ts", "monitor", "route")}
	r.catchUp()
	return r
}

// probes is where the routes of catchUp lead, and probed how many there were, of all monitors.
var (
	probes = netip.MustParsePrefix("100.127.0.0/16")
	probed atomic.Uint32
)

// catchUp returns once the monitor has printed all changes up to now. The kernel tells a change
// before the monitor prints it, and a busy machine lets a fifth of a second pass in between.
func (r routeMonitor) catchUp() {
	r.m.Helper()
	n := probed.Add(1)
	probe := fmt.Sprintf("100.127.%d.%d", n>>8&0xff, n&0xff)
	r.m.Await("the monitor has printed the changes on "+r.site.Name, soon, func() error {
		// Until the monitor has its socket, it hears of nothing.
		r.site.IP("route add "+probe+"/32 dev lo", "route del "+probe+"/32 dev lo")
		return lab.True(strings.Contains(r.process.Output(), probe+" dev lo"), "no %s", probe)
	})
}

// changes returns the changes so far, a line each.
func (r routeMonitor) changes() []string {
	r.m.Helper()
	r.catchUp()
	return slices.DeleteFunc(strings.Split(r.process.Output(), "\n"), func(line string) bool {
		return line == "" || slices.ContainsFunc(strings.Fields(line), func(word string) bool {
			a, err := netip.ParseAddr(word)
			return err == nil && probes.Contains(a)
		})
	})
}
