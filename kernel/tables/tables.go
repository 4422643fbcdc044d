// Package tables keeps the wanted neighbours and routes in the kernel. Its reconciler compares what
// is wanted with what the kernel has now, and not with a memory of its own changes.
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

// Change changes one wanted entry, which is either a neighbour or a route. With Delete, the entry
// is no longer wanted, and NBMA and NextHop do not matter.
type Change struct {
	Neighbor *rtnl.Neighbor // nil: the change is about a route
	Route    *rtnl.Route    // nil: the change is about a neighbour

	// Rule is the priority of the rule that has the kernel look into the route's table. If it is 0,
	// the route needs no rule. A rule is wanted as long as a wanted route needs it.
	Rule uint32

	Delete bool
}

// Tables keeps the wanted neighbours and routes in the kernel, the rules that the routes need, and
// those that tunnels need.
// It compares them with the kernel's own tables at the start, when notifications were lost, when
// one of its entries vanished, when a device comes back, and every minute, and corrects the
// differences. It adds entries before it deletes others, and adds a route only after its neighbour.
// Entries whose device is missing or down wait for the device.
//
// All methods may be called from any goroutine, before and while Run runs.
type Tables struct {
	log  *slog.Logger
	room int           // for how many neighbours to allocate memory at the start
	wake chan struct{} // receives a value when there is something in inbox

	// Took is called, on Run's goroutine, with how long it took to bring the kernel's tables in
	// step. It has to be set before Run. nil: nobody wants to know.
	Took func(time.Duration)

	mu    sync.Mutex
	inbox inbox
	spare inbox // empty; becomes the inbox when Run takes the present one
	stats Stats // as of the end of Run's last turn
}

// inbox holds the requests that came since Run last took them.
type inbox struct {
	neighbors map[rtnl.NeighborKey]wish
	routes    map[rtnl.RouteKey]wish
	pinned    map[string]rtnl.Rule // see Tables.Pin; the zero rule: none
	after     []func()             // see Tables.After
	resync    bool                 // see Tables.Resync
	settle    bool                 // see Tables.Settle

	secured map[string]func(netip.Addr) bool // by device; see Tables.RemoveUnsecured
}

// wish says what is wanted of a neighbour or a route.
type wish struct {
	address netip.Addr // NBMA address of the neighbour, or next hop of the route
	mtu     uint32     // of the route; 0: that of the device
	rule    rtnl.Rule  // that the route needs; zero: none
	gone    bool       // the entry is no longer wanted
}

// way returns the way that is wanted of a route.
func (w wish) way() rtnl.Way { return rtnl.Way{NextHop: w.address, MTU: w.mtu} }

// Stats shows how the kernel's tables compare with what is wanted.
type Stats struct {
	WantedNeighbors int
	WantedRoutes    int
	WantedRules     int
	Waiting         int               // wanted entries whose device is missing or down
	Failing         int               // wanted entries that the kernel refused at the last try
	Failures        map[string]uint64 // refusals since the start, by operation and reason
	Resyncs         map[string]uint64 // comparisons with the kernel since the start, by cause
	Restored        uint64            // entries that a comparison found missing or changed
	Removed         uint64            // the daemon's unwanted entries that a comparison removed
}

// Present returns how many wanted entries the kernel had at the last look.
func (s Stats) Present() int {
	return s.WantedNeighbors + s.WantedRoutes + s.WantedRules - s.Waiting - s.Failing
}

// New returns Tables without wanted entries. room is the number of neighbours for which Run
// allocates memory at the start.
func New(log *slog.Logger, room int) *Tables {
	return &Tables{
		log:   log,
		room:  room,
		wake:  make(chan struct{}, 1),
		inbox: newInbox(),
		spare: newInbox(),
	}
}

// newInbox returns an empty inbox.
func newInbox() inbox {
	return inbox{
		neighbors: make(map[rtnl.NeighborKey]wish),
		routes:    make(map[rtnl.RouteKey]wish),
		pinned:    make(map[string]rtnl.Rule),
		secured:   make(map[string]func(netip.Addr) bool),
	}
}

// Want changes what is wanted. It copies the changes and never blocks. Among several changes of one
// neighbour (device and overlay address) or of one route (device, prefix, table and metric), the
// latest wins.
func (t *Tables) Want(changes []Change) {
	t.ask(func(in *inbox) {
		for _, c := range changes {
			if n := c.Neighbor; n != nil {
				in.neighbors[n.Key()] = wish{address: n.NBMA, gone: c.Delete}
			}
			if c.Route != nil {
				r := c.Route.Normal()
				w := wish{address: r.NextHop, mtu: r.MTU, gone: c.Delete}
				if c.Rule != 0 {
					w.rule = rtnl.Rule{
						Family:   rtnl.Family(r.Prefix.Addr()),
						Table:    r.Table,
						Priority: c.Rule,
					}
				}
				in.routes[r.Key()] = w
			}
		}
	})
}

// Pin has Run keep a rule for an owner, such as the interface whose tunnel needs it, in the place
// of the owner's rule before. The zero rule takes the owner's rule back. Two owners may want the
// same rule, which goes when neither wants it any more.
func (t *Tables) Pin(owner string, rule rtnl.Rule) {
	t.ask(func(in *inbox) { in.pinned[owner] = rule })
}

// After has Run call f after all changes that were handed over before have been dealt with: each is
// in the kernel, waits for its device, or has failed and been reported. f runs on Run's goroutine
// and must not block. It does not run after Run has returned.
func (t *Tables) After(f func()) {
	t.ask(func(in *inbox) { in.after = append(in.after, f) })
}

// Resync has Run compare everything with the kernel now.
func (t *Tables) Resync() {
	t.ask(func(in *inbox) { in.resync = true })
}

// Settle ends the time after a start in which Run keeps entries of an earlier run that nobody has
// wanted yet. From now on Run removes them from the kernel.
func (t *Tables) Settle() {
	t.ask(func(in *inbox) { in.settle = true })
}

// RemoveUnsecured has Run remove those entries of an earlier run on a device that nobody has wanted
// yet and that lead to an NBMA address for which secured returns false. It is for a device that
// needs IPsec, where the kernel drops what takes such an entry. Run calls secured on its goroutine,
// until Settle or the next call for the device. After Settle, RemoveUnsecured does nothing.
func (t *Tables) RemoveUnsecured(device string, secured func(nbma netip.Addr) bool) {
	t.ask(func(in *inbox) { in.secured[device] = secured })
}

// Stats returns a copy of the counters.
func (t *Tables) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Failures, s.Resyncs = maps.Clone(s.Failures), maps.Clone(s.Resyncs)
	return s
}

// ask has f add a request to the inbox, and wakes Run.
func (t *Tables) ask(f func(*inbox)) {
	t.mu.Lock()
	f(&t.inbox)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take returns the inbox and leaves an empty one. The returned inbox belongs to the caller until
// reuse.
func (t *Tables) take() inbox {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.inbox
	t.inbox, t.spare = t.spare, inbox{}
	return in
}

// largestSpare is how many changes an inbox may have held whose memory is used again. More changes
// come together only at a start.
const largestSpare = 1024

// reuse takes back an inbox whose requests have been carried out.
func (t *Tables) reuse(in inbox) {
	spare := newInbox()
	if len(in.neighbors)+len(in.routes) <= largestSpare {
		clear(in.neighbors)
		clear(in.routes)
		clear(in.pinned)
		clear(in.secured)
		spare.neighbors, spare.routes = in.neighbors, in.routes
		spare.pinned, spare.secured = in.pinned, in.secured
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spare = spare
}

// publish makes a copy of the reconciler's counters available to Stats.
func (t *Tables) publish(s Stats) {
	s.Failures, s.Resyncs = maps.Clone(s.Failures), maps.Clone(s.Resyncs)
	t.mu.Lock()
	t.stats = s
	t.mu.Unlock()
}

// vanishedPause is the least time between two comparisons that vanished entries cause, since
// another program may delete entries all the time.
const vanishedPause = time.Second

const (
	causeSettle    = "settle"
	causeUnsecured = "peers without an SA"
	causeVanished  = "entry vanished"
)

// Run keeps the wanted entries in the kernel until ctx ends, and then leaves the kernel as it is.
// It returns an error only if trying again is useless (rtnl.ErrNoPermission).
func (t *Tables) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the monitor even if Run returns an error
	notices, err := rtnl.Listen(ctx, t.log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{
			unix.RTNLGRP_LINK,
			unix.RTNLGRP_NEIGH,
			unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
			unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		},
		Filter: tablesFilter(),
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	r := newReconciler(t.log, t.room)
	defer r.close()
	backoff := schedule.Backoff()
	next := schedule.NewAlarm()
	work := func(in inbox, cause string) error {
		began := time.Now()
		err := r.work(in, cause)
		if t.Took != nil {
			t.Took(time.Since(began))
		}
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
			next.Set(backoff.NextBackOff(), schedule.CauseRetry)
			return nil
		}
		backoff.Reset()
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

// tablesFilter passes the notifications that may mean that an entry of the daemon's is gone:
// changes of links and addresses, deleted neighbours and rules, deleted routes of the daemon's, and
// routes that replace another. It keeps all else in the kernel, such as the changes of a full BGP
// table.
func tablesFilter() []bpf.Instruction {
	const typeOffset, flagsOffset, protocolOffset = 4, 6, unix.SizeofNlMsghdr + 5
	pass, drop := bpf.RetConstant{Val: 1 << 18}, bpf.RetConstant{Val: 0}
	filter := []bpf.Instruction{bpf.LoadAbsolute{Off: typeOffset, Size: 2}}
	for _, kind := range []uint16{
		unix.RTM_NEWLINK, unix.RTM_DELLINK,
		unix.RTM_NEWADDR, unix.RTM_DELADDR,
		unix.RTM_DELNEIGH,
		unix.RTM_DELRULE,
	} {
		filter = append(filter,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.AsLoaded(kind), SkipTrue: 1},
			pass)
	}
	return append(filter,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.AsLoaded(unix.RTM_DELROUTE), SkipTrue: 4},
		bpf.LoadAbsolute{Off: protocolOffset, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.Protocol, SkipTrue: 1},
		pass,
		drop,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.AsLoaded(unix.RTM_NEWROUTE), SkipTrue: 3},
		bpf.LoadAbsolute{Off: flagsOffset, Size: 2},
		bpf.JumpIf{
			Cond:     bpf.JumpBitsNotSet,
			Val:      rtnl.AsLoaded(uint16(netlink.Replace)),
			SkipTrue: 1,
		},
		pass,
		drop,
	)
}
