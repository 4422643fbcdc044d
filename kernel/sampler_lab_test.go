//go:build lab

package kernel

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// watch attaches a sampler to gre1 and returns its redirects.
func watch(t *testing.T, cfg SamplerConfig) (Sampler, <-chan Redirect) {
	t.Helper()
	s, err := AttachSampler(testLog(t), cfg)
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

func TestSamplerHandsOnPacketsThatTurnBack(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	gre := hubAndSpokes(t)
	_, redirects := watch(t, SamplerConfig{Device: "gre1", Index: gre.Attrs().Index, Redirect: true, Mode: ModeEBPF})
	for name, packet := range map[string][]byte{
		"IPv4":              datagram("172.16.11.5", "172.16.12.5", 100),
		"IPv4, header only": datagram("172.16.11.5", "172.16.12.6", 20),
		"IPv4, overlay":     datagram("10.255.0.11", "10.255.0.12", 100),
		"IPv4, long":        datagram("172.16.11.5", "172.16.12.7", 1300),
		"IPv6":              datagram("fd00:11::5", "fd00:12::5", 100),
		"IPv6, long":        datagram("fd00:11::5", "fd00:12::6", 1300),
	} {
		t.Run(name, func(t *testing.T) {
			arrivals := openIn(t, spoke2, "gre1", etherType(packet))
			send(t, openIn(t, spoke1, "gre1", etherType(packet)), hubNBMA, packet)
			want := Redirect{From: spoke1NBMA, Packet: packet[:min(len(packet), 256)]}
			if diff := cmp.Diff(want, next(t, redirects), cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("redirect (-want +got):\n%s", diff)
			}
			// The sampler only looks: the packet goes on to the other spoke.
			ms := make([]Message, 1)
			if _, err := arrivals.ReadBatch(ms); err != nil || len(ms[0].Data) != len(packet) {
				t.Errorf("the other spoke got %d bytes of %d, %v", len(ms[0].Data), len(packet), err)
			}
		})
	}
}

func TestSamplerIgnoresWhatDoesNotTurnBack(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	gre := hubAndSpokes(t)
	labIP(t, "route add blackhole 172.16.99.0/24")
	s, redirects := watch(t, SamplerConfig{Device: "gre1", Index: gre.Attrs().Index, Redirect: true, Mode: ModeEBPF})
	spoke := openIn(t, spoke1, "gre1", unix.ETH_P_IP)
	fence := datagram("172.16.11.5", "172.16.12.5", 60)
	damaged := datagram("172.16.11.5", "172.16.12.5", 60)
	damaged[0] = 0x55
	short := datagram("172.16.11.6", "172.16.12.5", 60)[:30]
	for _, packet := range [][]byte{
		datagram("172.16.11.5", "10.255.0.1", 60),   // for the hub
		datagram("172.16.11.5", "172.16.1.77", 60),  // for the hub's own network
		datagram("172.16.11.5", "224.0.0.5", 60),    // multicast
		datagram("172.16.11.5", "198.51.100.9", 60), // no route
		datagram("172.16.11.5", "172.16.99.9", 60),  // a blackhole
		damaged, short, {1},
	} {
		send(t, spoke, hubNBMA, packet)
	}
	send(t, openIn(t, spoke1, "gre1", protocolNHRP), hubNBMA, fence)
	send(t, spoke, hubNBMA, fence)
	if diff := cmp.Diff(Redirect{From: spoke1NBMA, Packet: fence}, next(t, redirects), cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("the first redirect is another packet (-want +got):\n%s", diff)
	}
	stats, err := s.Stats()
	if diff := cmp.Diff(SamplerStats{Sampled: 1}, stats); diff != "" || err != nil {
		t.Errorf("statistics (-want +got), %v:\n%s", err, diff)
	}
}
