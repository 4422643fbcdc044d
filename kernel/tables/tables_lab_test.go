//go:build lab

package tables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"

	"golang.org/x/sys/unix"
)

// runTables returns Tables and runs them for the rest of the test.
func runTables(t testing.TB) *Tables {
	t.Helper()
	tables := New(kerneltest.Log(t), 0)
	start(t, tables)
	return tables
}

// start runs tables for the rest of the test.
func start(t testing.TB, tables *Tables) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tables.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// settled waits until all changes so far have been dealt with: see Tables.After.
func settled(tables *Tables) {
	done := make(chan struct{})
	tables.After(func() { close(done) })
	<-done
}

func wantNeighbor(device, protocol, nbma string) Change {
	return Change{
		Neighbor: &rtnl.Neighbor{
			Device:   device,
			Protocol: netip.MustParseAddr(protocol),
			NBMA:     netip.MustParseAddr(nbma),
		},
	}
}

func wantRoute(device, prefix, nextHop string) Change {
	return Change{
		Route: &rtnl.Route{
			Device:  device,
			Prefix:  netip.MustParsePrefix(prefix),
			NextHop: netip.MustParseAddr(nextHop),
		},
	}
}

func withMTU(c Change, mtu uint32) Change {
	c.Route.MTU = mtu
	return c
}

func gone(c Change) Change {
	c.Delete = true
	return c
}

// Wanted neighbours and routes come into the kernel, change, their MTUs too, and go, for IPv4 and
// IPv6.
func TestTablesFollowWishes(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	kerneltest.IP(t, "addr add fd00::1/64 dev gre1 nodad")
	tables := runTables(t)
	tables.Want([]Change{
		wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"), wantRoute("gre1", "172.16.2.0/24", "10.255.1.2"),
		wantNeighbor("gre1", "fd00::2", "203.0.113.2"), wantRoute("gre1", "fd16:2::/48", "fd00::2"),
	})
	settled(tables)
	kerneltest.Shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.2 PERMANENT proto 84", "fd00::2 lladdr 203.0.113.2 PERMANENT proto 84")
	kerneltest.Shows(t, "route", "172.16.2.0/24 via 10.255.1.2 dev gre1 proto 84 onlink")
	kerneltest.Shows(t, "-6 route", "fd16:2::/48 via fd00::2 dev gre1 proto 84 metric 1 onlink")

	tables.Want([]Change{
		wantNeighbor("gre1", "10.255.1.2", "203.0.113.99"), wantNeighbor("gre1", "10.255.1.3", "203.0.113.3"),
		wantRoute("gre1", "172.16.2.0/24", "10.255.1.3"),
		wantRoute("gre1", "fd16:2::/48", "fd00::3"),
	})
	settled(tables)
	kerneltest.Shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.99 PERMANENT", "10.255.1.3 lladdr 203.0.113.3 PERMANENT")
	kerneltest.Shows(t, "route", "172.16.2.0/24 via 10.255.1.3", "-via 10.255.1.2")
	kerneltest.Shows(t, "-6 route", "fd16:2::/48 via fd00::3 dev gre1", "-via fd00::2")

	before := tables.Stats()
	for _, c := range []struct {
		mtu   uint32
		shown string
	}{{1300, "mtu 1300"}, {1200, "mtu 1200"}, {0, "-mtu"}} {
		tables.Want([]Change{
			withMTU(wantRoute("gre1", "172.16.2.0/24", "10.255.1.3"), c.mtu),
			withMTU(wantRoute("gre1", "fd16:2::/48", "fd00::3"), c.mtu),
		})
		settled(tables)
		tables.Resync()
		settled(tables)
		kerneltest.Shows(t, "route show 172.16.2.0/24", "via 10.255.1.3 dev gre1", c.shown)
		kerneltest.Shows(t, "-6 route show fd16:2::/48", "via fd00::3 dev gre1", c.shown)
	}
	if s := tables.Stats(); s.Restored != before.Restored || s.Removed != before.Removed {
		t.Errorf("comparisons found differences: %+v, before %+v", s, before)
	}

	tables.Want([]Change{
		gone(wantNeighbor("gre1", "10.255.1.2", "203.0.113.99")), gone(wantRoute("gre1", "172.16.2.0/24", "10.255.1.3")),
		gone(wantRoute("gre1", "fd16:2::/48", "fd00::3")),
	})
	settled(tables)
	kerneltest.Shows(t, "neigh show dev gre1", "-10.255.1.2", "10.255.1.3")
	kerneltest.Shows(t, "route", "-172.16.2.0/24")
	kerneltest.Shows(t, "-6 route", "-fd16:2::/48")
}

// Wanted entries come back after other programs removed or replaced them, and after the link was
// down or was deleted.
func TestTablesHeal(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	tables := runTables(t)
	tables.Want([]Change{wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"), wantRoute("gre1", "172.16.2.0/24", "10.255.1.2")})
	settled(tables)
	there := func() {
		t.Helper()
		kerneltest.Shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.2 PERMANENT proto 84")
		kerneltest.Shows(t, "route", "172.16.2.0/24 via 10.255.1.2 dev gre1 proto 84 onlink")
	}
	there()
	for _, harm := range [][]string{
		{"neigh flush dev gre1 nud permanent"},
		{"neigh del 10.255.1.2 dev gre1"},
		{"route flush table main proto 84"},
		{"route replace 172.16.2.0/24 via 10.255.1.9 dev gre1"},
		{"addr del 10.255.1.1/24 dev gre1", "addr add 10.255.1.1/24 dev gre1"},
		{"link set gre1 down", "link set gre1 up"},
		{"link del gre1", "link add gre1 type gre local 198.51.100.1 key 1", "addr add 10.255.1.1/24 dev gre1", "link set gre1 arp on up"},
	} {
		t.Logf("harm: ip %q", harm)
		for _, args := range harm {
			kerneltest.IP(t, args)
		}
		there()
	}
}

// A route of the daemon's takes precedence over another program's route of the same prefix without
// replacing it. In IPv4 it comes before a route of the same metric; in IPv6 it has a lower metric.
// When it goes, the other route is as before.
func TestTablesPrecede(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	kerneltest.IP(t, "link add lan0 type dummy")
	kerneltest.IP(t, "link set lan0 up")
	kerneltest.IP(t, "addr add 192.0.2.1/24 dev lan0")
	kerneltest.IP(t, "addr add 2001:db8::1/64 dev lan0 nodad")
	kerneltest.IP(t, "addr add fd00::1/64 dev gre1 nodad")
	kerneltest.IP(t, "route add 172.16.2.0/24 via 192.0.2.254 proto static")
	kerneltest.IP(t, "-6 route add fd16:2::/48 via 2001:db8::fe metric 20 proto static")
	tables := runTables(t)
	changes := []Change{wantRoute("gre1", "172.16.2.0/24", "10.255.1.2"), wantRoute("gre1", "fd16:2::/48", "fd00::2")}
	tables.Want(changes)
	settled(tables)
	kerneltest.Shows(t, "route get 172.16.2.1", "via 10.255.1.2 dev gre1")
	kerneltest.Shows(t, "-6 route get fd16:2::1", "via fd00::2 dev gre1")
	kerneltest.Shows(t, "route", "172.16.2.0/24 via 192.0.2.254 dev lan0 proto static")
	kerneltest.Shows(t, "-6 route", "fd16:2::/48 via 2001:db8::fe dev lan0 proto static metric 20")

	for i := range changes {
		changes[i].Delete = true
	}
	tables.Want(changes)
	settled(tables)
	kerneltest.Shows(t, "route get 172.16.2.1", "via 192.0.2.254 dev lan0")
	kerneltest.Shows(t, "-6 route get fd16:2::1", "via 2001:db8::fe dev lan0")
}

// A route may have a table above 255 and a metric of its own, and the tunnel may be in a VRF.
func TestTablesByNumber(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	kerneltest.IP(t, "link add vrf1 type vrf table 1000")
	kerneltest.IP(t, "link set vrf1 up")
	kerneltest.IP(t, "link set gre1 master vrf1")
	tables := runTables(t)
	c := wantRoute("gre1", "172.16.2.0/24", "10.255.1.2")
	c.Route.Table, c.Route.Metric = 1000, 30
	tables.Want([]Change{c})
	settled(tables)
	kerneltest.Shows(t, "route show table 1000", "172.16.2.0/24 via 10.255.1.2 dev gre1 proto 84 metric 30 onlink")
	kerneltest.Shows(t, "route show table main", "-172.16.2.0/24")
	tables.Want([]Change{gone(c)})
	settled(tables)
	kerneltest.Shows(t, "route show table 1000", "-172.16.2.0/24")
}

// Routes in a table that others do not look into bring the rule that leads there. The rule comes
// back when somebody removes it, and goes with the last of the routes. A rule that an earlier run
// left goes when the time after the start is over.
func TestTablesKeepRules(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	kerneltest.IP(t, "addr add fd00::1/64 dev gre1 nodad")
	kerneltest.IP(t, "rule add priority 77 table 84 protocol 84")
	kerneltest.IP(t, "rule add priority 78 table 84")
	tables := runTables(t)
	hosts := []Change{
		wantRoute("gre1", "172.16.9.1/32", "10.255.1.2"),
		wantRoute("gre1", "172.16.9.2/32", "10.255.1.2"),
		wantRoute("gre1", "fd16:2::1/128", "fd00::2"),
	}
	for i := range hosts {
		hosts[i].Route.Table, hosts[i].Rule = 84, 999
	}
	tables.Want(hosts)
	settled(tables)
	const there = "999:\tfrom all lookup 84 proto 84"
	kerneltest.Shows(t, "route show table 84", "172.16.9.1 via 10.255.1.2", "172.16.9.2 via 10.255.1.2")
	kerneltest.Shows(t, "-4 rule", there, "77:\tfrom all lookup 84 proto 84")
	kerneltest.Shows(t, "-6 rule", there)
	kerneltest.Shows(t, "route get 172.16.9.1", "via 10.255.1.2 dev gre1 table 84")
	kerneltest.Shows(t, "route show table main", "-172.16.9.1")
	if s := tables.Stats(); s.WantedRules != 2 || s.Present() != 5 {
		t.Errorf("want 3 routes and 2 rules, have %+v", s)
	}

	kerneltest.IP(t, "rule del priority 999")
	kerneltest.Shows(t, "-4 rule", there)
	kerneltest.IP(t, "route flush table 84")
	kerneltest.Shows(t, "route show table 84", "172.16.9.1 via 10.255.1.2", "172.16.9.2 via 10.255.1.2")

	tables.Settle()
	settled(tables)
	kerneltest.Shows(t, "-4 rule", there, "-77:", "78:")

	tables.Want([]Change{gone(hosts[0])})
	settled(tables)
	kerneltest.Shows(t, "-4 rule", there)
	tables.Want([]Change{gone(hosts[1]), gone(hosts[2])})
	settled(tables)
	kerneltest.Shows(t, "-4 rule", "-999:", "78:")
	kerneltest.Shows(t, "-6 rule", "-999:")
}

// A pinned rule comes into the kernel, comes back after somebody removed it, follows its owner's
// wish, and goes when no owner wants it. A rule that somebody else made already stays that
// program's.
func TestPinnedRules(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	pin := func(from string) rtnl.Rule {
		return rtnl.Rule{
			Family: unix.AF_INET, Table: 100, Priority: 100, From: netip.MustParseAddr(from),
		}
	}
	const first = "100:\tfrom 192.0.2.1 lookup 100 proto 84"
	const second = "100:\tfrom 192.0.2.2 lookup 100 proto 84"
	// One rule of an earlier run of the daemon's, and one of another program's:
	kerneltest.IP(t, "rule add from 192.0.2.9 lookup 100 priority 100 protocol 84")
	kerneltest.IP(t, "rule add from 192.0.2.3 lookup 100 priority 100")
	tables := runTables(t)
	tables.Pin("gre1", pin("192.0.2.1"))
	tables.Pin("gre2", pin("192.0.2.1"))
	tables.Pin("gre3", pin("192.0.2.3"))
	settled(tables)
	kerneltest.Shows(t, "rule", first, "from 192.0.2.9")
	tables.Settle()
	settled(tables)
	kerneltest.Shows(t, "rule", first, "-from 192.0.2.9")
	if s := tables.Stats(); s.WantedRules != 2 || s.Present() != 2 {
		t.Errorf("want 2 rules, have %+v", s)
	}
	kerneltest.IP(t, "rule del priority 100 from 192.0.2.1")
	kerneltest.Shows(t, "rule", first)

	tables.Pin("gre1", pin("192.0.2.2"))
	settled(tables)
	kerneltest.Shows(t, "rule", first, second)
	tables.Pin("gre2", rtnl.Rule{})
	settled(tables)
	kerneltest.Shows(t, "rule", "-"+first, second)
	tables.Pin("gre1", rtnl.Rule{})
	tables.Pin("gre3", rtnl.Rule{})
	settled(tables)
	kerneltest.Shows(t, "rule", "-"+second, "from 192.0.2.3")
	kerneltest.IP(t, "rule del from 192.0.2.3 lookup 100 priority 100")
}

// Entries wait for a missing device, which is no failure. They come into the kernel once the device
// is there.
func TestTablesWaitForDevice(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	tables := runTables(t)
	tables.Want([]Change{wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"), wantRoute("gre1", "172.16.2.0/24", "10.255.1.2")})
	settled(tables)
	if s := tables.Stats(); s.Waiting != 2 || s.Failing != 0 || s.Present() != 0 ||
		len(s.Failures) != 0 {
		t.Errorf("without a device: %+v", s)
	}
	kerneltest.GREDevice(t, "gre1", 1)
	kerneltest.Shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.2 PERMANENT")
	kerneltest.Shows(t, "route", "172.16.2.0/24 via 10.255.1.2 dev gre1")
	kerneltest.Eventually(t, "nothing waits", func() bool { return tables.Stats().Present() == 2 })
}

// A refused entry is counted with the kernel's reason and tried again. It does not keep other
// entries out of the kernel.
func TestTablesCountRefusals(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	tables := runTables(t)
	tables.Want([]Change{
		wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"),
		wantRoute("gre1", "172.16.9.0/24", "10.255.1.1"), // this host's own address is no next hop
		wantRoute("gre1", "172.16.2.0/24", "10.255.1.2"),
	})
	settled(tables)
	kerneltest.Shows(t, "route", "172.16.2.0/24 via 10.255.1.2 dev gre1", "-172.16.9.0/24")
	kerneltest.Eventually(t, "it was tried again", func() bool {
		return tables.Stats().Failures["add route: invalid argument"] > 1
	})
	if s := tables.Stats(); s.Failing != 1 || s.Present() != 2 {
		t.Errorf("%+v", s)
	}
	kerneltest.IP(t, "addr del 10.255.1.1/24 dev gre1")
	kerneltest.IP(t, "addr add 10.255.1.9/24 dev gre1")
	kerneltest.Shows(t, "route", "172.16.9.0/24 via 10.255.1.1 dev gre1")
}

// Entries that an earlier run left stay until Settle, unless a wanted entry replaces them. Other
// programs' entries always stay.
func TestTablesSettle(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	for _, left := range []string{
		"neigh add 10.255.1.2 lladdr 203.0.113.2 dev gre1 nud permanent protocol 84",
		"neigh add 10.255.1.3 lladdr 203.0.113.3 dev gre1 nud permanent protocol 84",
		"neigh add 10.255.1.4 lladdr 203.0.113.4 dev gre1 nud permanent protocol 84",
		"neigh add 10.255.1.5 lladdr 203.0.113.5 dev gre1 nud permanent",
		"route add 172.16.2.0/24 via 10.255.1.2 dev gre1 proto 84 onlink",
		"route add 172.16.3.0/24 via 10.255.1.3 dev gre1 proto 84 onlink",
		"route add 172.16.4.0/24 via 10.255.1.4 dev gre1 proto 84 onlink",
		"route add 172.16.5.0/24 via 10.255.1.5 dev gre1",
	} {
		kerneltest.IP(t, left)
	}
	tables := runTables(t)
	settled(tables) // Run has read the entries of the earlier run
	tables.Want([]Change{
		wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"), wantRoute("gre1", "172.16.2.0/24", "10.255.1.2"),
		wantNeighbor("gre1", "10.255.1.3", "203.0.113.33"), wantRoute("gre1", "172.16.3.0/24", "10.255.1.2"),
	})
	settled(tables)
	kerneltest.Shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.2 ", "10.255.1.3 lladdr 203.0.113.33 ", "10.255.1.4", "10.255.1.5")
	kerneltest.Shows(t, "route",
		"172.16.2.0/24 via 10.255.1.2",
		"172.16.3.0/24 via 10.255.1.2", "-via 10.255.1.3",
		"172.16.4.0/24", "172.16.5.0/24")

	tables.Settle()
	settled(tables) // the counts follow what the kernel shows
	kerneltest.Shows(t, "neigh show dev gre1", "10.255.1.2", "10.255.1.3", "-10.255.1.4", "10.255.1.5")
	kerneltest.Shows(t, "route", "172.16.2.0/24 via 10.255.1.2", "172.16.3.0/24 via 10.255.1.2", "-172.16.4.0/24", "172.16.5.0/24")
	if s := tables.Stats(); s.Removed != 2 {
		t.Errorf("removed %d, want the neighbour and the route nobody wanted", s.Removed)
	}
}

// Before Settle, too, entries of an earlier run go that lead to a peer without an SA and that
// nobody wants. Those of peers with an SA, wanted ones, those of other devices and of other
// programs stay.
func TestUnsecuredEntriesGoBeforeSettle(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	kerneltest.GREDevice(t, "gre2", 2)
	for _, left := range []string{
		"neigh add 10.255.1.2 lladdr 203.0.113.2 dev gre1 nud permanent protocol 84",
		"neigh add 10.255.1.3 lladdr 203.0.113.3 dev gre1 nud permanent protocol 84",
		"neigh add 10.255.1.4 lladdr 203.0.113.4 dev gre1 nud permanent protocol 84",
		"neigh add 10.255.1.5 lladdr 203.0.113.5 dev gre1 nud permanent",
		"neigh add 10.255.2.4 lladdr 203.0.113.4 dev gre2 nud permanent protocol 84",
		"route add 172.16.2.0/24 via 10.255.1.2 dev gre1 proto 84 onlink",
		"route add 172.16.3.0/24 via 10.255.1.3 dev gre1 proto 84 onlink",
		"route add 172.16.4.0/24 via 10.255.1.4 dev gre1 proto 84 onlink",
		"route add 172.16.5.0/24 via 10.255.1.5 dev gre1 proto 84 onlink",
		"route add 172.16.6.0/24 via 10.255.2.4 dev gre2 proto 84 onlink",
		"route add 172.16.7.0/24 via 10.255.1.4 dev gre1 onlink",
	} {
		kerneltest.IP(t, left)
	}
	tables := New(kerneltest.Log(t), 0)
	tables.Want([]Change{ // restored from the saved state
		wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"),
		wantRoute("gre1", "172.16.2.0/24", "10.255.1.2"),
	})
	start(t, tables)
	settled(tables)
	tables.RemoveUnsecured("gre1", func(nbma netip.Addr) bool {
		return nbma == netip.MustParseAddr("203.0.113.3")
	})
	settled(tables)
	kerneltest.Shows(t, "neigh show dev gre1",
		"10.255.1.2 ", "10.255.1.3 ", "-10.255.1.4 ", "10.255.1.5 ")
	kerneltest.Shows(t, "neigh show dev gre2", "10.255.2.4 ")
	kerneltest.Shows(t, "route", "172.16.2.0/24", "172.16.3.0/24", "-172.16.4.0/24",
		"172.16.5.0/24", "172.16.6.0/24", "172.16.7.0/24")
	if s := tables.Stats(); s.Removed != 2 || s.Resyncs[causeUnsecured] != 1 {
		t.Errorf("removed %d in %v, want the neighbour and its route", s.Removed, s.Resyncs)
	}
}

// Before Settle, too, a withdrawal removes an entry of an earlier run. A withdrawal that comes
// before the first comparison, or together with a later one, is carried out by that comparison. An
// entry that is wanted again stays.
func TestWithdrawalsBeforeSettle(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	for i := 2; i <= 5; i++ {
		kerneltest.IP(t, fmt.Sprintf("neigh add 10.255.1.%d lladdr 203.0.113.%d dev gre1 nud permanent protocol 84", i, i))
		kerneltest.IP(t, fmt.Sprintf("route add 172.16.%d.0/24 via 10.255.1.%d dev gre1 proto 84 onlink", i, i))
	}
	of := func(i int) []Change {
		return []Change{
			wantNeighbor("gre1", fmt.Sprintf("10.255.1.%d", i), fmt.Sprintf("203.0.113.%d", i)),
			wantRoute("gre1", fmt.Sprintf("172.16.%d.0/24", i), fmt.Sprintf("10.255.1.%d", i)),
		}
	}
	withdraw := func(tables *Tables, i int) {
		for _, c := range of(i) {
			tables.Want([]Change{gone(c)})
		}
	}
	tables := New(kerneltest.Log(t), 0)
	// The saved state of peer 2 is restored, and the peer is shut out before the first comparison.
	tables.Want(of(2))
	withdraw(tables, 2)
	withdraw(tables, 3)
	withdraw(tables, 4)
	tables.Want(of(4))
	start(t, tables)
	settled(tables)
	kerneltest.Shows(t, "neigh show dev gre1", "-10.255.1.2 ", "-10.255.1.3 ", "10.255.1.4 ", "10.255.1.5 ")
	kerneltest.Shows(t, "route", "-172.16.2.0/24", "-172.16.3.0/24", "172.16.4.0/24", "172.16.5.0/24")

	withdraw(tables, 4)
	tables.Resync() // Run then compares, and does not carry out the changes one by one
	settled(tables)
	kerneltest.Shows(t, "neigh show dev gre1", "-10.255.1.4 ", "10.255.1.5 ")
	kerneltest.Shows(t, "route", "-172.16.4.0/24", "172.16.5.0/24")
	if s := tables.Stats(); s.Failing+s.Waiting != 0 {
		t.Errorf("%d entries fail and %d wait, want none", s.Failing, s.Waiting)
	}
}

// Permanent neighbours do not count towards the limits of the garbage collection, and the garbage
// collection does not remove them.
func TestNeighborsOutliveCollection(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	tables := runTables(t)
	changes := manyNeighbors(3000) // gc_thresh3 is 1024
	tables.Want(changes)
	settled(tables)
	if n := permanentNeighbors(t); n != len(changes) {
		t.Fatalf("%d neighbours, want %d", n, len(changes))
	}
	// More other neighbours than the table holds: the garbage collection runs, and then fails.
	kerneltest.IP(t, "link add lan0 type dummy")
	kerneltest.IP(t, "addr add 10.99.0.1/16 dev lan0")
	kerneltest.IP(t, "link set lan0 arp on up")
	var lines []string
	for i := range 2000 {
		lines = append(lines, fmt.Sprintf("neigh replace 10.99.%d.%d lladdr 02:00:00:00:00:01 dev lan0 nud stale", 1+i/200, 1+i%200))
	}
	if out, err := kerneltest.IPBatch(lines); err == nil {
		t.Fatalf("the table is not full:\n%s", out)
	}
	if n := permanentNeighbors(t); n != len(changes) {
		t.Errorf("%d neighbours after the collection, want %d", n, len(changes))
	}
	tables.Want([]Change{wantNeighbor("gre1", "10.255.1.2", "203.0.113.2")})
	settled(tables)
	if n := permanentNeighbors(t); n != len(changes)+1 {
		t.Errorf("%d neighbours after one more in a full table, want %d", n, len(changes)+1)
	}
}

// manyNeighbors returns changes that want n neighbours.
func manyNeighbors(n int) []Change {
	changes := make([]Change, n)
	for i := range changes {
		b := [2]byte{byte(i / 250), byte(1 + i%250)}
		changes[i].Neighbor = &rtnl.Neighbor{
			Device:   "gre1",
			Protocol: netip.AddrFrom4([4]byte{10, 128, b[0], b[1]}),
			NBMA:     netip.AddrFrom4([4]byte{203, 0, b[0], b[1]}),
		}
	}
	return changes
}

// permanentNeighbors returns how many permanent neighbours of the daemon's the kernel has.
func permanentNeighbors(t testing.TB) int {
	t.Helper()
	r, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	links, err := r.Links()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := r.Neighbors(links)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.Ours && e.Permanent {
			n++
		}
	}
	return n
}

// A wanted neighbour waits while its device is down, even if somebody has put the neighbour on the
// device meanwhile.
func TestNeighborOnADownDeviceWaits(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	tables := runTables(t)
	tables.Want([]Change{wantNeighbor("gre1", "10.255.1.11", "192.0.2.11")})
	settled(tables)
	kerneltest.IP(t, "link set gre1 down")
	kerneltest.IP(t, fmt.Sprintf("neigh replace 10.255.1.11 lladdr 192.0.2.11 dev gre1 nud permanent protocol %d", rtnl.Protocol))
	tables.Resync()
	settled(tables)
	if s := tables.Stats(); s.Waiting != 1 || s.Present() != 0 {
		t.Errorf("%d wait, %d are present", s.Waiting, s.Present())
	}
	kerneltest.IP(t, "link set gre1 up")
	kerneltest.Eventually(t, "it is there", func() bool { return tables.Stats().Present() == 1 })
}

// Ten thousand neighbours come, are compared, come back after the link was down, and go.
func TestTenThousandNeighbors(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.GREDevice(t, "gre1", 1)
	// Without this, the device would get an IPv6 address a while later, which causes a comparison.
	kerneltest.IP(t, "link set gre1 down addrgenmode none")
	kerneltest.IP(t, "link set gre1 up")
	tables := runTables(t)
	changes := manyNeighbors(10000)
	there := func(want int) {
		t.Helper()
		if n := permanentNeighbors(t); n != want {
			t.Fatalf("%d neighbours, want %d", n, want)
		}
	}
	tables.Want(changes)
	settled(tables)
	there(len(changes))
	kerneltest.IP(t, "link set gre1 down")
	kerneltest.Eventually(t, "all wait", func() bool {
		return tables.Stats().Waiting == len(changes)
	})
	there(0)
	kerneltest.IP(t, "link set gre1 up")
	kerneltest.Eventually(t, "all are there", func() bool {
		return tables.Stats().Present() == len(changes)
	})
	there(len(changes))
	tables.Want(deleted(changes))
	settled(tables)
	there(0)
	if s := tables.Stats(); len(s.Failures) > 0 {
		t.Errorf("failures: %v", s.Failures)
	}
}

// deleted returns the changes that take back the given ones.
func deleted(changes []Change) []Change {
	all := slices.Clone(changes)
	for i := range all {
		all[i].Delete = true
	}
	return all
}

// BenchmarkTenThousandNeighbors measures how long it takes to add ten thousand neighbours to the
// kernel, to compare them with the kernel, and to delete them.
func BenchmarkTenThousandNeighbors(b *testing.B) {
	if !kerneltest.OwnNamespace(b) {
		return
	}
	kerneltest.GREDevice(b, "gre1", 1)
	tables := runTables(b)
	settled(tables)
	changes := manyNeighbors(10000)
	took := make(map[string]time.Duration)
	timed := func(what string, do func()) {
		start := time.Now()
		do()
		settled(tables)
		took[what] += time.Since(start)
	}
	for b.Loop() {
		timed("ms-in", func() { tables.Want(changes) })
		timed("ms-compared", tables.Resync)
		timed("ms-out", func() { tables.Want(deleted(changes)) })
	}
	for what, d := range took {
		b.ReportMetric(d.Seconds()*1000/float64(b.N), what)
	}
}
