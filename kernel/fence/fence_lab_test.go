//go:build lab

package fence

import (
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"

	"golang.org/x/sys/unix"
)

// runFence runs a fence until the test ends.
func runFence(t *testing.T, locals ...string) *Fence {
	t.Helper()
	f := New(kerneltest.Log(t))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	f.Guard(addrs(locals), false)
	return f
}

func addrs(texts []string) []netip.Addr {
	var list []netip.Addr
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func droppedOf(t *testing.T, f *Fence, local, remote string) Crossing {
	t.Helper()
	sums, pairs, err := f.Dropped()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(sums, pairs...) {
		if c.Local.String() == local &&
			(remote == "" && !c.Remote.IsValid() ||
				remote != "" && c.Remote == netip.MustParseAddr(remote)) {
			return c
		}
	}
	return Crossing{}
}

// sendGRE sends an IP packet of protocol 47. If offset is not 0, the packet is a later fragment;
// offset is in units of 8 bytes.
func sendGRE(t *testing.T, from, to string, offset byte, payload []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	src, dst := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	packet := []byte{
		0x45, 0, 0, byte(20 + len(payload)), 0, 1, 0, offset, 64, unix.IPPROTO_GRE, 0, 0,
	}
	packet = append(append(append(packet, src[:]...), dst[:]...), payload...)
	if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: dst}); err != nil &&
		err != unix.ENOBUFS {
		t.Fatal(err)
	}
}

// The fence drops clear GRE of a protected address in both directions, including fragments, and
// counts it by peer. GRE of other addresses, ESP and all else passes. The fence also guards devices
// that come later, comes back if somebody removes it, and is gone once no address is protected.
func TestFence(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	peer := kerneltest.PeerNamespace(t)
	const local, remote = "198.51.100.1", "198.51.100.2"
	for _, line := range []string{
		"addr add 198.51.100.7/24 dev under0",
		"link add gre7 type gre local 198.51.100.7 remote 198.51.100.2 key 7",
		"addr add 10.7.0.1/24 dev gre7",
		"link set gre7 up",
		"-n " + peer + " link add gre7 type gre local 198.51.100.2 remote 198.51.100.7 key 7",
		"-n " + peer + " addr add 10.7.0.2/24 dev gre7",
		"-n " + peer + " link set gre7 up",
		"link set gre1 type gre nopmtudisc ignore-df",
		"link set gre1 mtu 2000",
	} {
		kerneltest.IP(t, line)
	}
	ping := func(args ...string) bool {
		return exec.Command("ping", append([]string{"-c1", "-W1"}, args...)...).Run() == nil
	}
	there := func() bool {
		return exec.Command(
			"ip", "netns", "exec", peer, "ping", "-c1", "-W1", "10.255.0.1",
		).Run() == nil
	}
	if !ping("10.255.0.2") || !there() || !ping("-s", "1800", "-M", "dont", "10.255.0.2") {
		t.Fatal("GRE does not pass without a fence")
	}
	f := runFence(t, local)
	kerneltest.Eventually(t, "the fence is on the device", func() bool {
		return slices.Contains(f.Status().Devices, "under0")
	})

	before := kerneltest.Received(t, peer, "gre1")
	if ping("10.255.0.2") {
		t.Error("clear GRE passes the fence")
	}
	if c := droppedOf(t, f, local, remote); c.Out != 1 || c.In != 0 || c.OutDevice != "under0" {
		t.Errorf("counted %+v", c)
	}
	ping("-s", "1800", "-M", "dont", "10.255.0.2")
	if c := droppedOf(t, f, local, remote); c.Out != 2 {
		t.Errorf("with a fragment more, after whose loss the kernel sends no other, it counts %+v",
			c)
	}
	there()
	if c := droppedOf(t, f, local, ""); c.In != 1 || c.InDevice != "under0" || c.Out != 2 {
		t.Errorf("the sums are %+v", c)
	}
	if n := kerneltest.Received(t, peer, "gre1") - before; n != 0 {
		t.Errorf("the peer received %d packets", n)
	}
	for what, to := range map[string]string{
		"GRE of another address": "10.7.0.2", "what is no GRE": remote, "loopback": local,
	} {
		if !ping(to) {
			t.Errorf("the fence stops %s", what)
		}
	}

	// GRE of version 1 is PPTP's and not the tunnel's, so it passes. A packet without a GRE header
	// does not pass.
	cut := droppedOf(t, f, local, "")
	pptp := []byte{0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0}
	sendGRE(t, local, remote, 0, pptp)
	if c := droppedOf(t, f, local, ""); c.Out != cut.Out {
		t.Errorf("PPTP is stopped: %+v", c)
	}
	sendGRE(t, local, remote, 0, pptp[:1])
	if c := droppedOf(t, f, local, ""); c.Out != cut.Out+1 {
		t.Errorf("a packet without a GRE header is not stopped: %+v", c)
	}
	sendGRE(t, local, remote, 100, pptp)
	if c := droppedOf(t, f, local, ""); c.Out != cut.Out+2 {
		t.Errorf("a fragment after the first is not stopped: %+v", c)
	}

	for _, change := range []string{"tc qdisc del dev under0 clsact", "tc filter del dev under0 egress", "tc filter del dev under0 ingress"} {
		kerneltest.RunWith(t, "", change)
		kerneltest.Eventually(t, "the filters are there again after "+change, func() bool {
			out := kerneltest.Run(t, "tc", "filter", "show", "dev", "under0", "egress") +
				kerneltest.Run(t, "tc", "filter", "show", "dev", "under0", "ingress")
			return strings.Contains(out, "cygnet_fence_out") && strings.Contains(out, "cygnet_fence_in")
		})
	}
	if c := droppedOf(t, f, local, ""); c.In != 1 || c.Out != 4 {
		t.Errorf("the counts are lost: %+v", c)
	}

	on := func(name string) bool { return slices.Contains(f.Status().Devices, name) }
	for _, line := range []string{"link add late0 type dummy", "link set late0 up", "addr add 203.0.113.1/24 dev late0",
		"link add bare0 type dummy", "link set bare0 up", "link add port0 type dummy", "link add br0 type bridge", "link set port0 master br0",
		"addr add 203.0.113.65/26 dev br0", "addr add 203.0.113.129/26 dev port0", "link add vrf0 type vrf table 9", "addr add 192.0.2.1/32 dev vrf0"} {
		kerneltest.IP(t, line)
	}
	kerneltest.Eventually(t, "the fence is on what came later", func() bool {
		return on("late0") && on("br0")
	})
	for _, name := range []string{"lo", "gre1", "gre0", "bare0", "port0", "vrf0"} {
		if on(name) {
			t.Errorf("it is on %s", name)
		}
	}
	kerneltest.IP(t, "route add 198.51.100.2/32 dev late0")
	ping("10.255.0.2")
	if c := droppedOf(t, f, local, remote); c.Out != 5 || c.OutDevice != "late0" {
		t.Errorf("by the new device: %+v", c)
	}
	kerneltest.IP(t, "link del late0")
	kerneltest.Eventually(t, "it has gone with the device", func() bool { return !on("late0") })

	f.Guard(addrs([]string{"198.51.100.7"}), false)
	kerneltest.Eventually(t, "GRE of the first address passes", func() bool { return ping("10.255.0.2") })
	if ping("10.7.0.2") {
		t.Error("GRE of the second passes the fence")
	}
	f.Guard(nil, false)
	kerneltest.Eventually(t, "GRE passes", func() bool { return ping("10.7.0.2") })
	if out := kerneltest.Run(
		t, "tc", "filter", "show", "dev", "under0", "egress",
	); strings.Contains(out, "cygnet") {
		t.Errorf("a filter is left: %s", out)
	}
}

// sendIPv6 sends an IPv6 packet with a first next header and what follows the fixed header.
func sendIPv6(t *testing.T, from, to string, next byte, rest ...byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	src, dst := netip.MustParseAddr(from).As16(), netip.MustParseAddr(to).As16()
	packet := []byte{0x60, 0, 0, 0, 0, byte(len(rest)), next, 64}
	packet = append(append(append(packet, src[:]...), dst[:]...), rest...)
	if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet6{Addr: dst}); err != nil &&
		err != unix.ENOBUFS {
		t.Fatal(err)
	}
}

// The fence does the same for IPv6: it finds GRE behind the extension headers that the kernel
// skips, and in fragments.
func TestFenceIPv6(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	peer := kerneltest.PeerNamespace(t)
	const local, other, remote = "2001:db8::1", "2001:db8::7", "2001:db8::2"
	// Over a tunnel that has IPv6 the kernel sends router solicitations, and reports of its groups,
	// at times of its own. The fence would count them among the test's packets.
	kerneltest.Run(t, "sysctl", "-qw", "net.ipv6.conf.gre6.disable_ipv6=1",
		"net.ipv6.conf.default.disable_ipv6=1")
	kerneltest.IP(t, "addr add "+other+"/64 dev under0 nodad")
	for key, a := range map[string]string{"1": local, "7": other} {
		for _, line := range []string{
			"link add six%s type ip6gre local " + a + " remote " + remote + " key %s",
			"addr add 10.6.%s.1/24 dev six%[1]s",
			"link set six%s up",
			"-n " + peer + " link add six%s type ip6gre local " + remote + " remote " + a + " key %s",
			"-n " + peer + " addr add 10.6.%s.2/24 dev six%[1]s",
			"-n " + peer + " link set six%s up",
		} {
			kerneltest.IP(t, strings.NewReplacer("%s", key, "%[1]s", key).Replace(line))
		}
	}
	ping := func(to string) bool { return exec.Command("ping", "-c1", "-W1", to).Run() == nil }
	kerneltest.Eventually(t, "GRE passes without a fence", func() bool {
		return ping("10.6.1.2") && ping("10.6.7.2")
	})
	f := runFence(t, local)
	kerneltest.Eventually(t, "the fence is on the device", func() bool {
		return slices.Contains(f.Status().Devices, "under0")
	})
	if ping("10.6.1.2") { // the kernel puts a destination option before the GRE header
		t.Error("clear GRE passes the fence")
	}
	if c := droppedOf(t, f, local, remote); c.Out == 0 || c.OutDevice != "under0" {
		t.Errorf("counted %+v", c)
	}
	before := droppedOf(t, f, local, "").In
	_ = exec.Command("ip", "netns", "exec", peer, "ping", "-c1", "-W1", "10.6.1.1").Run()
	if c := droppedOf(t, f, local, ""); c.In == before || c.InDevice != "under0" {
		t.Errorf("what came in is not counted: %+v", c)
	}
	if !ping("10.6.7.2") || !ping(remote) {
		t.Error("the fence stops GRE of another address, or what is no GRE")
	}

	gre, pptp := []byte{0, 0, 0x08, 0, 0, 0, 0, 0}, []byte{0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0}
	options := []byte{unix.IPPROTO_GRE, 0, 1, 4, 0, 0, 0, 0}
	hops := []byte{unix.IPPROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0}
	first := []byte{unix.IPPROTO_GRE, 0, 0, 1, 0, 0, 0, 1}
	later := []byte{unix.IPPROTO_GRE, 0, 0, 64, 0, 0, 0, 1}
	for _, test := range []struct {
		what string
		next byte
		rest []byte
		stop bool
	}{
		{"GRE", unix.IPPROTO_GRE, gre, true},
		{"GRE behind options", unix.IPPROTO_DSTOPTS, append(slices.Clone(options), gre...), true},
		{"GRE behind two headers", unix.IPPROTO_HOPOPTS,
			append(append(slices.Clone(hops), options...), gre...), true},
		{"a first fragment", unix.IPPROTO_FRAGMENT, append(slices.Clone(first), gre...), true},
		{"a later fragment", unix.IPPROTO_FRAGMENT, append(slices.Clone(later), pptp...), true},
		{"GRE without a whole header", unix.IPPROTO_GRE, gre[:1], true},
		{"PPTP", unix.IPPROTO_GRE, pptp, false},
		{"PPTP behind options", unix.IPPROTO_DSTOPTS,
			append(slices.Clone(options), pptp...), false},
		{"UDP", unix.IPPROTO_UDP, gre, false},
		{"options that do not end", unix.IPPROTO_DSTOPTS, []byte{unix.IPPROTO_GRE, 200}, false},
	} {
		before := droppedOf(t, f, local, "").Out
		sendIPv6(t, local, remote, test.next, test.rest...)
		if stopped := droppedOf(t, f, local, "").Out > before; stopped != test.stop {
			t.Errorf("%s: stopped %v, want %v", test.what, stopped, test.stop)
		}
	}
}

// The filters of an earlier run stop GRE until those of the next run replace them. The next run
// removes them from devices where it does not want them.
func TestFenceOfAnEarlierRun(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.PeerNamespace(t)
	kerneltest.IP(t, "link add other0 type dummy")
	kerneltest.IP(t, "link set other0 up")
	kerneltest.IP(t, "addr add 203.0.113.1/24 dev other0")
	earlier := New(kerneltest.Log(t))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- earlier.Run(ctx) }()
	earlier.Guard(addrs([]string{"198.51.100.1"}), false)
	kerneltest.Eventually(t, "the fence is there", func() bool {
		return slices.Contains(earlier.Status().Devices, "other0") &&
			slices.Contains(earlier.Status().Devices, "under0")
	})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ping := func() bool { return exec.Command("ping", "-c1", "-W1", "10.255.0.2").Run() == nil }
	if ping() {
		t.Error("clear GRE passes after the end")
	}
	kerneltest.IP(t, "addr flush dev other0")
	f := runFence(t, "198.51.100.1")
	kerneltest.Eventually(t, "the fence is on the device that leads somewhere", func() bool {
		return slices.Contains(f.Status().Devices, "under0")
	})
	kerneltest.Eventually(t, "and not on the other", func() bool {
		return !strings.Contains(kerneltest.Run(
			t, "tc", "filter", "show", "dev", "other0", "egress",
		), "cygnet")
	})
	if ping() || droppedOf(t, f, "198.51.100.1", "").Out != 1 {
		t.Error("the new fence does not stop clear GRE")
	}
	f.Guard(nil, false)
	kerneltest.Eventually(t, "it is gone", ping)
}
