//go:build lab

package tunnel

import (
	"context"
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"

	"golang.org/x/sys/unix"
)

// sendToGroup sends a packet to an IPv6 group on gre1 and returns the kernel's error. It waits
// until gre1 has an address to send from.
func sendToGroup(t *testing.T) (refused error) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	kerneltest.Eventually(t, "gre1 has an IPv6 address", func() bool {
		kerneltest.OnDevice(t, "", "gre1", func(index int) error {
			refused = unix.Sendto(fd, []byte{1}, 0, &unix.SockaddrInet6{
				Port: 9, ZoneId: uint32(index), Addr: netip.MustParseAddr("ff02::5").As16(),
			})
			return nil
		})
		return refused != unix.EADDRNOTAVAIL
	})
	return refused
}

// A tunnel that carries multicast has a broadcast address: without one the kernel takes no packet
// for an IPv6 group. Another program that removes it is corrected.
func TestTunnelTakesPacketsForGroups(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	without := labTunnel
	without.Name, without.Key, without.Protected = "gre2", key(7), false
	runTunnel(t, without)
	kerneltest.Shows(t, "link show gre2", "<UP", "brd 0.0.0.0")
	cfg := labTunnel
	cfg.Multicast = true
	runTunnel(t, cfg)
	kerneltest.Shows(t, "link show gre1", "MULTICAST", "brd 255.255.255.255")
	if err := sendToGroup(t); err == unix.EINVAL {
		t.Errorf("the kernel refuses a packet for an IPv6 group: %v", err)
	}
	kerneltest.IP(t, "link set gre1 broadcast 0.0.0.0")
	kerneltest.Shows(t, "link show gre1", "UP", "brd 255.255.255.255")
	kerneltest.IP(t, "link set gre1 multicast off")
	kerneltest.Shows(t, "link show gre1", "MULTICAST")
}

// An adopted tunnel gets its broadcast address while it is up. The kernel forgets all neighbours
// then, permanent ones too, and the tables put back those that are wanted.
func TestNeighborsComeBackAfterTheBroadcastAddress(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	kerneltest.IP(t, "addr add 10.255.0.1/24 dev gre1")
	kerneltest.IP(t, "link set gre1 arp on up")
	if err := sendToGroup(t); err != unix.EINVAL {
		t.Errorf("without a broadcast address a packet for an IPv6 group has %v", err)
	}
	wanted := tables.New(kerneltest.Log(t), 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- wanted.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	neighbors := []rtnl.Neighbor{}
	for _, overlay := range []string{"10.255.0.11", "10.255.0.12"} {
		neighbors = append(neighbors, rtnl.Neighbor{
			Device: "gre1", Protocol: netip.MustParseAddr(overlay),
			NBMA: netip.MustParseAddr("198.51.100.11"),
		})
	}
	var changes []tables.Change
	for i := range neighbors {
		changes = append(changes, tables.Change{Neighbor: &neighbors[i]})
	}
	wanted.Want(changes)
	wanted.Settle()
	both := []string{
		"10.255.0.11 lladdr 198.51.100.11 PERMANENT", "10.255.0.12 lladdr 198.51.100.11 PERMANENT",
	}
	kerneltest.Shows(t, "neigh show dev gre1", both...)
	counted := make(chan struct{}) // the counts follow what the kernel shows
	wanted.After(func() { close(counted) })
	<-counted
	before := wanted.Stats().Restored

	cfg := labTunnel
	cfg.Multicast = true
	_, states := runTunnel(t, cfg)
	if s := <-states; !s.Adopted || !s.Up || s.Fault != "" {
		t.Fatalf("first state %+v", s)
	}
	kerneltest.Shows(t, "link show gre1", "brd 255.255.255.255")
	kerneltest.Eventually(t, "both neighbours are put back", func() bool {
		return wanted.Stats().Restored == before+2
	})
	kerneltest.Shows(t, "neigh show dev gre1", both...)

	// Removed and set again, with no other change of the link.
	kerneltest.IP(t, "link set gre1 broadcast 0.0.0.0")
	kerneltest.Eventually(t, "both neighbours are put back again", func() bool {
		return wanted.Stats().Restored >= before+4
	})
	kerneltest.Shows(t, "link show gre1", "brd 255.255.255.255")
	kerneltest.Shows(t, "neigh show dev gre1", both...)
}
