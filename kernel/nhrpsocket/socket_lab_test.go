//go:build lab

package nhrpsocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readAll reads count packets. The test ends if they are not the numbered packets from one peer, in
// order.
func readAll(t testing.TB, s *Socket, from netip.Addr, count int) {
	t.Helper()
	ms := make([]Message, 200)
	for seen := 0; seen < count; {
		n, err := s.ReadBatch(ms)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			if m.NBMA != from || len(m.Data) != 120 ||
				binary.BigEndian.Uint32(m.Data) != uint32(seen) {
				t.Fatalf("packet %d: %d bytes from %v that begin with % x",
					seen, len(m.Data), m.NBMA, m.Data[:4])
			}
			seen++
		}
	}
}

// A hub and a spoke exchange batches of packets. Each packet arrives once and in order.
func TestSocketCarriesBatchesBothWays(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	hub, spoke := openIn(t, "", "gre1", kerneltest.ProtocolNHRP),
		openIn(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
	for _, count := range []int{1, 1000, 10000} {
		send(t, spoke, kerneltest.HubNBMA, kerneltest.Numbered(count)...)
		readAll(t, hub, kerneltest.Spoke1NBMA, count)
		// The hub must not read its own packets. Otherwise the next round would begin with them.
		send(t, hub, kerneltest.Spoke1NBMA, kerneltest.Numbered(count)...)
		readAll(t, spoke, kerneltest.HubNBMA, count)
	}
	if stats, err := hub.Stats(); stats != (Stats{}) || err != nil {
		t.Errorf("dropped %+v, %v", stats, err)
	}
}

// Sending and receiving a batch of packets of usual length allocates no memory.
func TestSocketAllocatesNothingForAPacket(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	hub, spoke := openIn(t, "", "gre1", kerneltest.ProtocolNHRP),
		openIn(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
	out := []Message{
		{NBMA: kerneltest.HubNBMA, Data: make([]byte, 100)},
		{NBMA: kerneltest.HubNBMA, Data: make([]byte, 200)},
	}
	in := make([]Message, 8)
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := spoke.WriteBatch(out); err != nil {
			t.Fatal(err)
		}
		for seen := 0; seen < len(out); {
			n, err := hub.ReadBatch(in)
			if err != nil {
				t.Fatal(err)
			}
			seen += n
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations for a batch sent and received", allocations)
	}
}

// Long packets arrive whole between packets of usual length. This holds even if one packet of the
// batch is dropped, and if the memory of earlier packets is used again.
func TestSocketTakesPacketsOfEveryLength(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	hub, spoke := openIn(t, "", "gre1", kerneltest.ProtocolNHRP),
		openIn(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
	var packets, want [][]byte
	for i, length := range []int{
		40, usualPacket - 1, MaxPacket + 1, usualPacket, usualPacket + 1, 1400, MaxPacket, 100,
		5000,
	} {
		packet := make([]byte, length)
		for j := range packet {
			packet[j] = byte(i + j + j>>8)
		}
		packets = append(packets, packet)
		if length <= MaxPacket {
			want = append(want, packet)
		}
	}
	ms := make([]Message, len(packets))
	for range 3 {
		send(t, spoke, kerneltest.HubNBMA, packets...)
		var got [][]byte
		for len(got) < len(want) {
			n, err := hub.ReadBatch(ms)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ms[:n] {
				got = append(got, bytes.Clone(m.Data))
			}
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatal("the packets are not those sent, in order")
		}
		slices.Reverse(packets)
		slices.Reverse(want)
	}
}

// A message that cannot be sent does not stop the others of the batch, and each failure has its
// reason.
func TestSocketSendsTheRestOfABatch(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	hub, spoke := openIn(t, "", "gre1", kerneltest.ProtocolNHRP),
		openIn(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
	good := kerneltest.Numbered(3)
	sent, err := spoke.WriteBatch([]Message{
		{NBMA: netip.MustParseAddr("2001:db8::1"), Data: good[0]},
		{NBMA: kerneltest.HubNBMA, Data: good[0]},
		{Data: good[0]},
		{NBMA: netip.MustParseAddr("0.0.0.0"), Data: good[0]},
		{NBMA: netip.MustParseAddr("224.0.0.5"), Data: good[0]},
		{NBMA: kerneltest.HubNBMA},
		{NBMA: kerneltest.HubNBMA, Data: make([]byte, 60000)}, // longer than the MTU
		{NBMA: kerneltest.HubNBMA, Data: good[1]},
		{NBMA: kerneltest.HubNBMA, Data: good[2]},
	})
	if sent != 3 {
		t.Errorf("sent %d messages, want 3", sent)
	}
	var failed WriteErrors
	if !errors.As(err, &failed) {
		t.Fatalf("error %v is no WriteErrors", err)
	}
	want := []struct {
		index  int
		reason error
	}{{0, ErrNBMA}, {2, ErrNBMA}, {3, ErrNBMA}, {4, ErrNBMA}, {5, ErrSize}, {6, unix.EMSGSIZE}}
	if len(failed) != len(want) {
		t.Fatalf("%d failures, want %d: %v",
			len(failed), len(want), errors.Join(failed.Unwrap()...))
	}
	byIndex := map[int]error{}
	for _, f := range failed {
		byIndex[f.Index] = f
	}
	for _, w := range want {
		if !errors.Is(byIndex[w.index], w.reason) {
			t.Errorf("message %d: %v, want %v", w.index, byIndex[w.index], w.reason)
		}
	}
	readAll(t, hub, kerneltest.Spoke1NBMA, 3)
}

// A socket works again after the link was down and came up, for reading and for writing.
func TestSocketWorksOnAfterTheLinkWasDown(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	hub, spoke := openIn(t, "", "gre1", kerneltest.ProtocolNHRP),
		openIn(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
	received := make(chan error, 1)
	go func() {
		n, err := hub.ReadBatch(make([]Message, 1)) // waits while the link goes down and up
		if n != 1 && err == nil {
			err = errors.New("no packet and no error")
		}
		received <- err
	}()
	kerneltest.IPf(t, "link set gre1 down")
	ms := []Message{
		{NBMA: kerneltest.Spoke1NBMA, Data: kerneltest.Numbered(1)[0]},
		{NBMA: kerneltest.Spoke2NBMA, Data: kerneltest.Numbered(1)[0]},
	}
	sent, err := hub.WriteBatch(ms)
	var failed WriteErrors
	if sent != 0 || !errors.As(err, &failed) || len(failed) != 2 ||
		!errors.Is(failed[1], unix.ENETDOWN) {
		t.Errorf("while down: sent %d, %v", sent, err)
	}
	kerneltest.IPf(t, "link set gre1 up")
	send(t, hub, kerneltest.Spoke1NBMA, kerneltest.Numbered(1)...)
	readAll(t, spoke, kerneltest.HubNBMA, 1)
	send(t, spoke, kerneltest.HubNBMA, kerneltest.Numbered(1)...)
	if err := <-received; err != nil {
		t.Error(err)
	}
	// This time the kernel has not yet reported that the link was down when the next packet is
	// sent.
	kerneltest.IPf(t, "link set gre1 down")
	kerneltest.IPf(t, "link set gre1 up")
	send(t, hub, kerneltest.Spoke1NBMA, kerneltest.Numbered(1)...)
	readAll(t, spoke, kerneltest.HubNBMA, 1)
}

// Close ends a read that waits. After Close every method returns net.ErrClosed.
func TestSocketCloseEndsARead(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	hub := openIn(t, "", "gre1", kerneltest.ProtocolNHRP)
	ended := make(chan error)
	go func() {
		_, err := hub.ReadBatch(make([]Message, 1))
		ended <- err
	}()
	if err := hub.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the read ended with %v", err)
	}
	if _, err := hub.ReadBatch(make([]Message, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
	if _, err := hub.WriteBatch([]Message{
		{NBMA: kerneltest.Spoke1NBMA, Data: []byte{1}},
	}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
	if _, err := hub.Stats(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("statistics after Close: %v", err)
	}
	if err := hub.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
}

// The socket counts packets that are too long, and packets that do not fit into its receive buffer.
func TestSocketCountsWhatIsDropped(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	hub, spoke := openIn(t, "", "gre1", kerneltest.ProtocolNHRP),
		openIn(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)

	send(t, spoke, kerneltest.HubNBMA, make([]byte, MaxPacket+1), make([]byte, MaxPacket))
	ms := make([]Message, 2)
	if n, err := hub.ReadBatch(ms); n != 1 || err != nil || len(ms[0].Data) != MaxPacket {
		t.Errorf("read %d packets, the first of %d bytes, %v; want only the one of %d bytes",
			n, len(ms[0].Data), err, MaxPacket)
	}
	if err := hub.conn.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	const burst = 200
	send(t, spoke, kerneltest.HubNBMA, kerneltest.Numbered(burst)...)
	stats, err := hub.Stats()
	if err != nil || stats.Overflow == 0 || stats.Overflow >= burst || stats.Truncated != 1 {
		t.Fatalf("after a burst into a small buffer: %+v, %v", stats, err)
	}
	readAll(t, hub, kerneltest.Spoke1NBMA, burst-int(stats.Overflow))
	if again, err := hub.Stats(); again != stats || err != nil {
		t.Errorf("a second look says %+v, %v; the first said %+v", again, err, stats)
	}
}

// Listen returns an error for a device that is no GRE tunnel, and for one that does not exist.
func TestSocketNeedsATunnel(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.IPf(t, "link add d0 type dummy")
	link, err := vnl.LinkByName("d0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(link.Attrs().Index, kerneltest.ProtocolNHRP); err == nil ||
		!strings.Contains(err.Error(), "not a gre or ip6gre tunnel") {
		t.Errorf("on a dummy device: %v", err)
	}
	if _, err := Listen(9999, kerneltest.ProtocolNHRP); !errors.Is(err, unix.ENODEV) {
		t.Errorf("on no device: %v", err)
	}
}

// The socket sends to addresses of 16 bytes. But Linux (6.1) does not report the outer source of a
// packet that arrives on an ip6gre device, so the socket drops and counts the packet.
func TestSocketOnIPv6Underlay(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.IPf(t, "netns add %s", kerneltest.Spoke1)
	t.Cleanup(func() { kerneltest.IPf(t, "netns del %s", kerneltest.Spoke1) })
	kerneltest.IPf(t, "link add v0 type veth peer name v1 netns %s", kerneltest.Spoke1)
	kerneltest.IPf(t, "addr add 2001:db8::1/64 dev v0 nodad")
	kerneltest.IPf(t, "-n %s addr add 2001:db8::2/64 dev v1 nodad", kerneltest.Spoke1)
	kerneltest.IPf(t, "link set v0 up")
	kerneltest.IPf(t, "-n %s link set v1 up", kerneltest.Spoke1)
	kerneltest.IPf(t, "link add gre6 type ip6gre local 2001:db8::1 key 42")
	kerneltest.IPf(t, "-n %s link add gre6 type ip6gre local 2001:db8::2 remote 2001:db8::1 key 42",
		kerneltest.Spoke1)
	kerneltest.IPf(t, "link set gre6 arp on up")
	kerneltest.IPf(t, "-n %s link set gre6 arp on up", kerneltest.Spoke1)
	nbma := openIn(t, "", "gre6", kerneltest.ProtocolNHRP)
	sent, err := nbma.WriteBatch([]Message{
		{NBMA: netip.MustParseAddr("2001:db8::2"), Data: []byte("a")},
		{NBMA: kerneltest.HubNBMA, Data: []byte("b")},
		{NBMA: netip.MustParseAddr("::ffff:192.0.2.1"), Data: []byte("c")},
		{NBMA: netip.MustParseAddr("fe80::1%v0"), Data: []byte("d")},
	})
	var failed WriteErrors
	if sent != 1 || !errors.As(err, &failed) || len(failed) != 3 || failed[0].Index != 1 ||
		failed[1].Index != 2 || failed[2].Index != 3 {
		t.Errorf("sent %d, %v", sent, err)
	}
	go nbma.ReadBatch(make([]Message, 1))
	send(t, openIn(t, kerneltest.Spoke1, "gre6", kerneltest.ProtocolNHRP),
		netip.MustParseAddr("2001:db8::1"), []byte("e"))
	kerneltest.Eventually(t, "the packet without a source is counted", func() bool {
		stats, err := nbma.Stats()
		return err == nil && stats.BadAddress == 1
	})
}

// With CAP_NET_RAW only, the socket works with a smaller receive buffer. Without CAP_NET_RAW, the
// error names the capability.
func TestSocketPrivileges(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	full := openIn(t, "", "gre1", kerneltest.ProtocolNHRP)
	if full.Buffer() < 2*socketBuffer {
		t.Errorf("with CAP_NET_ADMIN the receive buffer is %d bytes, want %d",
			full.Buffer(), 2*socketBuffer)
	}
	kerneltest.WithCapabilities(t, []int{unix.CAP_NET_RAW}, func() {
		s, err := Listen(gre.Attrs().Index, kerneltest.ProtocolNHRP)
		if err != nil {
			t.Errorf("with CAP_NET_RAW only: %v", err)
			return
		}
		defer s.Close()
		if s.Buffer() <= 0 || s.Buffer() >= full.Buffer() {
			t.Errorf("without CAP_NET_ADMIN the receive buffer is %d bytes", s.Buffer())
		}
	})
	kerneltest.WithCapabilities(t, nil, func() {
		if _, err := Listen(
			gre.Attrs().Index, kerneltest.ProtocolNHRP,
		); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
			t.Errorf("without privileges: %v", err)
		}
	})
}

// BenchmarkSocket sends packets from a spoke and reads them at the hub, one at a time or in
// batches.
func BenchmarkSocket(b *testing.B) {
	kerneltest.LabNamespace(b)
	hub, spoke := openIn(b, "", "gre1", kerneltest.ProtocolNHRP),
		openIn(b, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP)
	for name, size := range map[string]int{"single": 1, "batch": socketBatch} {
		b.Run(name, func(b *testing.B) {
			out, in := make([]Message, size), make([]Message, size)
			for i := range out {
				out[i] = Message{NBMA: kerneltest.HubNBMA, Data: make([]byte, 120)}
			}
			b.ReportAllocs()
			for done := 0; done < b.N; done += size {
				n, err := spoke.WriteBatch(out[:min(size, b.N-done)])
				if err != nil {
					b.Fatal(err)
				}
				for n > 0 {
					k, err := hub.ReadBatch(in)
					if err != nil {
						b.Fatal(err)
					}
					n -= k
				}
			}
		})
	}
}

// openIn opens a Socket on a device in the given namespace ("": the test's own).
func openIn(t testing.TB, namespace, device string, protocol uint16) *Socket {
	t.Helper()
	var s *Socket
	kerneltest.OnDevice(t, namespace, device, func(index int) (err error) {
		s, err = Listen(index, protocol)
		return err
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// send sends packets from a socket to one NBMA address.
func send(t testing.TB, s *Socket, to netip.Addr, packets ...[]byte) {
	t.Helper()
	ms := make([]Message, len(packets))
	for i, p := range packets {
		ms[i] = Message{NBMA: to, Data: p}
	}
	if n, err := s.WriteBatch(ms); err != nil || n != len(ms) {
		t.Fatalf("sent %d of %d packets: %v", n, len(ms), err)
	}
}
