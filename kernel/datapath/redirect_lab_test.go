//go:build lab

package datapath

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// watchRedirects attaches the programs to gre1, and returns a channel with its redirects.
func watchRedirects(t *testing.T, cfg Config) (Path, <-chan Redirect) {
	t.Helper()
	s, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	redirects := make(chan Redirect, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- s.Run(ctx, func(r Redirect) {
			r.Packet = append([]byte(nil), r.Packet...)
			redirects <- r
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return s, redirects
}

func next(t *testing.T, redirects <-chan Redirect) Redirect {
	t.Helper()
	select {
	case r := <-redirects:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no redirect within 10 s")
		return Redirect{}
	}
}

// The programs hand on the first bytes of a packet that the kernel forwards back into the tunnel.
func TestPacketsThatTurnBackAreHandedOn(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	_, redirects := watchRedirects(t, Config{
		Device:   "gre1",
		Index:    gre.Attrs().Index,
		Redirect: true,
		Mode:     ModeEBPF,
	})
	for name, packet := range map[string][]byte{
		"IPv4":              kerneltest.Datagram("172.16.11.5", "172.16.12.5", 100),
		"IPv4, header only": kerneltest.Datagram("172.16.11.5", "172.16.12.6", 20),
		"IPv4, overlay":     kerneltest.Datagram("10.255.0.11", "10.255.0.12", 100),
		"IPv4, long":        kerneltest.Datagram("172.16.11.5", "172.16.12.7", 1300),
		"IPv6":              kerneltest.Datagram("fd00:11::5", "fd00:12::5", 100),
		"IPv6, long":        kerneltest.Datagram("fd00:11::5", "fd00:12::6", 1300),
	} {
		t.Run(name, func(t *testing.T) {
			arrivals := openSocket(t, kerneltest.Spoke2, "gre1", kerneltest.EtherType(packet))
			sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.EtherType(packet)),
				kerneltest.HubNBMA, packet)
			want := Redirect{From: kerneltest.Spoke1NBMA, Packet: packet[:min(len(packet), 256)]}
			if diff := cmp.Diff(
				want, next(t, redirects), cmp.Comparer(kerneltest.SameAddr),
			); diff != "" {
				t.Errorf("redirect (-want +got):\n%s", diff)
			}
			// The program only takes a sample: the packet goes on to the other spoke.
			ms := make([]nhrpsocket.Message, 1)
			if _, err := arrivals.ReadBatch(ms); err != nil || len(ms[0].Data) != len(packet) {
				t.Errorf("the other spoke got %d bytes of %d, %v",
					len(ms[0].Data), len(packet), err)
			}
		})
	}
}

// The programs hand on no packet that stays at the hub, is multicast, has no way or is damaged.
func TestOtherPacketsAreNotHandedOn(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.IPf(t, "route add blackhole 172.16.99.0/24")
	s, redirects := watchRedirects(t, Config{
		Device:   "gre1",
		Index:    gre.Attrs().Index,
		Redirect: true,
		Mode:     ModeEBPF,
	})
	spoke := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)
	fence := kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60)
	damaged := kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60)
	damaged[0] = 0x55
	short := kerneltest.Datagram("172.16.11.6", "172.16.12.5", 60)[:30]
	for _, packet := range [][]byte{
		kerneltest.Datagram("172.16.11.5", "10.255.0.1", 60),   // for the hub
		kerneltest.Datagram("172.16.11.5", "172.16.1.77", 60),  // for the hub's own network
		kerneltest.Datagram("172.16.11.5", "224.0.0.5", 60),    // multicast
		kerneltest.Datagram("172.16.11.5", "198.51.100.9", 60), // no route
		kerneltest.Datagram("172.16.11.5", "172.16.99.9", 60),  // a blackhole
		damaged, short, {1},
	} {
		sendFrom(t, spoke, kerneltest.HubNBMA, packet)
	}
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		kerneltest.HubNBMA, fence)
	sendFrom(t, spoke, kerneltest.HubNBMA, fence)
	if diff := cmp.Diff(Redirect{
		From:   kerneltest.Spoke1NBMA,
		Packet: fence,
	}, next(t, redirects), cmp.Comparer(kerneltest.SameAddr)); diff != "" {
		t.Errorf("the first redirect is another packet (-want +got):\n%s", diff)
	}
	stats, err := s.Stats()
	if diff := cmp.Diff(Stats{Sampled: 1}, stats); diff != "" || err != nil {
		t.Errorf("statistics (-want +got), %v:\n%s", err, diff)
	}
}

// Of each flow, only the first packet is handed on within SampleRate.First. A flow is an outer
// source, an inner source and a destination.
func TestEachFlowIsLimited(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	_, redirects := watchRedirects(t,
		Config{Device: "gre1", Index: gre.Attrs().Index, Redirect: true, Mode: ModeEBPF,
			Rate: SampleRate{First: time.Hour, Last: time.Hour}})
	one, two := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP),
		openSocket(t, kerneltest.Spoke2, "gre1", unix.ETH_P_IP)
	flow := kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60)
	otherSource, otherDestination := kerneltest.Datagram("172.16.11.6", "172.16.12.5", 60),
		kerneltest.Datagram("172.16.11.5", "172.16.12.6", 60)
	sendFrom(t, one, kerneltest.HubNBMA, flow, flow, flow, otherSource, flow, otherDestination,
		flow)
	// Another peer sends with the same inner source. Without SourceCheck, the hub takes that.
	sendFrom(t, two, kerneltest.HubNBMA, flow, flow)
	back := kerneltest.Datagram("172.16.12.5", "172.16.11.5", 60)
	sendFrom(t, two, kerneltest.HubNBMA, back)
	var got []Redirect
	for range 5 {
		got = append(got, next(t, redirects))
	}
	want := []Redirect{
		{kerneltest.Spoke1NBMA, flow}, {kerneltest.Spoke1NBMA, otherSource},
		{kerneltest.Spoke1NBMA, otherDestination}, {kerneltest.Spoke2NBMA, flow},
		{kerneltest.Spoke2NBMA, back},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(kerneltest.SameAddr)); diff != "" {
		t.Errorf("redirects (-want +got):\n%s", diff)
	}
}

// The time between the samples of a flow doubles from SampleRate.First to SampleRate.Last.
func TestLongFlowIsSampledLessOften(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, redirects := watchRedirects(t,
		Config{Device: "gre1", Index: gre.Attrs().Index, Redirect: true, Mode: ModeEBPF,
			Rate: SampleRate{First: 100 * time.Millisecond, Last: 400 * time.Millisecond}})
	spoke := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)
	packet := kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60)
	key := bpfFlow{
		OuterSource: bpfAddress{B: kerneltest.Spoke1NBMA.As16()},
		Source:      bpfAddress{B: netip.MustParseAddr("172.16.11.5").As16()},
		Destination: bpfAddress{B: netip.MustParseAddr("172.16.12.5").As16()},
	}
	seen := map[time.Duration]bool{}
	kerneltest.Eventually(t, "the interval has doubled to its limit", func() bool {
		sendFrom(t, spoke, kerneltest.HubNBMA, packet)
		var pace bpfPace
		if err := s.(*ebpfPath).objects.Flows.Lookup(key, &pace); err != nil {
			return false // the first packet is still on its way
		}
		seen[time.Duration(pace.Interval)] = true
		return pace.Interval == uint64(400*time.Millisecond)
	})
	for interval := range seen {
		if interval != 100*time.Millisecond && interval != 200*time.Millisecond &&
			interval != 400*time.Millisecond {
			t.Errorf("interval %v", interval)
		}
	}
	for range seen { // there is a sample for each step
		next(t, redirects)
	}
}

// SampleRate.PerSecond limits the samples of all flows together.
func TestAllFlowsTogetherAreLimited(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, redirects := watchRedirects(t, Config{
		Device:   "gre1",
		Index:    gre.Attrs().Index,
		Redirect: true,
		Mode:     ModeEBPF,
		Rate:     SampleRate{PerSecond: 3, PerSource: 1000},
	})
	spoke := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)
	const flows = 200
	packets := make([][]byte, flows)
	for i := range packets {
		packets[i] = kerneltest.Datagram("172.16.11.5",
			netip.AddrFrom4([4]byte{172, 16, 12, byte(i + 2)}).String(), 60)
	}
	sendFrom(t, spoke, kerneltest.HubNBMA, packets...)
	stats := statsWhen(t, s, "every flow is counted", func(stats Stats) bool {
		return stats.Sampled+stats.Limited == flows
	})
	if stats.Sampled < 3 || stats.Limited == 0 {
		t.Fatalf("%d flows, 3 samples a second: %+v", flows, stats)
	}
	for range stats.Sampled {
		next(t, redirects)
	}
}

// A packet is a redirect even if the neighbour of its next hop is missing.
func TestPacketWithoutNeighborIsHandedOn(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.IPf(t, "route add 172.16.77.0/24 via 10.255.0.77")
	_, redirects := watchRedirects(t, Config{
		Device:   "gre1",
		Index:    gre.Attrs().Index,
		Redirect: true,
		Mode:     ModeEBPF,
	})
	packet := kerneltest.Datagram("172.16.11.5", "172.16.77.5", 60)
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA, packet)
	if diff := cmp.Diff(
		Redirect{kerneltest.Spoke1NBMA, packet}, next(t, redirects),
		cmp.Comparer(kerneltest.SameAddr),
	); diff != "" {
		t.Errorf("redirect (-want +got):\n%s", diff)
	}
}

// If the daemon does not read the redirects, those that do not fit into the ring buffer are counted
// as lost.
func TestSlowReaderLosesRedirects(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, err := Attach(kerneltest.Log(t),
		Config{Device: "gre1", Index: gre.Attrs().Index, Redirect: true, Mode: ModeEBPF,
			Rate: SampleRate{PerSecond: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const flows = 2000 // more than the ring buffer holds
	packets := make([][]byte, flows)
	for i := range packets {
		source, destination := netip.AddrFrom4([4]byte{172, 16, 11, byte(i / 250)}),
			netip.AddrFrom4([4]byte{172, 16, 12, byte(i%250 + 2)})
		packets[i] = kerneltest.Datagram(source.String(), destination.String(), 60)
	}
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA,
		packets...)
	stats := statsWhen(t, s, "every flow is counted", func(stats Stats) bool {
		return stats.Sampled+stats.Lost == flows
	})
	if stats.Lost == 0 || stats.Sampled == 0 {
		t.Errorf("%d redirects and no reader: %+v", flows, stats)
	}
}

// statsWhen waits until the statistics fulfil a condition, since packets may still be on their way.
func statsWhen(
	t *testing.T, s Path, what string, holds func(Stats) bool,
) (stats Stats) {
	t.Helper()
	kerneltest.Eventually(t, what, func() bool {
		var err error
		if stats, err = s.Stats(); err != nil {
			t.Fatal(err)
		}
		return holds(stats)
	})
	return stats
}

// Without Config.Redirect, only use times are kept.
func TestWithoutRedirectsOnlyUseIsKept(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := watchRedirects(t, Config{
		Device: "gre1",
		Index:  gre.Attrs().Index,
		Mode:   ModeEBPF,
	})
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA,
		kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60))
	kerneltest.Eventually(t, "the use is noted", func() bool {
		return !usedBy(t, s)[kerneltest.Spoke2NBMA].Out.IsZero()
	})
	if stats, err := s.Stats(); stats != (Stats{}) || err != nil {
		t.Errorf("samples were taken: %+v, %v", stats, err)
	}
}

// usedBy returns the use of all peers, by NBMA address.
func usedBy(t *testing.T, s Path) map[netip.Addr]Use {
	t.Helper()
	all, err := s.Use()
	if err != nil {
		t.Fatal(err)
	}
	byPeer := map[netip.Addr]Use{}
	for _, u := range all {
		byPeer[u.NBMA] = u
	}
	return byPeer
}

// Only data changes the use times: NHRP and multicast do not.
func TestUseMovesWithDataOnly(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := watchRedirects(t, Config{
		Device:   "gre1",
		Index:    gre.Attrs().Index,
		Redirect: true,
		Mode:     ModeEBPF,
	})
	hub, spoke := openSocket(t, "", "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
	hubData, spokeData := openSocket(t, "", "gre1", unix.ETH_P_IP),
		openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)

	sendFrom(t, spokeData, kerneltest.HubNBMA, kerneltest.Datagram("10.255.0.11", "224.0.0.5", 60))
	sendFrom(t, hubData, kerneltest.Spoke1NBMA, kerneltest.Datagram("10.255.0.1", "224.0.0.5", 60))
	sendFrom(t, hub, kerneltest.Spoke1NBMA, kerneltest.Numbered(3)...)
	sendFrom(t, spoke, kerneltest.HubNBMA, kerneltest.Numbered(3)...)
	readNumbered(t, hub, kerneltest.Spoke1NBMA, 3) // these packets came behind the multicast
	if used := usedBy(t, s); len(used) != 0 {
		t.Errorf("NHRP and multicast count as use: %v", used)
	}

	before := time.Now()
	sendFrom(t, spokeData, kerneltest.HubNBMA,
		kerneltest.Datagram("172.16.11.5", "172.16.1.77", 60))
	used := usedWhen(t, s, "in from spoke 1", func(used map[netip.Addr]Use) bool {
		return !used[kerneltest.Spoke1NBMA].In.IsZero()
	})
	if u := used[kerneltest.Spoke1NBMA]; len(used) != 1 || !u.Out.IsZero() ||
		!within(before, u.In, time.Now()) {
		t.Errorf("after a packet from spoke 1: %v", used)
	}
	sendFrom(t, spokeData, kerneltest.HubNBMA,
		kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60))
	used = usedWhen(t, s, "out to spoke 2", func(used map[netip.Addr]Use) bool {
		return !used[kerneltest.Spoke2NBMA].Out.IsZero()
	})
	if u := used[kerneltest.Spoke2NBMA]; len(used) != 2 || !u.In.IsZero() ||
		!within(before, u.Out, time.Now()) || !used[kerneltest.Spoke1NBMA].Out.IsZero() {
		t.Errorf("after a packet from spoke 1 to spoke 2: %v", used)
	}
	sendFrom(t, openSocket(t, kerneltest.Spoke2, "gre1", unix.ETH_P_IPV6), kerneltest.HubNBMA,
		kerneltest.Datagram("fd00:12::5", "fd00:11::5", 60))
	used = usedWhen(t, s, "out to spoke 1", func(used map[netip.Addr]Use) bool {
		return !used[kerneltest.Spoke1NBMA].Out.IsZero()
	})
	if one, two := used[kerneltest.Spoke1NBMA], used[kerneltest.Spoke2NBMA]; one.Out.Before(
		two.Out) || two.In.Before(one.In) {
		t.Errorf("after a packet back: %v", used)
	}
}

// usedWhen waits until the use of the peers fulfils a condition, since packets may still be on
// their way.
func usedWhen(
	t *testing.T, s Path, what string, holds func(map[netip.Addr]Use) bool,
) (used map[netip.Addr]Use) {
	t.Helper()
	kerneltest.Eventually(t, what, func() bool {
		used = usedBy(t, s)
		return holds(used)
	})
	return used
}

// within reports whether a time lies between two others, within the precision that Use promises.
func within(from, t, to time.Time) bool {
	return !t.Before(from.Add(-time.Millisecond)) && !t.After(to.Add(time.Millisecond))
}

// Use returns the use of more peers than one system call reads.
func TestUseOfManyPeers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := watchRedirects(t, Config{
		Device: "gre1",
		Index:  gre.Attrs().Index,
		Mode:   ModeEBPF,
	})
	const peers = 10000
	keys, values := make([]bpfAddress, peers), make([]bpfUse, peers)
	for i := range keys {
		keys[i] = bpfAddress{B: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).As16()}
		values[i] = bpfUse{Out: uint64(i + 1)}
	}
	if _, err := s.(*ebpfPath).objects.Peers.BatchUpdate(keys, values, nil); err != nil {
		t.Fatal(err)
	}
	used := usedBy(t, s)
	if len(used) != peers {
		t.Errorf("%d of %d peers", len(used), peers)
	}
	if u := used[netip.MustParseAddr("10.0.1.2")]; u.Out.IsZero() || !u.In.IsZero() {
		t.Errorf("one of them: %+v", u)
	}
}
