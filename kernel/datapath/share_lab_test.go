//go:build lab

package datapath

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"

	"golang.org/x/sys/unix"
)

// turningBack returns packets of many flows that the hub would send back into the tunnel.
func turningBack(flows int) [][]byte {
	packets := make([][]byte, flows)
	for i := range packets {
		to := netip.AddrFrom4([4]byte{172, 16, 12, byte(i + 2)})
		packets[i] = kerneltest.Datagram("172.16.11.5", to.String(), 60)
	}
	return packets
}

// A spoke with many flows does not use up the samples of other spokes.
func TestSamplesAreSharedBetweenSpokes(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, redirects := watchRedirects(t,
		Config{Device: "gre1", Index: gre.Attrs().Index, Redirect: true,
			Mode: ModeEBPF, Rate: SampleRate{PerSecond: 20, PerSource: 4}})
	const flows = 200
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA,
		turningBack(flows)...)
	sendFrom(t, openSocket(t, kerneltest.Spoke2, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA,
		kerneltest.Datagram("172.16.12.5", "172.16.11.5", 60))
	stats := statsWhen(t, s, "every flow is counted", func(stats Stats) bool {
		return stats.Sampled+stats.OverShare+stats.Limited == flows+1
	})
	if stats.OverShare == 0 {
		t.Fatalf("%d flows of one spoke, 4 samples a second for each: %+v", flows, stats)
	}
	for range stats.Sampled {
		if next(t, redirects).From == kerneltest.Spoke2NBMA {
			return
		}
	}
	t.Errorf("the other spoke's only flow is not among the %d samples", stats.Sampled)
}

// Each of two routers behind one NAT address has its own share.
func TestMarkedPeersHaveSharesOfTheirOwn(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	markedHub(t).Close()
	s, redirects := watchRedirects(t,
		Config{Device: "gre1", Index: kerneltest.LinkNamed(t, "gre1").Index,
			Redirect: true, Mode: ModeEBPF, Rate: SampleRate{PerSecond: 20, PerSource: 4}})
	const flows = 100
	data := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)
	sendAs(t, 1)
	sendFrom(t, data, kerneltest.HubNBMA, turningBack(flows)...)
	sendAs(t, 2)
	sendFrom(t, data, kerneltest.HubNBMA, kerneltest.Datagram("172.16.22.5", "172.16.12.5", 60))
	stats := statsWhen(t, s, "every flow is counted", func(stats Stats) bool {
		return stats.Sampled+stats.OverShare+stats.Limited == flows+1
	})
	for range stats.Sampled {
		if next(t, redirects).From == markedNBMAs[2] {
			return
		}
	}
	t.Errorf("the second router's only flow is not among the %d samples", stats.Sampled)
}

// numberedFrom returns NHRP packets whose first byte names the sender.
func numberedFrom(sender byte, count int) [][]byte {
	packets := kerneltest.Numbered(count)
	for _, p := range packets {
		binary.BigEndian.PutUint32(p, uint32(sender)<<24)
	}
	return packets
}

// If a spoke floods the hub with NHRP while the daemon is busy, the kernel still takes what others
// send. Without shares, the flood would fill the socket's buffer.
func TestNHRPFloodLeavesRoomForOthers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	hub := openSocket(t, "", "gre1", kerneltest.ProtocolNHRP) // nobody reads it yet
	s := attachWith(t, gre.Attrs().Index, func(*Config) {})
	flooding, other := openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, kerneltest.Spoke2, "gre1", kerneltest.ProtocolNHRP)
	const flood, few = 60000, 10
	for range flood / 1000 {
		sendFrom(t, flooding, kerneltest.HubNBMA, numberedFrom(1, 1000)...)
	}
	sendFrom(t, other, kerneltest.HubNBMA, numberedFrom(2, few)...)
	kerneltest.Eventually(t, "the others' packets are in the buffer", func() bool {
		stats, err := s.Stats()
		return err == nil && stats.NHRPFlood > 0
	})
	ms := make([]nhrpsocket.Message, 128)
	seen, ofFlood := 0, 0
	for seen < few {
		n, err := hub.ReadBatch(ms)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			if m.Data[0] == 2 {
				seen++
			} else {
				ofFlood++
			}
		}
	}
	if stats, err := hub.Stats(); err != nil || stats.Overflow != 0 {
		t.Errorf("the kernel dropped %d packets for want of room, %v", stats.Overflow, err)
	}
	stats, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("of %d packets %d were let in and %d dropped", flood, ofFlood, stats.NHRPFlood)
	if ofFlood < 1000 {
		t.Errorf("only %d packets of one spoke were let in: that is what an honest one may need",
			ofFlood)
	}
}

// NHRP of a next hop server has no limit, and each of two routers at one address has its own limit.
func TestSharesOfNHRP(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	markedHub(t).Close()
	const many = 100
	for name, test := range map[string]struct {
		admitted []Admission
		first    uint64 // how many packets of the first router are dropped
	}{
		"a spoke":            {nil, many - 1},
		"an admitted spoke":  {[]Admission{{NBMA: markedNBMAs[1]}}, many - 1},
		"a next hop server":  {[]Admission{{NBMA: markedNBMAs[1], NHS: true}}, 0},
		"another one's name": {[]Admission{{NBMA: markedNBMAs[2], NHS: true}}, many - 1},
	} {
		t.Run(name, func(t *testing.T) {
			hub, there := openSocket(t, "", "gre1", kerneltest.ProtocolNHRP),
				openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
			s := attachWith(t, kerneltest.LinkNamed(t, "gre1").Index, func(c *Config) {
				c.Admitted = test.admitted
				c.NHRP = NHRPRate{PerSecond: 1, Burst: 1}
			})
			sendAs(t, 1)
			sendFrom(t, there, kerneltest.HubNBMA, numberedFrom(1, many)...)
			sendAs(t, 2)
			sendFrom(t, there, kerneltest.HubNBMA, numberedFrom(2, 1)...)
			for m := readOne(t, hub); m.Data[0] != 2; m = readOne(t, hub) {
				if m.Mark != 1 {
					t.Errorf("a packet of the first router has mark %d", m.Mark)
				}
			}
			if stats, err := s.Stats(); err != nil || stats.NHRPFlood != test.first {
				t.Errorf("%d packets were dropped, %v; want %d", stats.NHRPFlood, err, test.first)
			}
		})
	}
}

// A full table of shares drops the source that was quiet for longest. No packet is dropped for want
// of room.
func TestFullTableOfSharesForgets(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s := attachWith(t, gre.Attrs().Index, func(c *Config) { c.Peers = 1 })
	table := s.(*ebpfPath).objects.Shares
	const room = 1024
	if table.MaxEntries() != room {
		t.Fatalf("the table has room for %d, want %d", table.MaxEntries(), room)
	}
	keys, values := make([]bpfAddress, 4*room), make([]bpfShare, 4*room)
	for i := range keys {
		keys[i] = keyOf(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
	}
	if _, err := table.BatchUpdate(keys, values, nil); err != nil {
		t.Fatal(err)
	}
	hub := openSocket(t, "", "gre1", kerneltest.ProtocolNHRP)
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		kerneltest.HubNBMA, kerneltest.Numbered(20)...)
	readNumbered(t, hub, kerneltest.Spoke1NBMA, 20)
	var share bpfShare
	if err := table.Lookup(keyOf(kerneltest.Spoke1NBMA), &share); err != nil || share.Nhrp == 0 {
		t.Errorf("the spoke's share is %+v, %v", share, err)
	}
	if stats, err := s.Stats(); err != nil || stats.NHRPFlood != 0 {
		t.Errorf("%d packets were dropped, %v", stats.NHRPFlood, err)
	}
}

// BenchmarkNHRPShare measures what the limit of a source costs for each NHRP packet.
func BenchmarkNHRPShare(b *testing.B) {
	// The kernel removes an Ethernet header from the packet. Its type is NHRP's, and is also the
	// beginning of the outer source that the program reads.
	packet := make([]byte, 200)
	packet[0], packet[9], packet[12], packet[13] = 0x45, unix.IPPROTO_GRE, 0x20, 0x01
	for name, burst := range map[string]int{"with": 1 << 40, "without": 0} {
		b.Run(name, func(b *testing.B) {
			cfg := Config{Admission: true}
			cfg.setDefaults()
			cfg.NHRP.Burst = burst
			objects, err := loadPath(cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer objects.Close()
			verdict, perPacket, err := objects.CygnetIngress.Benchmark(packet, b.N, b.ResetTimer)
			if err != nil || int32(verdict) != -1 {
				b.Fatalf("verdict %d, %v", int32(verdict), err)
			}
			b.ReportMetric(float64(perPacket.Nanoseconds()), "ns/packet")
		})
	}
}
