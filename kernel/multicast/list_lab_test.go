//go:build lab

package multicast

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/schedule"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// numbered returns peers with consecutive addresses.
func numbered(first string, count int) []Peer {
	a := netip.MustParseAddr(first)
	peers := make([]Peer, count)
	for i := range peers {
		peers[i] = Peer{Outer: a}
		a = a.Next()
	}
	return peers
}

// crowded makes a hub whose underlay is a dummy device, which leads to any number of peers. It
// returns the hub's path, and a capture for the peers of 198.18.0.0/16.
func crowded(t testing.TB) (datapath.Path, *capture) {
	t.Helper()
	for _, args := range []string{
		"link add under0 type dummy", "addr add 198.51.100.1/24 dev under0",
		"link set under0 up", "route add 198.18.0.0/15 via 198.51.100.2",
		"link add gre1 type gre local 198.51.100.1 key 42 ttl 64",
		"link set gre1 arp on up", "addr add 10.255.0.1/24 dev gre1",
	} {
		kerneltest.IP(t, args)
	}
	e := listen(t, "", "under0")
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 16, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 198<<8 | 18, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	code := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		code[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	if err := unix.SetsockoptSockFprog(e.socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		t.Fatal(err)
	}
	return pathOf(t, "gre1"), e
}

// heard returns how often each peer got each datagram.
func heard(e *capture) map[Peer]map[uint32]int {
	e.t.Helper()
	got := make(map[Peer]map[uint32]int)
	for _, o := range clear(e.all()) {
		p := Peer{Outer: o.to}
		if got[p] == nil {
			got[p] = make(map[uint32]int)
		}
		got[p][o.copyOf.number]++
	}
	return got
}

// eachOnce checks that each of the peers got each of that many datagrams once.
func eachOnce(t *testing.T, got map[Peer]map[uint32]int, peers []Peer, datagrams uint32) {
	t.Helper()
	for _, p := range peers {
		for n := range datagrams {
			if got[p][n] != 1 {
				t.Fatalf("%s got datagram %d of %d %d times", p.Outer, n, datagrams, got[p][n])
			}
		}
	}
}

// A list of 8,000 peers is written at once, and each of them gets a copy. That goes on after the
// daemon has ended: with the descriptors of its programs and tables closed.
func TestThousandsOfPeers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	path, e := crowded(t)
	r := replicate(t, path, "gre1", Config{})
	peers := numbered("198.18.0.1", 8000)
	var changes []Change
	for _, p := range peers {
		changes = append(changes, Change{Peer: p})
	}
	begin := time.Now()
	if err := r.Want(changes); err != nil {
		t.Fatal(err)
	}
	if err := r.reconcile(schedule.CauseAsked); err != nil {
		t.Fatal(err)
	}
	t.Logf("8,000 peers with their filters: %s", time.Since(begin))
	if s := r.State(); s.Peers != 8000 || s.Filters != 17 || s.Mode != ModeEBPF {
		t.Errorf("the state is %+v", s)
	}
	begin = time.Now()
	if err := r.Want([]Change{{Peer: Peer{Outer: kerneltest.HubNBMA}}}); err != nil {
		t.Fatal(err)
	}
	if err := r.reconcile(schedule.CauseAsked); err != nil {
		t.Fatal(err)
	}
	t.Logf("one more: %s", time.Since(begin))
	begin = time.Now()
	if err := r.loaded.barrier(); err != nil {
		t.Fatal(err)
	}
	t.Logf("waiting until no packet is under way: %s", time.Since(begin))
	begin = time.Now()
	if err := writeTable(r.loaded.objects.Lists, 0, r.loaded.lists.written); err != nil {
		t.Fatal(err)
	}
	t.Logf("the table alone: %s", time.Since(begin))
	s := newSender(t, "", "gre1")
	begin = time.Now()
	s.send(hello4)
	t.Logf("8,000 copies: %s", time.Since(begin))
	if got := statsOf(t, r); got.Copies != 8001 {
		t.Errorf("the counts are %+v", got)
	}
	for _, err := range []error{r.Close(), path.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.send(group4)
	eachOnce(t, heard(e), peers, 2)
}

// staying puts peers that stay in a list between others that come and go. The list needs two
// filters.
func staying() (stay, others, all []Peer) {
	stay, others = numbered("198.18.0.1", 20), numbered("198.19.0.1", 600)
	for i, p := range others {
		if i%30 == 0 {
			all = append(all, stay[i/30])
		}
		all = append(all, p)
	}
	return stay, others, all
}

// during sends datagrams to a group until f has returned, and at least 100. f is given how many
// were sent. during returns how many they were in the end.
func during(t *testing.T, f func(sent *atomic.Uint32)) uint32 {
	t.Helper()
	done := make(chan struct{})
	var sent atomic.Uint32
	go func() {
		defer close(done)
		f(&sent)
	}()
	s := newSender(t, "", "gre1")
	for {
		select {
		case <-done:
			if s.written >= 100 {
				return s.written
			}
		default:
		}
		s.send(group4)
		sent.Store(s.written)
	}
}

// While peers come and go, and others move to their places, those that stay get each datagram once.
func TestPeersThatStayLoseNothing(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	path, e := crowded(t)
	stay, others, all := staying()
	r := replicate(t, path, "gre1", Config{Peers: all})
	switches := 0
	sent := during(t, func(sent *atomic.Uint32) {
		for round := 0; round < 40 || sent.Load() < 400; round++ {
			n := round % 100
			for _, gone := range []bool{true, false} {
				// One from the front, whose place the last one takes, and then many.
				changes := []Change{{Peer: others[n], Delete: gone}}
				if round%4 == 0 {
					for _, p := range others[100:500] {
						changes = append(changes, Change{Peer: p, Delete: gone})
					}
				}
				if err := r.Want(changes); err != nil {
					t.Error(err)
				}
				if err := r.reconcile(schedule.CauseAsked); err != nil {
					t.Error(err)
				}
				switches++
			}
		}
	})
	eachOnce(t, heard(e), stay, sent)
	t.Logf("%d datagrams, %d lists", sent, switches)
	if s := r.State(); s.Peers != len(all) || s.Filters != 3 {
		t.Errorf("the state is %+v", s)
	}
}

// The chain goes on without the daemon. The next run takes over from it, and those that are in both
// lists get each datagram once. Each run finds the place that the other left.
func TestRestartTakesOver(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	path, e := crowded(t)
	stay, _, all := staying()
	r := replicate(t, path, "gre1", Config{Peers: all})
	slots := []slot{r.slot}
	sent := during(t, func(*atomic.Uint32) {
		for range 3 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			all = append(all[1:], all[0]) // another order
			r = replicate(t, path, "gre1", Config{Peers: all})
			slots = append(slots, r.slot)
		}
	})
	eachOnce(t, heard(e), stay, sent)
	t.Logf("%d datagrams", sent)
	if !slices.Equal(slots, []slot{frontSlot, backSlot, frontSlot, backSlot}) {
		t.Errorf("the slots were %x", slots)
	}
}
