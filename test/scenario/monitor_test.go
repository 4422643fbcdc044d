//go:build lab

package scenario

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cygnet/test/lab"
)

// monitor records when the kernel of a site deletes neighbours and ESP states, by the kernel's own
// notifications.
type monitor struct {
	mesh              *lab.Mesh
	site              *lab.Site
	neighbors, states *lab.Process
}

// watch starts a monitor and returns once the monitor hears of changes.
func watch(mesh *lab.Mesh, s *lab.Site) *monitor {
	m := &monitor{mesh: mesh, site: s,
		neighbors: s.Router.Node.Start("neighbour-monitor", nil, "ip", "-ts", "monitor", "neigh"),
		states:    s.Router.Node.Start("state-monitor", nil, "ip", "-ts", "xfrm", "monitor", "SA"),
	}
	probe := []string{"src", "198.51.100.98", "dst", "198.51.100.99", "proto", "esp", "spi", "0x98"}
	mesh.Await("the monitors hear of "+s.Name, soon, func() error {
		s.IP("neigh replace 198.51.100.98 lladdr 02:00:00:00:00:98 dev eth0 nud permanent",
			"neigh del 198.51.100.98 dev eth0")
		s.Run("ip", append(append([]string{"xfrm", "state", "add"}, probe...), "mode", "transport",
			"aead", "rfc4106(gcm(aes))", "0x"+strings.Repeat("98", 20), "128")...)
		s.Run("ip", append([]string{"xfrm", "state", "delete"}, probe...)...)
		return lab.True(!m.neighborGone(addr("198.51.100.98"), time.Time{}).IsZero() &&
			!m.stateGone(0x98).IsZero(), "%s\n%s", m.neighbors.Output(), m.states.Output())
	})
	return m
}

// neighborDeleted and stateDeleted match the lines of ip monitor and ip xfrm monitor for a
// deletion. They capture the time, and the address of the neighbour or the SPI of the ESP state.
var (
	neighborDeleted = regexp.MustCompile(`(?m)^\[([^]]+)\]\s*Deleted (\S+) dev `)
	stateDeleted    = regexp.MustCompile(`(?m)^\[([^]]+)\]\s*Deleted src \S+ dst \S+\s+proto esp spi (0x[0-9a-f]+)`)
)

// neighborGone returns when a neighbour was first deleted after a time, or the zero time if it was
// not.
func (m *monitor) neighborGone(neighbor netip.Addr, since time.Time) time.Time {
	return firstGone(neighborDeleted, m.neighbors.Output(), since, func(what string) bool {
		return what == neighbor.String()
	})
}

// stateGone returns when the ESP state with an SPI was deleted, or the zero time if it was not.
func (m *monitor) stateGone(spi uint32) time.Time {
	return firstGone(stateDeleted, m.states.Output(), time.Time{}, func(what string) bool {
		n, err := strconv.ParseUint(what, 0, 32)
		return err == nil && uint32(n) == spi
	})
}

// firstGone returns when something was first deleted after a time, by a monitor's output, or the
// zero time if it was not. The parameter is reports whether an address or an SPI in the output is
// the one that is looked for.
func firstGone(
	deleted *regexp.Regexp, output string, since time.Time, is func(string) bool,
) time.Time {
	for _, line := range deleted.FindAllStringSubmatch(output, -1) {
		at, err := time.ParseInLocation("2006-01-02T15:04:05.999999", line[1], time.Local)
		if err == nil && !at.Before(since) && is(line[2]) {
			return at
		}
	}
	return time.Time{}
}
