// Package tables holds wanted neighbours and routes in the kernel: a reconciler that compares what
// is wanted with what the kernel says, never with a memory of what was done.
package tables

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Change changes what is wanted: either a neighbour or a route. With Delete it is no longer wanted;
// then NBMA and NextHop do not matter.
type Change struct {
	Neighbor *rtnl.Neighbor
	Route    *rtnl.Route
	Delete   bool
}

// Tables holds wanted neighbours and routes in the kernel. What it works on is the kernel's own
// tables: it reads them at start, when notifications were lost, when one of its entries vanished,
// when a device comes back, and every minute, and puts right what differs. It adds before it
// deletes, and a route only after its neighbour. Entries whose device is missing or down wait for
// it.
//
// All methods may be called from any goroutine, before and while Run runs.
type Tables struct {
	log  *slog.Logger
	room int
	wake chan struct{}

	mu    sync.Mutex
	inbox inbox
	spare inbox // empty: the inbox after this one
	stats Stats
}

// inbox is what was asked for since Run last looked.
type inbox struct {
	neighbors map[rtnl.NeighborKey]wish
	routes    map[rtnl.RouteKey]wish
	after     []func()
	resync    bool
	settle    bool
}

// wish is an NBMA address or a next hop to be, or nothing any more.
type wish struct {
	address netip.Addr
	gone    bool
}

// Stats tells how the kernel's tables compare with what is wanted.
type Stats struct {
	WantedNeighbors int
	WantedRoutes    int
	Waiting         int               // wanted entries whose device is missing or down
	Failing         int               // wanted entries that the kernel refused at the last try
	Failures        map[string]uint64 // refusals since start, by operation and reason
	Resyncs         map[string]uint64 // comparisons with the kernel since start, by cause
	Restored        uint64            // entries that a comparison found missing or changed
	Removed         uint64            // entries of ours that nobody wanted and a comparison removed
}

// Present is the number of wanted entries that were in the kernel when last looked at.
func (s Stats) Present() int { return s.WantedNeighbors + s.WantedRoutes - s.Waiting - s.Failing }

// New returns Tables that want nothing yet, with room for so many neighbours from the start.
func New(log *slog.Logger, room int) *Tables {
	return &Tables{log: log, room: room, wake: make(chan struct{}, 1), inbox: newInbox(), spare: newInbox()}
}

func newInbox() inbox {
	return inbox{neighbors: make(map[rtnl.NeighborKey]wish), routes: make(map[rtnl.RouteKey]wish)}
}

// Want takes over changes of what is wanted. It copies them and never blocks. Of several changes of
// one neighbour (device and overlay address) or route (device, prefix, table and metric) the latest
// wins.
func (t *Tables) Want(changes []Change) {
	t.ask(func(in *inbox) {
		for _, c := range changes {
			if n := c.Neighbor; n != nil {
				in.neighbors[n.Key()] = wish{n.NBMA, c.Delete}
			}
			if c.Route != nil {
				r := c.Route.Normal()
				in.routes[r.Key()] = wish{r.NextHop, c.Delete}
			}
		}
	})
}

// After has f run once all changes handed over before are in the kernel, wait for their device, or
// failed and were reported. f runs on Run's goroutine and must not block; it does not run after Run
// has returned.
func (t *Tables) After(f func()) {
	t.ask(func(in *inbox) { in.after = append(in.after, f) })
}

// Resync has everything compared with the kernel now.
func (t *Tables) Resync() {
	t.ask(func(in *inbox) { in.resync = true })
}

// Settle ends the time after a start in which entries of ours that are in the kernel and that
// nobody has wanted yet stay there: from now on they are removed.
func (t *Tables) Settle() {
	t.ask(func(in *inbox) { in.settle = true })
}

// Stats returns a copy of the counters.
func (t *Tables) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Failures, s.Resyncs = maps.Clone(s.Failures), maps.Clone(s.Resyncs)
	return s
}

func (t *Tables) ask(f func(*inbox)) {
	t.mu.Lock()
	f(&t.inbox)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take empties the inbox. What it returns is the caller's until reuse.
func (t *Tables) take() inbox {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.inbox
	t.inbox, t.spare = t.spare, inbox{}
	return in
}

// largestSpare is how many changes the memory of an inbox may have room for that is kept: more come
// together at a start only.
const largestSpare = 1024

// reuse takes an inbox back of which everything has been done.
func (t *Tables) reuse(in inbox) {
	spare := newInbox()
	if len(in.neighbors)+len(in.routes) <= largestSpare {
		clear(in.neighbors)
		clear(in.routes)
		spare.neighbors, spare.routes = in.neighbors, in.routes
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spare = spare
}

func (t *Tables) publish(s Stats) {
	s.Failures, s.Resyncs = maps.Clone(s.Failures), maps.Clone(s.Resyncs)
	t.mu.Lock()
	t.stats = s
	t.mu.Unlock()
}

// vanishedPause is the least time between two comparisons because entries vanished: another program
// may delete them all the time.
const vanishedPause = time.Second

const (
	causeSettle   = "settle"
	causeVanished = "entry vanished"
)

// Run works until ctx ends, and leaves everything in the kernel as it is then. It returns an error
// only where trying again is of no use (rtnl.ErrNoPermission).
func (t *Tables) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the monitor, also when Run returns an error
	notices, err := rtnl.Listen(ctx, t.log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE},
		Filter: tablesFilter(),
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	r := newReconciler(t.log, t.room)
	defer r.close()
	retry := schedule.NewBackoff(schedule.RetryFirst, schedule.RetryLimit)
	next := schedule.NewAlarm()
	work := func(in inbox, cause string) error {
		err := r.work(in, cause)
		t.publish(r.stats)
		for _, f := range in.after {
			f()
		}
		t.reuse(in)
		if errors.Is(err, rtnl.ErrNoPermission) {
			return err
		}
		if err != nil {
			t.log.Warn("cannot bring the kernel's tables in step, trying again", "error", err)
		}
		if err != nil || r.stats.Failing > 0 {
			next.Set(retry.Delay(), schedule.CauseRetry)
			return nil
		}
		retry.Reset()
		next.Set(schedule.AuditInterval, schedule.CauseAudit)
		return nil
	}
	if err := work(t.take(), schedule.CauseStart); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
			err = work(t.take(), "")
		case <-next.Timer.C:
			err = work(t.take(), next.Fired())
		case n := <-notices:
			if cause := r.notice(n); cause != "" {
				next.Set(r.pause(cause), cause)
			}
		}
		if err != nil {
			return err
		}
	}
}

// tablesFilter lets through what may mean that an entry of ours is gone: links, addresses,
// neighbours deleted, routes of ours deleted, routes put in the place of another. A full BGP table
// in motion stays in the kernel.
func tablesFilter() []bpf.Instruction {
	const typeOffset, flagsOffset, protocolOffset = 4, 6, unix.SizeofNlMsghdr + 5
	pass, drop := bpf.RetConstant{Val: 1 << 18}, bpf.RetConstant{Val: 0}
	filter := []bpf.Instruction{bpf.LoadAbsolute{Off: typeOffset, Size: 2}}
	for _, kind := range []uint16{unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_DELNEIGH} {
		filter = append(filter, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.AsLoaded(kind), SkipTrue: 1}, pass)
	}
	return append(filter,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.AsLoaded(unix.RTM_DELROUTE), SkipTrue: 4},
		bpf.LoadAbsolute{Off: protocolOffset, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.Protocol, SkipTrue: 1},
		pass,
		drop,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.AsLoaded(unix.RTM_NEWROUTE), SkipTrue: 3},
		bpf.LoadAbsolute{Off: flagsOffset, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: rtnl.AsLoaded(uint16(netlink.Replace)), SkipTrue: 1},
		pass,
		drop,
	)
}
