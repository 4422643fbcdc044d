//go:build lab

package watch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/schedule"
)

// follower applies batches as a receiver of Routes does.
type follower struct {
	t      *testing.T
	mu     sync.Mutex
	tables map[uint32]map[RouteEntry]int
	resets int
	last   []RouteBatch
	log    bytes.Buffer // the log of Routes; read it only once Routes has nothing more to log
}

func (f *follower) take(b RouteBatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.Reset {
		f.resets++
		f.tables[b.Table] = make(map[RouteEntry]int)
	}
	routes := f.tables[b.Table]
	if routes == nil {
		f.t.Errorf("table %d changed before it was reset", b.Table)
		return
	}
	for _, e := range b.Removed {
		if routes[e]--; routes[e] < 0 {
			f.t.Errorf("table %d: %v removed, and was not there", b.Table, e)
		}
		if routes[e] == 0 {
			delete(routes, e)
		}
	}
	for _, e := range b.Added {
		routes[e]++
	}
	f.last = append(f.last, b)
}

// via returns in words which routes the follower has for a prefix in a table.
func (f *follower) via(table uint32, prefix string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for e, n := range maps.All(f.tables[table]) {
		if e.Prefix != netip.MustParsePrefix(prefix) {
			continue
		}
		words := fmt.Sprintf("dev %s metric %d", e.Device, e.Metric)
		if e.NextHop.IsValid() {
			words = fmt.Sprintf("via %s %s", e.NextHop, words)
		}
		if e.Local {
			words = "local " + words
		}
		all = append(all, strings.Repeat(words, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// wait waits until via returns the wanted text.
func (f *follower) wait(table uint32, prefix, want string) {
	f.t.Helper()
	kerneltest.Eventually(f.t,
		fmt.Sprintf("table %d has %s %q, it has %q", table, prefix, want, f.via(table, prefix)),
		func() bool { return f.via(table, prefix) == want })
}

// watchRoutes runs Routes for the rest of the test. It returns once every table was reset.
func watchRoutes(t *testing.T, tables ...uint32) *follower {
	t.Helper()
	f := &follower{t: t, tables: make(map[uint32]map[RouteEntry]int)}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &f.log),
		&slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Routes(ctx, log, tables, f.take) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch the routes: %v", err)
		}
	})
	kerneltest.Eventually(t, "every table was reset", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.resets == len(tables)
	})
	return f
}

// lans makes the devices lan1 with the address 192.0.2.1/25 and lan2 with 192.0.2.129/25.
func lans(t *testing.T) {
	t.Helper()
	for i, address := range []string{"192.0.2.1/25", "192.0.2.129/25"} {
		kerneltest.IP(t, fmt.Sprintf("link add lan%d type dummy", i+1))
		kerneltest.IP(t, fmt.Sprintf("addr add %s dev lan%d", address, i+1))
		kerneltest.IP(t, fmt.Sprintf("addr add 2001:db8:%d::1/64 dev lan%d nodad", i+1, i+1))
		kerneltest.IP(t, fmt.Sprintf("link set lan%d up", i+1))
	}
}

// The mirror of table main follows the changes of the kernel's table, step by step.
func TestMainTableIsFollowed(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	lans(t)
	kerneltest.IP(t, "route add 172.16.1.0/24 via 192.0.2.2")
	f := watchRoutes(t, 254)
	f.wait(254, "172.16.1.0/24", "via 192.0.2.2 dev lan1 metric 0")
	f.wait(254, "192.0.2.0/25", "dev lan1 metric 0")
	f.wait(254, "192.0.2.1/32", "local dev lan1 metric 0")
	f.wait(254, "127.0.0.1/32", "local dev lo metric 0")
	f.wait(254, "2001:db8:1::1/128", "local dev lan1 metric 0")
	f.wait(254, "192.0.2.127/32", "") // broadcast

	const p4, p6 = "172.16.2.0/24", "fd16:2::/48"
	for _, s := range []struct{ do, prefix, want string }{
		{"route add 172.16.2.0/24 via 192.0.2.2", p4, "via 192.0.2.2 dev lan1 metric 0"},
		{"route replace 172.16.2.0/24 via 192.0.2.3", p4, "via 192.0.2.3 dev lan1 metric 0"},
		{"route change 172.16.2.0/24 via 192.0.2.4", p4, "via 192.0.2.4 dev lan1 metric 0"},
		{"route add 172.16.2.0/24 via 192.0.2.130 metric 7", p4, "via 192.0.2.130 dev lan2 metric 7, via 192.0.2.4 dev lan1 metric 0"},
		{"route append 172.16.2.0/24 via 192.0.2.5", p4, "via 192.0.2.130 dev lan2 metric 7, via 192.0.2.4 dev lan1 metric 0, via 192.0.2.5 dev lan1 metric 0"},
		{"route replace 172.16.2.0/24 via 192.0.2.6", p4, "via 192.0.2.130 dev lan2 metric 7, via 192.0.2.5 dev lan1 metric 0, via 192.0.2.6 dev lan1 metric 0"},
		{"route del 172.16.2.0/24 via 192.0.2.6", p4, "via 192.0.2.130 dev lan2 metric 7, via 192.0.2.5 dev lan1 metric 0"},
		{"route prepend 172.16.2.0/24 via 192.0.2.9 dev lan1 proto 84 onlink", p4, "via 192.0.2.130 dev lan2 metric 7, via 192.0.2.5 dev lan1 metric 0"},
		{"route replace 172.16.2.0/24 via 192.0.2.7", p4, "via 192.0.2.130 dev lan2 metric 7, via 192.0.2.5 dev lan1 metric 0, via 192.0.2.7 dev lan1 metric 0"},
		{"route flush 172.16.2.0/24", p4, ""},
		{"route add unreachable 172.16.2.0/24", p4, "dev  metric 0"},
		{"route replace blackhole 172.16.2.0/24", p4, "dev  metric 0"},
		{"route del blackhole 172.16.2.0/24", p4, ""},
		{"route add throw 172.16.2.0/24", p4, ""},
		{"route replace 172.16.2.0/24 nexthop via 192.0.2.130 nexthop via 192.0.2.2", p4, "via 192.0.2.130 dev lan2 metric 0"},
		{"link set lan2 down", p4, "via 192.0.2.2 dev lan1 metric 0"},
		{"link set lan2 up", p4, "via 192.0.2.130 dev lan2 metric 0"},
		{"route replace 172.16.2.0/24 via 192.0.2.130", p4, "via 192.0.2.130 dev lan2 metric 0"},
		{"link set lan2 down", p4, ""},
		{"link set lan2 up", "192.0.2.128/25", "dev lan2 metric 0"},
		{"addr add 192.0.2.201/25 dev lan2", "192.0.2.201/32", "local dev lan2 metric 0"},
		{"route add 172.16.2.0/24 via 192.0.2.130 src 192.0.2.201", p4, "via 192.0.2.130 dev lan2 metric 0"},
		{"addr del 192.0.2.201/25 dev lan2", p4, ""},
		{"nexthop add id 1 via 192.0.2.131 dev lan2", p4, ""},
		{"route add 172.16.2.0/24 nhid 1", p4, "via 192.0.2.131 dev lan2 metric 0"},
		{"nexthop replace id 1 via 192.0.2.132 dev lan2", p4, "via 192.0.2.132 dev lan2 metric 0"},
		{"nexthop del id 1", p4, ""},
		{"link set lan2 down; link set lan2 name lan3; link set lan3 up", "192.0.2.128/25", "dev lan3 metric 0"},
		{"link del lan3", "192.0.2.128/25", ""},

		{
			"-6 route add fd16:2::/48 via 2001:db8:1::2", p6,
			"via 2001:db8:1::2 dev lan1 metric 1024",
		},
		{"-6 route replace fd16:2::/48 via 2001:db8:1::3", p6, "via 2001:db8:1::3 dev lan1 metric 1024"},
		{"-6 route append fd16:2::/48 via 2001:db8:1::4", p6, "via 2001:db8:1::3 dev lan1 metric 1024"},
		{
			"-6 route del fd16:2::/48 via 2001:db8:1::3", p6,
			"via 2001:db8:1::4 dev lan1 metric 1024",
		},
		{"-6 route add fd16:2::/48 via 2001:db8:1::9 metric 1 proto 84", p6, "via 2001:db8:1::4 dev lan1 metric 1024"},
		{"-6 route del fd16:2::/48 via 2001:db8:1::4", p6, ""},
		{"-6 route add unreachable fd16:3::/48", "fd16:3::/48", "dev  metric 1024"},
	} {
		t.Log("ip", s.do)
		for _, args := range strings.Split(s.do, ";") {
			kerneltest.IP(t, args)
		}
		f.wait(254, s.prefix, s.want)
	}
	if f.resets != 1 {
		t.Errorf("%d resets, want only the first", f.resets)
	}
}

// A replaced route is reported as one removal and one addition, in one batch. Routes does not read
// all routes again.
func TestReplacedRouteIsOneChange(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	lans(t)
	kerneltest.IP(t, "route add 172.16.1.0/24 via 192.0.2.2")
	f := watchRoutes(t, 254)
	f.mu.Lock()
	f.last = nil
	f.mu.Unlock()
	kerneltest.IP(t, "route replace 172.16.1.0/24 via 192.0.2.3")
	f.wait(254, "172.16.1.0/24", "via 192.0.2.3 dev lan1 metric 0")
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.last) != 1 || len(f.last[0].Removed) != 1 || len(f.last[0].Added) != 1 {
		t.Errorf("%+v, want one removal and one addition in one batch", f.last)
	}
}

// Several tables, among them a VRF's, are mirrored separately, each with its own local routes.
func TestTablesAreMirroredSeparately(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	lans(t)
	kerneltest.IP(t, "link add vrf1 type vrf table 1000")
	kerneltest.IP(t, "link set vrf1 up")
	kerneltest.IP(t, "link set lan2 master vrf1")
	f := watchRoutes(t, 254, 1000, 4000000000)
	f.wait(1000, "192.0.2.129/32", "local dev lan2 metric 0")
	f.wait(1000, "192.0.2.128/25", "dev lan2 metric 0")
	f.wait(254, "192.0.2.129/32", "")
	f.wait(254, "192.0.2.1/32", "local dev lan1 metric 0")
	kerneltest.IP(t, "route add 172.16.1.0/24 via 192.0.2.130 vrf vrf1")
	f.wait(1000, "172.16.1.0/24", "via 192.0.2.130 dev lan2 metric 0")
	kerneltest.IP(t, "route add 172.16.1.0/24 via 192.0.2.2 table 4000000000")
	f.wait(4000000000, "172.16.1.0/24", "via 192.0.2.2 dev lan1 metric 0")
	kerneltest.IP(t, "route add 172.16.9.0/24 via 192.0.2.2 table 77") // nobody watches it
	kerneltest.IP(t, "route add 172.16.9.0/24 via 192.0.2.3")
	f.wait(254, "172.16.9.0/24", "via 192.0.2.3 dev lan1 metric 0")
}

// If a burst of changes overflows the socket, Routes reads all routes again and reports only the
// differences, without a second reset.
func TestLostNotificationsAreMadeUpFor(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	lans(t)
	routeBuffer = 64 << 10
	f := watchRoutes(t, 254)
	f.mu.Lock() // the receiver blocks
	const n = 3000
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("route add 172.16.%d.%d/32 via 192.0.2.2", i>>8, i&255)
	}
	if out, err := kerneltest.IPBatch(lines); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.mu.Unlock()
	for i := range n {
		f.wait(254, fmt.Sprintf("172.16.%d.%d/32", i>>8, i&255), "via 192.0.2.2 dev lan1 metric 0")
	}
	if f.resets != 1 || !strings.Contains(f.log.String(), schedule.CauseLost) {
		t.Errorf("%d resets, log:\n%s", f.resets, f.log.String())
	}
}

// A route that is deleted and added again is reported at once. This holds for a kernel without
// IPv6, too (UML_APPEND=ipv6.disable=1), which answers a dump of IPv6 routes with the IPv4 routes.
func TestRouteThatComesBackIsReported(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.IP(t, "link add lan1 type dummy")
	kerneltest.IP(t, "addr add 192.0.2.1/24 dev lan1")
	kerneltest.IP(t, "link set lan1 up")
	kerneltest.IP(t, "route add 172.16.1.0/24 via 192.0.2.2")
	f := watchRoutes(t, 254)
	f.wait(254, "172.16.1.0/24", "via 192.0.2.2 dev lan1 metric 0")
	kerneltest.IP(t, "route del 172.16.1.0/24")
	f.wait(254, "172.16.1.0/24", "")
	kerneltest.IP(t, "route add 172.16.1.0/24 via 192.0.2.2")
	f.wait(254, "172.16.1.0/24", "via 192.0.2.2 dev lan1 metric 0")
}
