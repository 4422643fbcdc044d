//go:build lab

package multicast

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"cygnet/kernel/datapath"
	"cygnet/kernel/fence"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/xfrm"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// unsecured is a peer that no SA leads to.
var unsecured = Peer{Outer: netip.MustParseAddr("192.0.2.13")}

// secure makes SAs between the hub and the spokes, and sets the hub's guard: two with marks to
// spoke 11, which stands for a NAT address with two routers behind it, and one to spoke 12.
func secure(t *testing.T) {
	t.Helper()
	const aead = "aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128"
	for _, sa := range []struct {
		spoke string
		n     int
		mark  string
	}{{"11", 1, "mark 1"}, {"11", 2, "mark 2"}, {"12", 3, ""}} {
		ends := "src 192.0.2.1 dst 192.0.2." + sa.spoke
		state := fmt.Sprintf("xfrm state add %s proto esp spi 0x10%d reqid %d mode transport", ends,
			sa.n, sa.n)
		kerneltest.IPf(t, "-n cygnet-spoke-%s %s output-mark 10%d %s", sa.spoke, state, sa.n, aead)
		kerneltest.IPf(t, "%s %s %s", state, sa.mark, aead)
		kerneltest.IPf(t, "xfrm policy add %s proto gre dir out %s priority 1000 "+
			"tmpl %s proto esp reqid %d mode transport", ends, sa.mark, ends, sa.n)
	}
	if err := xfrm.EnsureGuard(kerneltest.HubNBMA); err != nil {
		t.Fatal(err)
	}
}

// taken returns how many packets the ESP states from the hub took, by SPI.
func taken(t *testing.T) map[uint32]uint64 {
	t.Helper()
	states, err := xfrm.ESPStates(kerneltest.HubNBMA)
	if err != nil {
		t.Fatal(err)
	}
	took := make(map[uint32]uint64)
	for _, s := range states {
		took[s.SPI] = s.Packets
	}
	return took
}

// fenced sets the fence around the hub's address. It returns a function for how many packets the
// fence has dropped.
func fenced(t *testing.T) func() uint64 {
	t.Helper()
	f := fence.New(kerneltest.Log(t))
	f.Guard([]netip.Addr{kerneltest.HubNBMA}, false)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	kerneltest.Eventually(t, "the fence is on the underlay", func() bool {
		return slices.Contains(f.Status().Devices, "eth0")
	})
	return func() (dropped uint64) {
		sums, _, err := f.Dropped()
		if err != nil || len(sums) == 0 {
			t.Errorf("the fence tells nothing: %v", err)
		}
		for _, c := range sums {
			dropped += c.Out + c.In
		}
		return dropped
	}
}

// Each peer gets its copies through its own SA, by its mark where it has one, whatever mark the
// sender set. A peer without an SA gets nothing, and nothing leaves in clear. What the data path
// counts as sent is what the SAs took and what the kernel counts as unsent, so that the alarm about
// clear GRE has nothing to report.
func TestCopiesLeaveThroughEachPeersSA(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	path, r := hub(t, Config{Peers: []Peer{
		{Outer: kerneltest.Spoke1NBMA, Mark: 1}, unsecured,
		{Outer: kerneltest.Spoke1NBMA, Mark: 2}, {Outer: kerneltest.Spoke2NBMA},
	}})
	secure(t)
	clearGRE := fenced(t)
	wire := listen(t, "", "eth0")
	there := []*capture{listen(t, kerneltest.Spoke1, "gre1"), listen(t, kerneltest.Spoke2, "gre1")}
	s := newSender(t, "", "gre1")
	if err := unix.SetsockoptInt(s.v4, unix.SOL_SOCKET, unix.SO_MARK, 2); err != nil {
		t.Fatal(err)
	}
	before, err := datapath.UnsentOf("gre1")
	if err != nil {
		t.Fatal(err)
	}
	const packets = 20
	for range packets / 2 {
		s.send(hello4, group6)
	}
	kerneltest.Eventually(t, "the SAs took their copies", func() bool {
		each := map[uint32]uint64{0x101: packets, 0x102: packets, 0x103: packets}
		return cmp.Equal(taken(t), each)
	})
	s.send(group4)
	for i, want := range []int{2 * packets, packets} {
		if got := there[i].until(copyOf{group4, packets}); len(got) != want {
			t.Errorf("spoke %d got %d copies, want %d: %v", i+1, len(got), want, got)
		}
	}
	if found := clear(wire.all()); len(found) > 0 {
		t.Errorf("GRE in clear on the wire: %+v", found)
	}
	if n := clearGRE(); n > 0 {
		t.Errorf("the fence stopped %d packets of GRE in clear", n)
	}
	const all = packets + 1
	if diff := cmp.Diff(map[netip.Addr]uint64{
		kerneltest.Spoke1NBMA: 2 * all, kerneltest.Spoke2NBMA: all, unsecured.Outer: all,
	}, sentTo(t, path), compare...); diff != "" {
		t.Errorf("the data path counts as sent (-want +got):\n%s", diff)
	}
	after, err := datapath.UnsentOf("gre1")
	if err != nil {
		t.Fatal(err)
	}
	if n := after.Packets - before.Packets; n != all {
		t.Errorf("the kernel counts %d packets as unsent, want %d", n, all)
	}
	if got := statsOf(t, r); got.Copies != 4*all {
		t.Errorf("the counts are %+v", got)
	}
	if used, err := path.Use(); err != nil || len(used) > 0 {
		t.Errorf("copies count as use of a peer: %v, %v", used, err)
	}
}

// Large datagrams of a flow that the kernel segments late are counted by their segments.
func TestSegmentsAreCounted(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	path, _ := hub(t, Config{Peers: []Peer{{Outer: kerneltest.Spoke2NBMA}}})
	secure(t)
	s := newSender(t, "", "gre1")
	const udpSegment = 103 // UDP_SEGMENT
	if err := unix.SetsockoptInt(s.v4, unix.IPPROTO_UDP, udpSegment, 500); err != nil {
		t.Fatal(err)
	}
	if err := s.try(group4, 4000); err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "the SA took the segments", func() bool {
		return taken(t)[0x103] == 8
	})
	if sent := sentTo(t, path); sent[kerneltest.Spoke2NBMA] != 8 {
		t.Errorf("the data path counts %v", sent)
	}
}

// If the chain is missing, the guard keeps what is sent to groups on this host.
func TestNothingLeavesWithoutTheChain(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	_, r := hub(t, Config{Peers: spokes})
	secure(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Detach("gre1"); err != nil {
		t.Fatal(err)
	}
	wire := listen(t, "", "eth0")
	s := newSender(t, "", "gre1")
	tap := listen(t, "", "gre1")
	before, _ := unsentAt(t, tap)
	for _, g := range []netip.Addr{group4, hello4, group6, hello6} {
		_ = s.try(g, 64) // the guard may return an error
	}
	// The kernel may have reported groups that it joined meanwhile, which the guard keeps as well.
	after, packets := unsentAt(t, tap)
	ours := 0
	for _, p := range packets {
		if _, ok := parse(p); ok {
			ours++
		}
	}
	if n := after - before; ours != 4 || n != uint64(len(packets)) {
		t.Errorf("%d packets of the test's and %d in all were for the tunnel, want 4; the kernel "+
			"counts %d of them as unsent, want all", ours, len(packets), n)
	}
	if found := clear(wire.all()); len(found) > 0 {
		t.Errorf("GRE in clear on the wire: %+v", found)
	}
}

// unsentAt returns how many packets for gre1 the kernel counts as unsent, and the packets that a
// capture on gre1 has up to that count.
func unsentAt(t *testing.T, tap *capture) (count uint64, packets [][]byte) {
	t.Helper()
	for {
		first, err := datapath.UnsentOf("gre1")
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, tap.all()...)
		last, err := datapath.UnsentOf("gre1")
		if err != nil {
			t.Fatal(err)
		}
		if first.Packets == last.Packets {
			return last.Packets, packets
		}
	}
}
