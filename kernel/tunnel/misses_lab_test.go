//go:build lab

package tunnel

import (
	"context"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/watch"
)

// The kernel holds a packet to an overlay address without a neighbour, and Misses reports the
// address. The packet leaves as soon as the neighbour is there. Misses reports nothing about
// neighbours on other devices.
func TestMissedNeighborHoldsItsPacket(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	// With IPv6 the kernel would send packets of its own.
	kerneltest.Run(t, "sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
	kerneltest.Underlay(t)
	cfg := labTunnel
	cfg.Protected, cfg.ResolveMisses = false, true
	_, states := runTunnel(t, cfg)
	st := <-states
	for name, want := range map[string]string{"app_solicit": "5", "mcast_solicit": "0", "ucast_solicit": "0"} {
		if v, err := sysctl.Read("net/ipv4/neigh/gre1/" + name); err != nil || v != want {
			t.Errorf("%s is %q, %v; want %s", name, v, err, want)
		}
	}
	missed := make(chan netip.Addr, 64)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- watch.Misses(ctx, kerneltest.Log(t), st.Index, func(a netip.Addr) { missed <- a })
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	kerneltest.IP(t, "link add other0 type dummy")
	kerneltest.IP(t, "addr add 10.9.0.1/24 dev other0")
	kerneltest.IP(t, "link set other0 up")
	exec.Command("ping", "-c", "1", "-W", "1", "10.9.0.2").Run()

	ping := exec.Command("ping", "-c", "1", "-W", "4", "10.255.0.77")
	if err := ping.Start(); err != nil {
		t.Fatal(err)
	}
	defer ping.Wait()
	select {
	case a := <-missed:
		if a != netip.MustParseAddr("10.255.0.77") {
			t.Fatalf("missed %s", a)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no miss was reported")
	}
	if n := kerneltest.TXPackets(t); n != 0 {
		t.Fatalf("%d packets left before the neighbour was there", n)
	}
	kerneltest.IP(t, "neigh replace 10.255.0.77 lladdr 198.51.100.77 dev gre1 nud permanent")
	kerneltest.Eventually(t, "the held packet goes out", func() bool {
		return kerneltest.TXPackets(t) == 1
	})
}
