// Package watch follows what other programs and the kernel itself do: it mirrors routing tables
// (Routes), and reports the neighbours that the kernel asks for (Misses).
package watch

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// RouteEntry is a route in the kernel that the daemon did not make.
type RouteEntry struct {
	Prefix  netip.Prefix
	NextHop netip.Addr // of a multipath route, the first that works; zero: directly connected
	Device  string     // "": the prefix is unreachable (unreachable, blackhole, prohibit)
	Local   bool       // the kernel delivers the packets to this host
	Metric  uint32
}

// RouteBatch is a change of one table: first Reset, then Removed, then Added. The receiver owns it.
type RouteBatch struct {
	Table   uint32
	Reset   bool // forget all routes of the table first
	Added   []RouteEntry
	Removed []RouteEntry // each exactly as it was added
}

// routeBuffer is the size in bytes of the watch's receive buffer; 0: the usual size of a monitor's.
// A test makes it small, so that notifications are lost.
var routeBuffer = 0

// Routes mirrors routing tables, IPv4 and IPv6, without the daemon's own routes (rtnl.Protocol). It
// calls f for each table with a batch that has Reset and all routes of the table, and then with the
// changes. Table main (254) includes the local routes of table 255. Routes leaves out broadcast,
// multicast, anycast and throw routes and the route cache.
//
// f runs on the goroutine of Routes. While f blocks, notifications queue up in the kernel. If the
// kernel has to drop notifications, Routes reads the tables again. Routes returns nil when ctx
// ends, and returns an error only if trying again is useless (rtnl.ErrNoPermission).
func Routes(ctx context.Context, log *slog.Logger, tables []uint32, f func(RouteBatch)) error {
	notices, err := rtnl.Listen(ctx, log, rtnl.MonitorConfig{
		Buffer: routeBuffer,
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{
			unix.RTNLGRP_LINK,
			unix.RTNLGRP_IPV4_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE,
			unix.RTNLGRP_IPV6_ROUTE,
			unix.RTNLGRP_NEXTHOP,
		},
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	m := newMirror(tables)
	backoff := schedule.Backoff()
	next := schedule.NewAlarm()
	next.Set(0, schedule.CauseStart)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.Timer.C:
			cause := next.Fired()
			if err := m.read(); err != nil {
				log.Warn("cannot read the routing tables, trying again", "error", err)
				next.Set(backoff.NextBackOff(), schedule.CauseRetry)
				continue
			}
			log.Debug("read the routing tables", "cause", cause)
			backoff.Reset()
			next.Set(readEvery, schedule.CauseAudit)
		case n := <-notices:
			if cause := m.notices(n, notices); cause != "" {
				next.Set(m.pause(cause), cause)
			}
		}
		for _, b := range m.batches() {
			f(b)
		}
	}
}

// readEvery is how often the tables are read even if no notification seems to have been lost.
const readEvery = 10 * time.Minute

// mirrorKey identifies routes of the kernel. The kernel may hold several routes with the same key
// and different next hops.
type mirrorKey struct {
	table  uint32 // the kernel's; see mirror.tables
	prefix netip.Prefix
	metric uint32
	tos    byte
}

// mirrored is a route that is in the kernel, as far as the mirror knows.
type mirrored struct {
	entry RouteEntry
	hops  int // number of next hops; the kernel may report those of an IPv6 route one by one

	// ours reports whether the route is one of the daemon's. Such a route is not reported. The
	// mirror needs it to know which route a replacement replaced.
	ours bool

	// dead reports whether no next hop of the route works, or the device is unknown. Such a route
	// is not reported.
	dead bool
}

// reportsLike reports whether the receiver would get the same about both routes.
func (e mirrored) reportsLike(other mirrored) bool {
	return e.entry == other.entry && e.ours == other.ours
}

// mirror holds the routes of the watched tables, and the changes that were not reported yet.
type mirror struct {
	tables  map[uint32]uint32 // the table that is reported, by the kernel's table
	links   rtnl.Links
	routes  map[mirrorKey][]mirrored
	changes map[uint32]*RouteBatch // not reported yet; by the table that is reported
	filled  bool                   // the tables have been read at least once
	started time.Time              // when the last reading began
	took    time.Duration          // how long the last reading took
}

// newMirror returns a mirror of the given tables that has not read them yet.
func newMirror(tables []uint32) *mirror {
	m := &mirror{
		tables:  make(map[uint32]uint32),
		links:   make(rtnl.Links),
		routes:  make(map[mirrorKey][]mirrored),
		changes: make(map[uint32]*RouteBatch),
	}
	for _, t := range tables {
		m.tables[t] = t
		if t == unix.RT_TABLE_MAIN {
			m.tables[unix.RT_TABLE_LOCAL] = t
		}
	}
	return m
}

// read reads all tables and notes the differences from the mirror as changes.
func (m *mirror) read() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	m.started = time.Now()
	defer func() { m.took = time.Since(m.started) }()
	if m.links, err = r.Links(); err != nil {
		return err
	}
	routes := make(map[mirrorKey][]mirrored, len(m.routes))
	for table := range m.tables {
		for _, f := range []byte{unix.AF_INET, unix.AF_INET6} {
			messages, err := r.Routes(f, table, 0)
			if err != nil {
				return err
			}
			for _, message := range messages {
				if k, e, ok := m.parse(message); ok && !e.dead {
					routes[k] = append(routes[k], e)
				}
			}
		}
	}
	m.compare(routes)
	m.routes = routes
	m.filled = true
	return nil
}

// pause returns how long to wait before all tables are read. Reading a million routes takes a
// second, and a table that keeps changing gives a reason to read all the time. Reading may take at
// most about a tenth of the time.
func (m *mirror) pause(cause string) time.Duration {
	if cause == schedule.CauseLost {
		return schedule.SettlingDelay
	}
	return max(schedule.SettlingDelay, 10*m.took-time.Since(m.started))
}

// compare notes the differences between the mirror and the routes that were read.
func (m *mirror) compare(routes map[mirrorKey][]mirrored) {
	if !m.filled {
		for _, reported := range m.tables {
			m.batch(reported).Reset = true
		}
	}
	for k, before := range m.routes {
		for _, e := range without(before, routes[k]) {
			m.removed(k, e)
		}
	}
	for k, now := range routes {
		for _, e := range without(now, m.routes[k]) {
			m.added(k, e)
		}
	}
}

// without returns the elements of a that are not in b. Each element of b cancels one equal element
// of a.
func without(a, b []mirrored) []mirrored {
	if slices.Equal(a, b) {
		return nil
	}
	left := slices.Clone(b)
	var only []mirrored
	for _, e := range a {
		if i := slices.IndexFunc(left, e.reportsLike); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			only = append(only, e)
		}
	}
	return only
}

// notices applies a notification and those that wait behind it. It returns why the tables have to
// be read again, or "".
func (m *mirror) notices(first rtnl.Notice, waiting <-chan rtnl.Notice) (cause string) {
	cause = m.notice(first)
	for range cap(waiting) {
		select {
		case n := <-waiting:
			cause = cmp.Or(m.notice(n), cause)
		default:
			return cause
		}
	}
	return cause
}

// notice applies one notification. It returns why the tables have to be read again, or "".
func (m *mirror) notice(n rtnl.Notice) (cause string) {
	if n.Lost {
		return schedule.CauseLost
	}
	for _, message := range n.Messages {
		switch message.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			// When a link goes down, the kernel deletes its IPv4 routes without a notification.
			if before, now := m.links.Apply(message); before != now && before != (rtnl.Device{}) {
				cause = schedule.CauseLink
			}
		case unix.RTM_DELADDR, unix.RTM_DELNEXTHOP:
			// The kernel is just as silent about the routes that have a deleted address as their
			// source, and about those that use a deleted next hop object.
			cause = schedule.CauseLink
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if !m.filled {
				continue
			}
			if k, e, ok := m.parse(message); ok && !m.route(message.Header, k, e) {
				cause = schedule.CauseUnclear
			}
		}
	}
	return cause
}

// route applies one message about a route. It returns false if the mirror cannot tell what the
// message changes, so that the tables have to be read again.
func (m *mirror) route(head netlink.Header, k mirrorKey, e mirrored) bool {
	known := m.routes[k]
	i := slices.Index(known, e)
	switch {
	case e.dead:
		return false
	case head.Type == unix.RTM_DELROUTE && i < 0:
		return false
	case head.Type == unix.RTM_DELROUTE:
		m.set(k, slices.Delete(slices.Clone(known), i, i+1))
		m.removed(k, e)
	case head.Flags&netlink.Replace != 0 && len(known) > 1:
		return false // the message does not say which of the routes was replaced
	case head.Flags&netlink.Replace != 0 && i == 0:
	case head.Flags&netlink.Replace != 0 && len(known) == 1:
		m.set(k, []mirrored{e})
		if !e.reportsLike(known[0]) {
			m.removed(k, known[0])
			m.added(k, e)
		}
	case k.prefix.Addr().Is6() && len(known) > 0:
		// For IPv6 the kernel reports the next hops of a multipath route one by one or all at once.
		return false
	case i < 0:
		m.set(k, append(slices.Clone(known), e))
		m.added(k, e)
	}
	return true
}

// set replaces the routes with a key.
func (m *mirror) set(k mirrorKey, routes []mirrored) {
	if len(routes) == 0 {
		delete(m.routes, k)
		return
	}
	m.routes[k] = routes
}

// batch returns the batch that collects the changes of a table.
func (m *mirror) batch(reported uint32) *RouteBatch {
	b := m.changes[reported]
	if b == nil {
		b = &RouteBatch{Table: reported}
		m.changes[reported] = b
	}
	return b
}

// added notes that a route was added.
func (m *mirror) added(k mirrorKey, e mirrored) {
	if e.ours {
		return
	}
	b := m.batch(m.tables[k.table])
	b.Added = append(b.Added, e.entry)
}

// removed notes that a route was removed. If the route was added in the same batch, removed takes
// it out of the batch, and the receiver never learns of it.
func (m *mirror) removed(k mirrorKey, e mirrored) {
	if e.ours {
		return
	}
	b := m.batch(m.tables[k.table])
	if i := slices.Index(b.Added, e.entry); i >= 0 {
		b.Added = slices.Delete(b.Added, i, i+1)
		return
	}
	b.Removed = append(b.Removed, e.entry)
}

// batches returns the changes that were noted since the last call, ordered by table.
func (m *mirror) batches() []RouteBatch {
	var all []RouteBatch
	for _, b := range m.changes {
		if b.Reset || len(b.Added)+len(b.Removed) > 0 {
			all = append(all, *b)
		}
	}
	clear(m.changes)
	slices.SortFunc(all, func(a, b RouteBatch) int { return cmp.Compare(a.Table, b.Table) })
	return all
}

// parse reads a route. It returns false if the route is not in one of the tables, or is of a kind
// that the mirror leaves out.
func (m *mirror) parse(message netlink.Message) (k mirrorKey, e mirrored, ok bool) {
	r, ok := rtnl.ParseRoute(message)
	if !ok || r.Cloned {
		return k, e, false
	}
	if _, watched := m.tables[r.Table]; !watched {
		return k, e, false
	}
	e.ours, e.hops = r.Protocol == rtnl.Protocol, len(r.Hops)
	e.entry = RouteEntry{Prefix: r.Prefix, Metric: r.Metric}
	switch r.Kind {
	case unix.RTN_UNICAST, unix.RTN_LOCAL:
		hop, alive := firstAlive(r.Hops)
		e.entry.NextHop, e.entry.Device, e.entry.Local =
			hop.Gateway, m.links.Name(hop.Index), r.Kind == unix.RTN_LOCAL
		e.dead = !alive || e.entry.Device == ""
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
	default:
		return k, e, false
	}
	return mirrorKey{r.Table, r.Prefix, r.Metric, r.TOS}, e, true
}

// firstAlive returns the first next hop that works. It returns a next hop whose device has no
// carrier only if there is no better one.
func firstAlive(hops []rtnl.Hop) (rtnl.Hop, bool) {
	for _, bad := range []uint32{unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN, unix.RTNH_F_DEAD} {
		if i := slices.IndexFunc(hops, func(h rtnl.Hop) bool { return h.Flags&bad == 0 }); i >= 0 {
			return hops[i], true
		}
	}
	return rtnl.Hop{}, false
}
