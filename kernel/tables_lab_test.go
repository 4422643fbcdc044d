//go:build lab

package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
)

// runTables runs tables for the length of the test.
func runTables(t *testing.T) *Tables {
	t.Helper()
	tables := NewTables(testLog(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tables.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tables
}

// settled waits until all that was wanted is in the kernel.
func settled(tables *Tables) {
	done := make(chan struct{})
	tables.After(func() { close(done) })
	<-done
}

// greDevice makes an mGRE device by hand.
func greDevice(t *testing.T, name string, number int) {
	t.Helper()
	ip(t, fmt.Sprintf("link add %s type gre local 198.51.100.%d key %d ttl 64", name, number, number))
	ip(t, fmt.Sprintf("addr add 10.255.%d.1/24 dev %s", number, name))
	ip(t, fmt.Sprintf("link set %s arp on up", name))
}

func wantNeighbor(device, protocol, nbma string) Change {
	return Change{Neighbor: &Neighbor{device, netip.MustParseAddr(protocol), netip.MustParseAddr(nbma)}}
}

func wantRoute(device, prefix, nextHop string) Change {
	return Change{Route: &Route{Device: device, Prefix: netip.MustParsePrefix(prefix), NextHop: netip.MustParseAddr(nextHop)}}
}

func gone(c Change) Change {
	c.Delete = true
	return c
}

// Wanted neighbours and routes come into the kernel, move, and go, over IPv4 and IPv6.
func TestTablesFollowWishes(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	greDevice(t, "gre1", 1)
	ip(t, "addr add fd00::1/64 dev gre1 nodad")
	tables := runTables(t)
	tables.Want([]Change{
		wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"), wantRoute("gre1", "172.16.2.0/24", "10.255.1.2"),
		wantNeighbor("gre1", "fd00::2", "203.0.113.2"), wantRoute("gre1", "fd16:2::/48", "fd00::2"),
	})
	settled(tables)
	shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.2 PERMANENT proto 84", "fd00::2 lladdr 203.0.113.2 PERMANENT proto 84")
	shows(t, "route", "172.16.2.0/24 via 10.255.1.2 dev gre1 proto 84 onlink")
	shows(t, "-6 route", "fd16:2::/48 via fd00::2 dev gre1 proto 84 metric 1 onlink")

	tables.Want([]Change{
		wantNeighbor("gre1", "10.255.1.2", "203.0.113.99"), wantNeighbor("gre1", "10.255.1.3", "203.0.113.3"),
		wantRoute("gre1", "172.16.2.0/24", "10.255.1.3"), wantRoute("gre1", "fd16:2::/48", "fd00::3"),
	})
	settled(tables)
	shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.99 PERMANENT", "10.255.1.3 lladdr 203.0.113.3 PERMANENT")
	shows(t, "route", "172.16.2.0/24 via 10.255.1.3", "-via 10.255.1.2")
	shows(t, "-6 route", "fd16:2::/48 via fd00::3 dev gre1", "-via fd00::2")

	tables.Want([]Change{
		gone(wantNeighbor("gre1", "10.255.1.2", "203.0.113.99")), gone(wantRoute("gre1", "172.16.2.0/24", "10.255.1.3")),
		gone(wantRoute("gre1", "fd16:2::/48", "fd00::3")),
	})
	settled(tables)
	shows(t, "neigh show dev gre1", "-10.255.1.2", "10.255.1.3")
	shows(t, "route", "-172.16.2.0/24")
	shows(t, "-6 route", "-fd16:2::/48")
}

// What others remove, a link down and a link deleted included, comes back.
func TestTablesHeal(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	greDevice(t, "gre1", 1)
	tables := runTables(t)
	tables.Want([]Change{wantNeighbor("gre1", "10.255.1.2", "203.0.113.2"), wantRoute("gre1", "172.16.2.0/24", "10.255.1.2")})
	settled(tables)
	there := func() {
		t.Helper()
		shows(t, "neigh show dev gre1", "10.255.1.2 lladdr 203.0.113.2 PERMANENT proto 84")
		shows(t, "route", "172.16.2.0/24 via 10.255.1.2 dev gre1 proto 84 onlink")
	}
	there()
	for _, harm := range [][]string{
		{"neigh flush dev gre1 nud permanent"},
		{"neigh del 10.255.1.2 dev gre1"},
		{"route flush table main proto 84"},
		{"route replace 172.16.2.0/24 via 10.255.1.9 dev gre1"},
		{"link set gre1 down", "link set gre1 up"},
		{"link del gre1", "link add gre1 type gre local 198.51.100.1 key 1", "addr add 10.255.1.1/24 dev gre1", "link set gre1 arp on up"},
	} {
		t.Logf("harm: ip %q", harm)
		for _, args := range harm {
			ip(t, args)
		}
		there()
	}
}
