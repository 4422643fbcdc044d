package tc

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"

	"golang.org/x/sys/unix"
)

// comparePause is the least time between two comparisons, since another program may change things
// all the time.
const comparePause = 50 * time.Millisecond

// Listen delivers notifications of qdiscs, filters and links until ctx ends; see rtnl.Listen.
func Listen(ctx context.Context, log *slog.Logger) (<-chan rtnl.Notice, error) {
	return rtnl.Listen(ctx, log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{unix.RTNLGRP_TC, unix.RTNLGRP_LINK},
	})
}

// Touched reports whether a notification may mean that a filter on one of the devices came, went or
// changed, or that such a device itself did.
func Touched(n rtnl.Notice, indexes ...int) bool {
	if n.Lost {
		return true
	}
	for _, m := range n.Messages {
		switch m.Header.Type {
		case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER,
			unix.RTM_NEWCHAIN, unix.RTM_DELCHAIN:
			if slices.Contains(indexes, indexOf(m)) {
				return true
			}
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if l, ok := rtnl.ParseLink(m); ok && slices.Contains(indexes, l.Index) {
				return true
			}
		}
	}
	return false
}

// Keep calls compare until ctx ends: at once, after a notification for which concerns returns true,
// after a value from wake, after schedule.AuditInterval, and after an error of compare with
// back-off. Two calls are at least comparePause apart. compare gets the cause of the call.
func Keep(ctx context.Context, notices <-chan rtnl.Notice, concerns func(rtnl.Notice) bool,
	wake <-chan struct{}, compare func(cause string) error) {
	backoff := schedule.Backoff()
	next := schedule.NewAlarm()
	next.Set(0, schedule.CauseStart)
	var last time.Time
	hurry := func(cause string) { next.Set(max(0, comparePause-time.Since(last)), cause) }
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			hurry(schedule.CauseAsked)
		case n := <-notices:
			if concerns(n) {
				hurry(CauseFilters)
			}
		case <-next.Timer.C:
			err := compare(next.Fired())
			last = time.Now()
			if err != nil {
				next.Set(backoff.NextBackOff(), schedule.CauseRetry)
				continue
			}
			backoff.Reset()
			next.Set(schedule.AuditInterval, schedule.CauseAudit)
		}
	}
}

// CauseFilters is the cause of a comparison after a notification.
const CauseFilters = "programs or devices changed"
