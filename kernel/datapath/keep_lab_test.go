//go:build lab

package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/schedule"
	"cygnet/kernel/tc"
	"cygnet/kernel/xfrm"

	"github.com/google/go-cmp/cmp"
	vnl "github.com/vishvananda/netlink"
)

// runPath runs a Path until the test ends, and counts how often its state changed.
func runPath(t *testing.T, cfg Config) (*ebpfPath, *atomic.Int32) {
	t.Helper()
	var changes atomic.Int32
	cfg.Changed = func(st State) {
		t.Logf("changed to %+v", st)
		changes.Add(1)
	}
	path, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- path.Run(ctx, func(Redirect) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		path.Close()
	})
	return path.(*ebpfPath), &changes
}

// admitting runs a Path at the lab's gre1 that admits spoke 1 only.
func admitting(t *testing.T, gre vnl.Link) (*ebpfPath, *atomic.Int32) {
	t.Helper()
	return runPath(t, Config{
		Device: "gre1", Index: gre.Attrs().Index, Admission: true,
		Admitted: []Admission{{NBMA: kerneltest.Spoke1NBMA}},
	})
}

// restoredAtLeast waits until at least so many programs and entries were put back.
func restoredAtLeast(t *testing.T, s *ebpfPath, n uint64) {
	t.Helper()
	kerneltest.Eventually(t, fmt.Sprintf("%d are restored", n), func() bool {
		stats, err := s.Stats()
		return err == nil && stats.Restored >= n
	})
}

var toLAN = kerneltest.Datagram("172.16.99.5", "172.16.1.77", 60)

// If anybody removes the programs from the tunnel, they come back at once. The same peers as before
// are admitted then.
func TestProgramsComeBack(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := admitting(t, gre)
	restored := uint64(0)
	for _, change := range []struct {
		command  string
		programs uint64
	}{
		{"tc qdisc del dev gre1 clsact", 2},
		{"tc filter del dev gre1 ingress", 1},
		{"tc filter del dev gre1 egress", 1},
		{fmt.Sprintf("tc filter del dev gre1 ingress pref %d", filterPriority), 1},
	} {
		kerneltest.RunWith(t, "", change.command)
		restored += change.programs
		restoredAtLeast(t, s, restored)
		if one, other := arrives(t, kerneltest.Spoke1, toLAN),
			arrives(t, kerneltest.Spoke2, toLAN); one != 1 || other != 0 {
			t.Errorf("after %s %d packets of spoke 1 came and %d of spoke 2, want 1 and 0",
				change.command, one, other)
		}
		want := State{Mode: ModeEBPF, Admission: true}
		if diff := cmp.Diff(want, s.State()); diff != "" {
			t.Errorf("after %s the state (-want +got):\n%s", change.command, diff)
		}
	}
	// The daemon's filter, but with another program's code.
	other := ingressFilter.On("gre1", 0)
	other.Program = kerneltest.Program(t, "other")
	if _, err := tc.Ensure([]tc.Filter{other}); err != nil {
		t.Fatal(err)
	}
	restoredAtLeast(t, s, restored+1)
	if n := arrives(t, kerneltest.Spoke2, toLAN); n != 0 {
		t.Error("somebody else's program stays in the place of ours")
	}
}

// While another program's filter has the place of the daemon's, the state shows that admission is
// not enforced.
func TestStateTellsThatThePlaceIsTaken(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, changes := admitting(t, gre)
	if arrives(t, kerneltest.Spoke2, toLAN) != 0 {
		t.Fatal("spoke 2 is admitted")
	}
	s.keeping.Lock() // or the daemon's filter would be back before the other one is there
	kerneltest.RunWith(t, fmt.Sprintf("qdisc del dev gre1 clsact\nqdisc add dev gre1 clsact\n"+
		"filter add dev gre1 ingress pref %d matchall action pass\n",
		filterPriority), "tc -batch -")
	s.keeping.Unlock()
	kerneltest.Eventually(t, "the state shows that the place is taken", func() bool {
		st := s.State()
		return !st.Admission && st.Mode == "" &&
			strings.Contains(st.Reason, tc.ErrPlaceTaken.Error())
	})
	if arrives(t, kerneltest.Spoke2, toLAN) != 1 {
		t.Error("the other filter should let everything pass, or this test proves nothing")
	}
	if _, err := s.Use(); err != ErrNoUse {
		t.Errorf("want ErrNoUse while no program sees what arrives, have %v", err)
	}
	kerneltest.RunWith(t, "", fmt.Sprintf("tc filter del dev gre1 ingress pref %d", filterPriority))
	kerneltest.Eventually(t, "the program is there again", func() bool {
		return s.State().Admission
	})
	if arrives(t, kerneltest.Spoke2, toLAN) != 0 {
		t.Error("spoke 2 is admitted")
	}
	kerneltest.Eventually(t, "two changes are reported", func() bool { return changes.Load() >= 2 })
	// The other filter, in front of the daemon's, lets everything pass, too.
	kerneltest.RunWith(t, "", "tc filter add dev gre1 ingress pref 5 matchall action pass")
	kerneltest.Eventually(t, "the state names the filter before the daemon's", func() bool {
		return strings.Contains(s.State().Ahead, "matchall filter of priority 5")
	})
	kerneltest.RunWith(t, "", "tc filter del dev gre1 ingress pref 5")
	kerneltest.Eventually(t, "and that it has gone", func() bool { return s.State().Ahead == "" })
}

// batch runs many commands of one tool. The name of the tool comes first.
func batch(t *testing.T, commands string) {
	t.Helper()
	tool, lines, _ := strings.Cut(commands, " ")
	kerneltest.RunWith(t, lines, tool+" -batch -")
}

// Run tries again if the programs cannot be attached at first, because the device is not there yet
// or a qdisc is in the way.
func TestAttachIsTriedAgain(t *testing.T) {
	const rename = "link set gre1 down\nlink set gre1 name gre7\n"
	for name, test := range map[string]struct {
		before, words, after string // before and after: batches; words: the state in between
	}{
		"no device": {"ip " + rename, "not found",
			"ip link set gre7 name gre1\nlink set gre1 up"},
		"another device": {"ip " + rename + "link add gre1 type dummy", "only gre",
			"ip link del gre1\nlink set gre7 name gre1\nlink set gre1 up"},
		"an ingress qdisc": {"tc qdisc add dev gre1 ingress", "ingress qdisc",
			"tc qdisc del dev gre1 ingress"},
	} {
		t.Run(name, func(t *testing.T) {
			if !kerneltest.OwnNamespace(t) {
				return
			}
			kerneltest.HubAndSpokes(t)
			batch(t, test.before)
			s, _ := runPath(t, Config{Device: "gre1", Admission: true,
				Admitted: []Admission{{NBMA: kerneltest.Spoke1NBMA}}})
			if st := s.State(); st.Admission || st.Mode != "" ||
				!strings.Contains(st.Reason, test.words) {
				t.Errorf("the state is %+v, want a reason with %q", st, test.words)
			}
			// Admissions that are changed meanwhile are not lost.
			changes := []Admission{
				{NBMA: kerneltest.Spoke2NBMA}, {NBMA: kerneltest.Spoke1NBMA, Delete: true},
			}
			if err := s.Admit(changes); err != nil {
				t.Errorf("admitting meanwhile: %v", err)
			}
			batch(t, test.after)
			kerneltest.Eventually(t, "the programs are attached", func() bool {
				return s.State().Admission
			})
			if one, other := arrives(t, kerneltest.Spoke1, toLAN),
				arrives(t, kerneltest.Spoke2, toLAN); one != 0 || other != 1 {
				t.Errorf("%d packets of spoke 1 came and %d of spoke 2, want 0 and 1", one, other)
			}
		})
	}
}

// The companion device takes nothing in, even if somebody removes its filter. The device and its
// filter come back.
func TestCompanionIsKept(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := admitting(t, gre)
	if err := s.SetMarked(map[netip.Addr]netip.Addr{
		xfrm.MarkedNBMA(1): kerneltest.Spoke1NBMA,
	}); err != nil {
		t.Fatal(err)
	}
	closed := func() bool {
		companion, err := vnl.LinkByName("gre1-nat")
		if err != nil {
			return false
		}
		filters, err := vnl.FilterList(companion, uint32(tc.Ingress))
		return err == nil && len(filters) == 1 &&
			filters[0].(*vnl.BpfFilter).Name == companionFilter.Name
	}
	kerneltest.Eventually(t, "the companion is closed", closed)
	for _, change := range []string{
		"tc qdisc del dev gre1-nat clsact",
		"tc filter del dev gre1-nat ingress",
		"ip link del gre1-nat",
	} {
		kerneltest.RunWith(t, "", change)
		kerneltest.Eventually(t, "the companion is closed after "+change, closed)
		// A comparison that met the change half done may have failed. The state follows the kernel.
		kerneltest.Eventually(t, "marks work after "+change, func() bool {
			return s.State().Marks == ""
		})
		var way bpfWay
		kerneltest.Eventually(t, "the way to marked peers is right", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			err := s.objects.Ways.Lookup(uint32(0), &way)
			companion, linkErr := vnl.LinkByName("gre1-nat")
			return err == nil && linkErr == nil && int(way.Companion) == companion.Attrs().Index
		})
	}
	kerneltest.IPf(t, "link set gre1-nat down")
	kerneltest.Shows(t, "link show dev gre1-nat", ",UP")
}

// A companion device of an earlier run is closed to arriving packets even if nobody needs it now.
func TestCompanionOfBeforeIsKeptClosed(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	if err := attach(t, gre).EnableMarks(); err != nil {
		t.Fatal(err)
	}
	admitting(t, gre)
	kerneltest.RunWith(t, "", "tc qdisc del dev gre1-nat clsact")
	companion, err := vnl.LinkByName("gre1-nat")
	if err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "the companion is closed", func() bool {
		return cmp.Equal(kerneltest.FiltersAt(t, companion, uint32(tc.Ingress)),
			[]string{companionFilter.Name})
	})
}

// Two tunnels share one companion device, and do not replace each other's program on it.
func TestTwoTunnelsShareTheCompanion(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.RunWith(t, "link add gre2 type gre local 192.0.2.1 key 43\nlink set gre2 up", "ip -batch -")
	second, err := vnl.LinkByName("gre2")
	if err != nil {
		t.Fatal(err)
	}
	one, _ := admitting(t, gre)
	two, _ := runPath(t, Config{Device: "gre2", Index: second.Attrs().Index})
	for _, s := range []*ebpfPath{one, two, one} {
		if err := s.EnableMarks(); err != nil {
			t.Fatal(err)
		}
	}
	companion, err := vnl.LinkByName("gre1-nat")
	if err != nil {
		t.Fatal(err)
	}
	program := func() int {
		filters, err := vnl.FilterList(companion, uint32(tc.Ingress))
		if err != nil || len(filters) != 1 {
			t.Fatalf("filters %v, %v", filters, err)
		}
		return filters[0].(*vnl.BpfFilter).Id
	}
	before := program()
	for range 3 {
		for _, s := range []*ebpfPath{one, two} {
			if err := s.reconcile(schedule.CauseAudit); err != nil {
				t.Errorf("%s: %v", s.device, err)
			}
		}
	}
	if after := program(); after != before {
		t.Errorf("the companion's program %d was replaced by %d: the tunnels fight for it",
			before, after)
	}
}

// Two tunnels that need the companion device at the same time share the one that the first of them
// makes. Neither takes it for another program's.
func TestTwoTunnelsMakeTheCompanionAtOnce(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.RunWith(t, "link add gre2 type gre local 192.0.2.1 key 43\nlink set gre2 up", "ip -batch -")
	second, err := vnl.LinkByName("gre2")
	if err != nil {
		t.Fatal(err)
	}
	one, _ := admitting(t, gre)
	two, _ := runPath(t, Config{Device: "gre2", Index: second.Attrs().Index})
	for range 10 {
		both := make(chan error, 2)
		for _, s := range []*ebpfPath{one, two} {
			go func() {
				_, err := s.Companion()
				both <- err
			}()
		}
		if err := errors.Join(<-both, <-both); err != nil {
			t.Fatal(err)
		}
		if err := removeUnusedCompanion(); err != nil {
			t.Fatal(err)
		}
	}
}

// The next comparison finds and corrects what somebody changed in the programs' tables.
func TestTablesAreKept(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := admitting(t, gre)
	marked := map[netip.Addr]netip.Addr{xfrm.MarkedNBMA(1): kerneltest.Spoke1NBMA}
	if err := s.SetMarked(marked); err != nil {
		t.Fatal(err)
	}
	one, other := keyOf(kerneltest.Spoke1NBMA), keyOf(kerneltest.Spoke2NBMA)
	for name, change := range map[string]func() error{
		"an entry deleted": func() error { return s.objects.Admitted.Delete(one) },
		"an entry changed": func() error { return s.objects.Admitted.Put(one, admittedNHS) },
		"an entry added":   func() error { return s.objects.Admitted.Put(other, uint32(0)) },
		"a mark deleted": func() error {
			return s.objects.Marked.Delete(keyOf(xfrm.MarkedNBMA(1)))
		},
		"a mark changed": func() error {
			return s.objects.Marked.Put(keyOf(xfrm.MarkedNBMA(1)), other)
		},
	} {
		before, err := s.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.reconcile(schedule.CauseAudit); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		admitted, err := readTable[bpfAddress, uint32](s.objects.Admitted)
		want := map[bpfAddress]uint32{one: 0}
		if diff := cmp.Diff(want, admitted, cmp.Comparer(sameKey)); diff != "" || err != nil {
			t.Errorf("%s: admitted (-want +got), %v:\n%s", name, err, diff)
		}
		marked, err := readTable[bpfAddress, bpfAddress](s.objects.Marked)
		if err != nil || len(marked) != 1 || marked[keyOf(xfrm.MarkedNBMA(1))] != one {
			t.Errorf("%s: marked %v, %v", name, marked, err)
		}
		if after, err := s.Stats(); err != nil || after.Restored != before.Restored+1 {
			t.Errorf("%s: restored %d, want one more than %d",
				name, after.Restored, before.Restored)
		}
	}
}

func sameKey(a, b bpfAddress) bool { return a == b }

// If a table is full, the state says so, and the missing peer is admitted once there is room.
func TestFullTableIsTriedAgain(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	list := []Admission{{NBMA: kerneltest.Spoke1NBMA}}
	for i := range 5 {
		list = append(list, Admission{NBMA: netip.AddrFrom4([4]byte{198, 18, 0, byte(i)})})
	}
	s, _ := runPath(t, Config{Device: "gre1", Index: gre.Attrs().Index, Admission: true,
		Peers: len(list), Admitted: list})
	if err := s.Admit([]Admission{{NBMA: kerneltest.Spoke2NBMA}}); err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "the state shows that a peer is missing", func() bool {
		st := s.State()
		return st.Admission && strings.Contains(st.Fault, "1 of 7 are missing")
	})
	if arrives(t, kerneltest.Spoke2, toLAN) != 0 {
		t.Error("the table has room, and this test shows nothing")
	}
	if err := s.Admit([]Admission{{NBMA: list[3].NBMA, Delete: true}}); err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "nothing is missing", func() bool { return s.State().Fault == "" })
	if arrives(t, kerneltest.Spoke2, toLAN) != 1 {
		t.Error("there is room, and spoke 2 is not admitted")
	}
}

// If somebody removes the programs, they are back as soon as the daemon has been notified, even
// under a flood of packets.
func TestGapWithoutProgramsIsShort(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := admitting(t, gre)
	kerneltest.IPf(t, "-n %s neigh add 10.255.0.1 lladdr 192.0.2.1 dev gre1", kerneltest.Spoke2)
	flood := exec.Command("ip", "netns", "exec", kerneltest.Spoke2,
		"ping", "-q", "-f", "-w", "60", "-I", "10.255.0.12", "10.255.0.1")
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		flood.Process.Kill()
		flood.Wait()
	})
	before := icmpEchos(t)
	kerneltest.Eventually(t, "the flood is refused", func() bool {
		stats, err := s.Stats()
		return err == nil && stats.NotAdmitted > 100
	})
	if after := icmpEchos(t); after != before {
		t.Fatalf("the host took in echo requests: %s, %s before", after, before)
	}
	for i := range uint64(5) {
		kerneltest.RunWith(t, "", "tc qdisc del dev gre1 clsact")
		restoredAtLeast(t, s, 2*(i+1))
	}
	t.Logf("the host took in %s echo requests (%s before) in the five gaps", icmpEchos(t), before)
	still := icmpEchos(t)
	stats, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "the flood is refused again", func() bool {
		now, err := s.Stats()
		return err == nil && now.NotAdmitted > stats.NotAdmitted+100
	})
	if after := icmpEchos(t); after != still {
		t.Errorf("the host took in echo requests with the programs back: %s, %s before",
			after, still)
	}
}
