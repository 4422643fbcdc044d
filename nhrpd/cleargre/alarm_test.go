package cleargre

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/kernel/datapath"
	"cygnet/kernel/xfrm"
)

// leakBench gives an alarm what it would read from a kernel.
type leakBench struct {
	alarm  alarm
	tunnel string // that sends
	sample sample
}

// The tunnel's local address, and two peers.
var (
	leakLocal = netip.MustParseAddr("192.0.2.1")
	leakA     = netip.MustParseAddr("192.0.2.11")
	leakB     = netip.MustParseAddr("192.0.2.12")
)

// state returns the ESP state with that address and SPI, and makes it if there is none.
func (b *leakBench) state(dst netip.Addr, spi uint32) *xfrm.ESPState {
	for i := range b.sample.states {
		if s := &b.sample.states[i]; s.Dst == dst && s.SPI == spi {
			return s
		}
	}
	b.sample.states = append(b.sample.states,
		xfrm.ESPState{Src: leakLocal, Dst: dst, SPI: spi, GRE: true})
	return &b.sample.states[len(b.sample.states)-1]
}

// peer returns the count of what was sent to a peer, and begins it if there is none.
func (b *leakBench) peer(nbma netip.Addr) *datapath.Sent {
	for i := range b.sample.sent {
		if s := &b.sample.sent[i]; s.NBMA == nbma && s.tunnel == b.tunnel {
			return &b.sample.sent[i].Sent
		}
	}
	b.sample.sent = append(b.sample.sent, sent{b.tunnel, datapath.Sent{NBMA: nbma}})
	return &b.sample.sent[len(b.sample.sent)-1].Sent
}

// clear has the tunnel send packets that no state takes, each of that many segments.
func (b *leakBench) clear(nbma netip.Addr, packets, segments uint64) {
	p := b.peer(nbma)
	p.Packets += packets
	p.Segments += packets * segments
}

// esp has the tunnel send packets that a state takes, each of that many segments.
func (b *leakBench) esp(nbma netip.Addr, spi uint32, packets, segments uint64) {
	b.clear(nbma, packets, segments)
	b.state(nbma, spi).Packets += packets * segments
}

// compare has the alarm compare the sample, and returns the leaks by peer.
func (b *leakBench) compare() map[netip.Addr]uint64 {
	found := map[netip.Addr]uint64{}
	b.sample.after = slices.Clone(b.sample.sent)
	for _, l := range b.alarm.compare(leakLocal, b.sample) {
		found[l.peer] = l.packets
	}
	return found
}

// repeat has the alarm compare a sample, and then four more after the same has happened each time.
// It returns all leaks together.
func (b *leakBench) repeat(happens func()) map[netip.Addr]uint64 {
	sum := map[netip.Addr]uint64{}
	for range 4 {
		for peer, n := range b.compare() {
			sum[peer] += n
		}
		happens()
	}
	for peer, n := range b.compare() {
		sum[peer] += n
	}
	return sum
}

// The alarm finds the packets that no state took, for the peer that they went to, and not those
// that something else explains.
func TestLeaks(t *testing.T) {
	none := map[netip.Addr]uint64{}
	for _, c := range []struct {
		name    string
		happens func(b *leakBench, turn uint32)
		want    map[netip.Addr]uint64
	}{
		{"all is ESP", func(b *leakBench, _ uint32) {
			b.esp(leakA, 1, 100, 1)
			b.esp(leakB, 2, 5, 1)
		}, none},
		{"segments", func(b *leakBench, _ uint32) { b.esp(leakA, 1, 100, 40) }, none},
		{"one peer's in clear", func(b *leakBench, _ uint32) {
			b.clear(leakA, 20, 1)
			b.esp(leakB, 2, 500, 40)
		}, map[netip.Addr]uint64{leakA: 60}},
		{"in clear, segments", func(b *leakBench, _ uint32) {
			b.clear(leakA, 20, 3)
			b.esp(leakA, 1, 7, 3)
		}, map[netip.Addr]uint64{leakA: 180}},
		{"in clear to who has no SA", func(b *leakBench, _ uint32) {
			b.clear(leakA, 20, 1)
		}, map[netip.Addr]uint64{leakA: 60}},
		{"the guard stops it", func(b *leakBench, _ uint32) {
			b.clear(leakA, 20, 9)
			b.sample.unsent.Packets += 20
		}, none},
		{"the guard stops one, another is in clear", func(b *leakBench, _ uint32) {
			b.clear(leakA, 20, 1)
			b.sample.unsent.Packets += 20
			b.clear(leakB, 30, 1)
			b.state(leakB, 2)
		}, map[netip.Addr]uint64{leakB: 90}},
		{"our programs' drops explain nothing", func(b *leakBench, _ uint32) {
			b.clear(leakA, 20, 1)
			b.sample.unsent.Packets += 20
			b.sample.own += 20
		}, map[netip.Addr]uint64{leakA: 60}},
		{"a rekeying before each sample", func(b *leakBench, turn uint32) {
			b.clear(leakA, 50, 1) // through a state that is gone before the sample is read
			b.sample.states = nil
			b.esp(leakA, 100+turn, 10, 1)
		}, none},
		{"a new state beside the old one", func(b *leakBench, turn uint32) {
			b.esp(leakA, 100+turn, 10, 1)
			b.esp(leakA, 1, 10, 1)
		}, none},
		{"marked states", func(b *leakBench, _ uint32) {
			b.clear(leakA, 30, 1)
			for mark := uint32(1); mark <= 3; mark++ {
				s := b.state(leakA, 70+mark)
				s.Mark, s.MarkMask = mark, ^uint32(0)
				s.Packets += 10
			}
		}, none},
		{"two tunnels share the states", func(b *leakBench, _ uint32) {
			b.esp(leakA, 1, 30, 1)
			b.tunnel = "gre2"
			b.esp(leakA, 1, 50, 1)
			b.tunnel = ""
		}, none},
		{"one of two tunnels sends in clear", func(b *leakBench, _ uint32) {
			b.esp(leakA, 1, 30, 1)
			b.tunnel = "gre2"
			b.clear(leakA, 20, 1)
			b.tunnel = ""
		}, map[netip.Addr]uint64{leakA: 60}},
		{"tunnel mode", func(b *leakBench, _ uint32) {
			s := b.state(leakA, 1)
			s.GRE, s.Tunnel = false, true
			b.esp(leakA, 1, 30, 1)
		}, none},
		{"a state for other traffic", func(b *leakBench, _ uint32) {
			b.state(leakA, 1).GRE = false
			b.esp(leakA, 1, 30, 1)
		}, map[netip.Addr]uint64{leakA: 60}}, // the state for GRE, as it was at first, is gone
		{"a device that does ESP", func(b *leakBench, _ uint32) {
			b.sample.offload = true
			b.clear(leakA, 30, 40)
			b.state(leakA, 1).Packets += 30
		}, none},
		{"a queue", func(b *leakBench, turn uint32) {
			b.clear(leakA, 1000, 1)
			b.sample.unsent.Queued = 300
			b.state(leakA, 1).Packets = uint64(turn)*1000 - 300
		}, none},
		{"counters of several processors", func(b *leakBench, turn uint32) {
			b.clear(leakA, 1000, 1)
			b.state(leakA, 1).Packets = uint64(turn)*1000 - 5
		}, none},
		{"the kernel forgot the peer", func(b *leakBench, turn uint32) {
			b.sample.sent = nil
			b.esp(leakA, 1, 10, 1)
		}, none},
		{"the tunnel was made anew", func(b *leakBench, turn uint32) {
			b.clear(leakA, 20, 1)
			b.sample.unsent.Packets = 20
			b.alarm.unsent = 1000
		}, none},
		{"what others than the tunnel send", func(b *leakBench, turn uint32) {
			b.state(leakA, 1).Packets += 1000
		}, none},
	} {
		b := &leakBench{}
		b.esp(leakA, 1, 3, 1)
		b.sample.states[0].Packets = 0 // what was sent before the first sample does not count
		turn := uint32(0)
		if diff := cmp.Diff(
			c.want,
			b.repeat(func() { turn++; c.happens(b, turn) }),
			cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		); diff != "" {
			t.Errorf("%s: want (-), found (+):\n%s", c.name, diff)
		}
	}
}

// What the tunnel sends while a sample is read is no leak, however long the reading takes. With
// readings of different length, the packets of some hundredths of a second were once reported as
// leaks.
func TestReadingASampleMayTakeLong(t *testing.T) {
	var b leakBench
	for turn := range 12 {
		b.esp(leakA, 1, 100, 1)
		s := sample{sent: slices.Clone(b.sample.sent)}
		if turn%3 == 0 {
			b.esp(leakA, 1, 50, 1)
		}
		s.states = slices.Clone(b.sample.states)
		if turn%3 == 1 {
			b.esp(leakA, 1, 30, 1)
		}
		s.after = slices.Clone(b.sample.sent)
		if found := b.alarm.compare(leakLocal, s); len(found) > 0 {
			t.Errorf("sample %d: want no leak, have %v", turn, found)
		}
	}
}

// A state that comes and goes between two samples took packets that nothing else counts. If another
// state to the same peer stays, only the notification that the first one was deleted tells.
func TestStatesBetweenSamples(t *testing.T) {
	for name, gone := range map[string]goneStates{
		"its peer is known": {to: map[netip.Addr]bool{leakA: true}},
		"anybody's":         {all: true},
	} {
		var b leakBench
		b.esp(leakA, 1, 100, 1)
		b.compare()
		for range 3 {
			b.clear(leakA, 60, 1) // through the state that is gone by the next sample
			b.esp(leakA, 1, 10, 1)
			b.sample.gone = gone
			if found := b.compare(); len(found) > 0 {
				t.Errorf("%s: want no leak, have %v", name, found)
			}
		}
		b.sample.gone = goneStates{}
		if found := b.repeat(func() { b.clear(leakA, 60, 1) }); found[leakA] == 0 {
			t.Errorf("%s: want what leaves later reported, have %v", name, found)
		}
	}
}
