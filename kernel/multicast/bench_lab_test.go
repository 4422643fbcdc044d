//go:build lab

package multicast

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// loadPrograms loads the programs, which let all groups pass to one peer.
func loadPrograms(t testing.TB) *loaded {
	t.Helper()
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	sent, err := ebpf.NewMap(spec.Maps[bpfMapSentTo])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sent.Close() })
	cfg := Config{MaxPeers: defaultPeers, Rate: Rate{Packets: 1e9, Bytes: 1e9}}
	l, err := load(&cfg, sent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close() })
	rules, err := new(Groups).rules()
	if err == nil {
		err = errors.Join(l.objects.Groups.Put(uint32(0), rules),
			l.objects.Plans.Put(uint32(0), bpfPlan{Length: [2]uint32{1, 1}}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// BenchmarkPrograms measures what the chain's first program takes for a packet that leaves by the
// tunnel: for one to a single router, which is all that others see of the chain, and for one to a
// group. BenchmarkCopies measures the programs behind it, which need devices. In a test run the
// beginning of the outer header stands in the 14 bytes of a link-layer header, and its destination
// in the inner header's flow label, so that the group is one of IPv6.
func BenchmarkPrograms(b *testing.B) {
	l := loadPrograms(b)
	packet := append(make([]byte, 14), kerneltest.Datagram("fd00:1::1", "ff05::1:1", 1300)...)
	packet[0], packet[9], packet[12], packet[13] = 0x45, unix.IPPROTO_GRE, 0x86, 0xdd
	b.Run("group/unicast", func(b *testing.B) {
		kerneltest.Bench(b, l.objects.CygnetGroup, packet)
	})
	packet[16] = group4.As4()[0]
	b.Run("group/group", func(b *testing.B) {
		kerneltest.Bench(b, l.objects.CygnetGroup, packet)
	})
	var taken uint64
	if err := l.objects.Counters.Lookup(counterTaken, &taken); err != nil || taken == 0 {
		b.Errorf("%d packets were taken for those to a group (%v)", taken, err)
	}
}

// No program is longer than doc/tuning.md says.
func TestProgramsAreShort(t *testing.T) {
	l := loadPrograms(t)
	kerneltest.Short(t, "cygnet_group", l.objects.CygnetGroup,
		kerneltest.Size{Length: 4096, Verified: 16384})
	kerneltest.Short(t, "cygnet_copies", l.objects.CygnetCopies,
		kerneltest.Size{Length: 8192, Verified: 262144})
}

// BenchmarkCopies measures what a copy costs, without IPsec, to an underlay that drops everything:
// by the chain, and in user space by a packet socket with sendmmsg. The time is from a datagram's
// sending to the end of its last copy, divided by the number of copies. User space has its best
// settings: a tunnel without any program, no qdisc, 100 copies for each system call, and nobody has
// to wake it.
//
// Each turn measures both sides one after the other, and the side that begins changes. Each side
// reports its first decile, since other load on the machine hits long rounds more often than short
// ones. For the same reason the ratio is that of the deciles. Above 1 the chain is cheaper.
func BenchmarkCopies(b *testing.B) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		b.Fatal(err)
	}
	lab, err := netns.New()
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(netns.Set(home), home.Close(), lab.Close()); err != nil {
			b.Error(err)
		}
		runtime.UnlockOSThread()
	}()
	path, e := crowded(b)
	unix.Close(e.socket) // captures would cost more than the copies
	kerneltest.IP(b, "link add gre2 type gre local 198.51.100.1 key 43 ttl 64")
	kerneltest.IP(b, "link set gre2 arp on up")
	kerneltest.IP(b, "addr add 10.255.2.1/24 dev gre2")
	peers := numbered("198.18.0.1", 1000)
	for _, count := range []int{10, 100, 500, 1000} {
		r := replicate(b, path, "gre1", Config{Peers: peers[:count]})
		user := newUserSide(b, "gre2", peers[:count])
		group := newSender(b, "", "gre1")
		b.Run(fmt.Sprintf("peers=%d", count), func(b *testing.B) {
			sides := comparison{copies: count}
			for b.Loop() {
				sides.turn(func() { group.send(group4) }, func() { user.send(count) })
			}
			sides.report(b)
		})
		if got := statsOf(b, r); got.Copies != got.Taken*uint64(count) {
			b.Errorf("the counts are %+v", got)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFirstCopy measures how soon a router that has just registered gets what is for groups:
// from Want to the first copy on the underlay, while a datagram is sent each millisecond and copied
// to that many others. It reports the median and the longest time.
func BenchmarkFirstCopy(b *testing.B) {
	if !kerneltest.OwnNamespace(b) {
		return
	}
	path, e := crowded(b)
	newcomer := Peer{Outer: netip.MustParseAddr("198.18.0.1")}
	group := newSender(b, "", "gre1")
	for _, count := range []int{0, 100, 1000} {
		b.Run(fmt.Sprintf("peers=%d", count), func(b *testing.B) {
			listed := make(chan int, 1000)
			r := replicate(b, path, "gre1", Config{
				Peers:   numbered("198.19.0.1", count),
				Changed: func(s State) { listed <- s.Peers },
			})
			running(b, r)
			var times []time.Duration
			for b.Loop() {
				begin := time.Now()
				want(b, r, Change{Peer: newcomer})
				for group.send(group4); e.next(time.Millisecond) == nil; group.send(group4) {
					if time.Since(begin) > soon {
						b.Fatalf("%s gets no copy", newcomer.Outer)
					}
				}
				times = append(times, time.Since(begin))
				for <-listed == count { // until the list is known to have the newcomer
				}
				want(b, r, Change{Peer: newcomer, Delete: true})
				for <-listed != count {
				}
				e.all()
			}
			slices.Sort(times)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(times[len(times)/2].Seconds()*1e3, "median-ms")
			b.ReportMetric(times[len(times)-1].Seconds()*1e3, "longest-ms")
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// want changes the list of a Replicator that runs.
func want(b *testing.B, r *Replicator, c Change) {
	b.Helper()
	if err := r.Want([]Change{c}); err != nil {
		b.Fatal(err)
	}
}

// comparison has the times of the chain and of sendmmsg, by turns, for that many copies each.
type comparison struct {
	copies          int
	chain, sendmmsg []time.Duration
}

// turn measures both sides.
func (c *comparison) turn(chain, sendmmsg func()) {
	took := func(f func()) time.Duration {
		begin := time.Now()
		f()
		return time.Since(begin)
	}
	if len(c.chain)%2 == 0 {
		c.chain = append(c.chain, took(chain))
		c.sendmmsg = append(c.sendmmsg, took(sendmmsg))
		return
	}
	c.sendmmsg = append(c.sendmmsg, took(sendmmsg))
	c.chain = append(c.chain, took(chain))
}

// report reports both sides and their ratio, in the place of the time of a turn.
func (c *comparison) report(b *testing.B) {
	decile := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/10].Nanoseconds()) / float64(c.copies)
	}
	b.ReportMetric(0, "ns/op")
	chain, sendmmsg := decile(c.chain), decile(c.sendmmsg)
	b.ReportMetric(chain, "eBPF-ns/copy")
	b.ReportMetric(sendmmsg, "sendmmsg-ns/copy")
	b.ReportMetric(sendmmsg/chain, "sendmmsg/eBPF")
}

// userSide replicates as userSpace does, but on the goroutine of the benchmark.
type userSide struct {
	b      *testing.B
	group  *sender
	reader *groupReader
	copies *copySender
	buffer []byte
}

func newUserSide(b *testing.B, device string, peers []Peer) *userSide {
	b.Helper()
	u := &userSide{b: b, group: newSender(b, "", device), buffer: make([]byte, maxFrame)}
	index := kerneltest.LinkNamed(b, device).Index
	var err error
	if u.reader, err = openReader(index); err != nil {
		b.Fatal(err)
	}
	if u.copies, err = openSender(index); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(u.reader.close(), u.copies.close()); err != nil {
			b.Error(err)
		}
	})
	err = unix.SetsockoptInt(u.copies.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	if err != nil {
		b.Fatal(err)
	}
	u.copies.address(peers)
	return u
}

// send sends a datagram to a group, reads it from the tunnel, and sends the copies.
func (u *userSide) send(count int) {
	_ = u.group.try(group4, 64) // nobody has the outer address
	n, err := u.reader.next(u.buffer)
	if err != nil {
		u.b.Fatal(err)
	}
	p, ok := parseFrame(u.buffer[:n])
	if !ok {
		u.b.Fatalf("no group: % x", u.buffer[:n])
	}
	if sent, refused := u.copies.send(p.kind, p.inner); sent != count || refused != 0 {
		u.b.Fatalf("%d of %d copies were sent", sent, count)
	}
}
