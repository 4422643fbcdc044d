package tables

import (
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// notice evaluates notifications. It returns the cause for which the tables have to be compared, or
// "" if there is none.
func (r *reconciler) notice(n rtnl.Notice) (cause string) {
	if n.Lost {
		cause = schedule.CauseLost
	}
	for _, m := range n.Messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			before, now := r.links.Apply(m)
			if before != now && r.devices[before.Name]+r.devices[now.Name] > 0 {
				cause = schedule.CauseLink
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			// When a device loses its last address, the kernel deletes the device's routes without
			// a notification.
			if a, ok := rtnl.ParseAddress(m); ok && r.devices[r.links.Name(a.Index)] > 0 {
				cause = schedule.CauseLink
			}
		case unix.RTM_DELNEIGH:
			if r.neighborVanished(m) && cause == "" {
				cause = causeVanished
			}
		case unix.RTM_DELRULE:
			if rule, _, ok := rtnl.ParseRule(m); ok && r.rules[rule] > 0 && cause == "" {
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

// neighborVanished reports whether a deleted neighbour is a wanted one.
func (r *reconciler) neighborVanished(m netlink.Message) bool {
	e, index, ok := rtnl.ParseNeighbor(m)
	if !ok {
		return false
	}
	_, wanted := r.neighbors[rtnl.NeighborKey{Device: r.links.Name(index), Protocol: e.Protocol}]
	return wanted
}

// routeVanished reports whether a message about a route means that a wanted route is gone: it was
// deleted, or another program's route with the same prefix and metric replaced it.
func (r *reconciler) routeVanished(m netlink.Message) bool {
	read, ok := rtnl.ParseRoute(m)
	if !ok || m.Header.Type == unix.RTM_NEWROUTE && read.Protocol == rtnl.Protocol {
		return false
	}
	for name := range r.devices {
		way, wanted := r.routes[rtnl.RouteKey{
			Device: name,
			Prefix: read.Prefix,
			Table:  read.Table,
			Metric: read.Metric,
		}]
		gone := rtnl.Way{NextHop: read.Hops[0].Gateway, MTU: read.MTU}
		if wanted && (m.Header.Type == unix.RTM_NEWROUTE || gone == way) {
			return true
		}
	}
	return false
}
