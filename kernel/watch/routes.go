// Package watch follows what others do in the kernel: a mirror of the routes of tables, and the
// neighbours that the kernel asks for.
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

// RouteEntry is a route of the kernel that is not ours.
type RouteEntry struct {
	Prefix  netip.Prefix
	NextHop netip.Addr // zero: directly connected; of a multipath route, the first live one
	Device  string     // "": the prefix is unreachable (unreachable, blackhole, prohibit)
	Local   bool       // delivered to this host
	Metric  uint32
}

// RouteBatch is a change of one table. The receiver owns it.
type RouteBatch struct {
	Table   uint32
	Reset   bool // forget the table's routes first
	Added   []RouteEntry
	Removed []RouteEntry // as they were added; come before Added
}

// routeBuffer is the receive buffer of the watch in bytes; 0: as monitors have it. A test makes it
// small, so that notifications are lost.
var routeBuffer = 0

// Routes mirrors routing tables, IPv4 and IPv6, without the routes of Protocol: for each table a
// batch with Reset and all that is in it, then what changes. Table main (254) includes the local
// routes of table 255. Broadcast, multicast, anycast and throw routes and the route cache are left
// out. f is called on Routes' goroutine; while it blocks, notifications queue up in the kernel, and
// are made up for by reading the tables again when they are lost. Routes returns nil when ctx ends,
// and an error only where trying again is of no use (rtnl.ErrNoPermission).
func Routes(ctx context.Context, log *slog.Logger, tables []uint32, f func(RouteBatch)) error {
	notices, err := rtnl.Listen(ctx, log, rtnl.MonitorConfig{Buffer: routeBuffer, Family: unix.NETLINK_ROUTE, Groups: []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP,
	}})
	if err != nil || ctx.Err() != nil {
		return err
	}
	m := newMirror(tables)
	retry := schedule.NewBackoff(schedule.RetryFirst, schedule.RetryLimit)
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
				next.Set(retry.Delay(), schedule.CauseRetry)
				continue
			}
			log.Debug("read the routing tables", "cause", cause)
			retry.Reset()
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

// readEvery is how often the tables are read even if nothing seems to have been missed.
const readEvery = 10 * time.Minute

// mirrorKey is what the kernel may hold several routes under, each with other next hops. table is
// the kernel's, not the mirror's.
type mirrorKey struct {
	table  uint32
	prefix netip.Prefix
	metric uint32
	tos    byte
}

// mirrored is a route known to be in the kernel.
type mirrored struct {
	entry RouteEntry
	hops  int  // IPv6 tells of the hops of a multipath route one by one
	ours  bool // of Protocol: known, so that it is clear what a replacement replaced, but not told
	dead  bool // no next hop works, or not one that is known: not told
}

// tellsLike says whether the receiver could not tell one from the other.
func (e mirrored) tellsLike(other mirrored) bool {
	return e.entry == other.entry && e.ours == other.ours
}

// mirror is what Routes has told, and the changes that it has not told yet. Until the first reading
// it knows nothing.
type mirror struct {
	tables  map[uint32]uint32 // kernel table to the table it is told as
	links   rtnl.Links
	routes  map[mirrorKey][]mirrored
	changes map[uint32]*RouteBatch
	filled  bool
	started time.Time     // when the last reading began
	took    time.Duration // and how long it took
}

func newMirror(tables []uint32) *mirror {
	m := &mirror{tables: make(map[uint32]uint32), links: make(rtnl.Links), routes: make(map[mirrorKey][]mirrored), changes: make(map[uint32]*RouteBatch)}
	for _, t := range tables {
		m.tables[t] = t
		if t == unix.RT_TABLE_MAIN {
			m.tables[unix.RT_TABLE_LOCAL] = t
		}
	}
	return m
}

// read reads all tables and notes what differs from what was told.
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

// pause returns how long to wait before reading all tables: with a million routes that takes a
// second, and a table in motion gives a reason for it all the time. A tenth of the time may go into
// it.
func (m *mirror) pause(cause string) time.Duration {
	if cause == schedule.CauseLost {
		return schedule.SettlingDelay
	}
	return max(schedule.SettlingDelay, 10*m.took-time.Since(m.started))
}

// compare notes the differences between what was told and routes.
func (m *mirror) compare(routes map[mirrorKey][]mirrored) {
	if !m.filled {
		for _, told := range m.tables {
			m.batch(told).Reset = true
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

// without returns the elements of a that are not in b, counting equal ones.
func without(a, b []mirrored) []mirrored {
	if slices.Equal(a, b) {
		return nil
	}
	left := slices.Clone(b)
	var only []mirrored
	for _, e := range a {
		if i := slices.IndexFunc(left, e.tellsLike); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			only = append(only, e)
		}
	}
	return only
}

// notices follows a notification and those that wait behind it.
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

// notice follows one notification. It returns why the tables have to be read again, or "".
func (m *mirror) notice(n rtnl.Notice) (cause string) {
	if n.Lost {
		return schedule.CauseLost
	}
	for _, message := range n.Messages {
		switch message.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			// A link set down takes its IPv4 routes along without a word.
			if before, now := m.links.Apply(message); before != now && before != (rtnl.Device{}) {
				cause = schedule.CauseLink
			}
		case unix.RTM_DELADDR, unix.RTM_DELNEXTHOP:
			cause = schedule.CauseLink // so do an address, with the routes that have it as their source, and a next hop object
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

// route follows one route message. It returns false if it does not fit what is known.
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
		return false // which one was replaced, it does not say
	case head.Flags&netlink.Replace != 0 && i == 0:
	case head.Flags&netlink.Replace != 0 && len(known) == 1:
		m.set(k, []mirrored{e})
		if !e.tellsLike(known[0]) {
			m.removed(k, known[0])
			m.added(k, e)
		}
	case k.prefix.Addr().Is6() && len(known) > 0:
		return false // IPv6 tells a multipath route by its next hops, one by one or all at once
	case i < 0:
		m.set(k, append(slices.Clone(known), e))
		m.added(k, e)
	}
	return true
}

func (m *mirror) set(k mirrorKey, routes []mirrored) {
	if len(routes) == 0 {
		delete(m.routes, k)
		return
	}
	m.routes[k] = routes
}

func (m *mirror) batch(told uint32) *RouteBatch {
	b := m.changes[told]
	if b == nil {
		b = &RouteBatch{Table: told}
		m.changes[told] = b
	}
	return b
}

func (m *mirror) added(k mirrorKey, e mirrored) {
	if e.ours {
		return
	}
	b := m.batch(m.tables[k.table])
	b.Added = append(b.Added, e.entry)
}

// removed notes a removal. A route that was added in the same batch is as if it had never been
// there.
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

// batches returns the changes noted since the last time, by table.
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

// parse reads a route of one of the tables. What is not told of is not ok.
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
		e.entry.NextHop, e.entry.Device, e.entry.Local = hop.Gateway, m.links.Name(hop.Index), r.Kind == unix.RTN_LOCAL
		e.dead = !alive || e.entry.Device == ""
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
	default:
		return k, e, false
	}
	return mirrorKey{r.Table, r.Prefix, r.Metric, r.TOS}, e, true
}

// firstAlive returns the first next hop that works, one without carrier only if there is no better.
func firstAlive(hops []rtnl.Hop) (rtnl.Hop, bool) {
	for _, bad := range []uint32{unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN, unix.RTNH_F_DEAD} {
		if i := slices.IndexFunc(hops, func(h rtnl.Hop) bool { return h.Flags&bad == 0 }); i >= 0 {
			return hops[i], true
		}
	}
	return rtnl.Hop{}, false
}
