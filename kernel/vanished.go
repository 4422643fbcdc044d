package kernel

import (
	"time"

	"cygnet/kernel/schedule"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// notice looks through notifications and returns why the tables have to be compared, or "".
func (r *reconciler) notice(n notice) (cause string) {
	if n.lost {
		cause = schedule.CauseLost
	}
	for _, m := range n.messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			before, now := r.links.apply(m)
			if before != now && r.devices[before.name]+r.devices[now.name] > 0 {
				cause = schedule.CauseLink
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			// A device's last address takes its routes along without a word.
			if a, ok := parseAddress(m); ok && r.devices[r.links.name(a.index)] > 0 {
				cause = schedule.CauseLink
			}
		case unix.RTM_DELNEIGH:
			if r.neighborVanished(m) && cause == "" {
				cause = causeVanished
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if r.routeVanished(m) && cause == "" {
				cause = causeVanished
			}
		}
	}
	return cause
}

// pause returns how long to wait before comparing the tables for this cause.
func (r *reconciler) pause(cause string) time.Duration {
	if cause != causeVanished {
		return schedule.SettlingDelay
	}
	return max(schedule.SettlingDelay, vanishedPause-time.Since(r.compared))
}

func (r *reconciler) neighborVanished(m netlink.Message) bool {
	e, index, ok := parseNeighbor(m)
	if !ok {
		return false
	}
	_, wanted := r.neighbors[neighborKey{r.links.name(index), e.Protocol}]
	return wanted
}

// routeVanished looks at a route of ours deleted, or at another's that took the place of one with the same prefix and metric.
func (r *reconciler) routeVanished(m netlink.Message) bool {
	read, ok := parseRoute(m)
	if !ok || m.Header.Type == unix.RTM_NEWROUTE && read.protocol == Protocol {
		return false
	}
	for name := range r.devices {
		nextHop, wanted := r.routes[routeKey{name, read.prefix, read.table, read.metric}]
		if wanted && (m.Header.Type == unix.RTM_NEWROUTE || read.hops[0].gateway == nextHop) {
			return true
		}
	}
	return false
}
