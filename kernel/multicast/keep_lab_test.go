//go:build lab

package multicast

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"cygnet/kernel/datapath"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/schedule"
	"cygnet/kernel/tc"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// running runs a Replicator until the test ends.
func running(t testing.TB, r *Replicator) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var task sync.WaitGroup
	task.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		task.Wait()
	})
}

// Whatever somebody does to the chain, its tables or the companion device, everything comes back,
// and the state tells until then.
func TestChainComesBack(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	path := pathOf(t, "gre1")
	var mu sync.Mutex
	var states []State
	r := replicate(t, path, "gre1", Config{
		Peers:  append(numbered("192.0.2.101", 30), spokes...),
		Groups: Groups{Deny: []netip.Prefix{netip.MustParsePrefix("239.255.0.0/16")}},
		Changed: func(s State) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		},
	})
	running(t, r)
	there := listen(t, kerneltest.Spoke2, "gre1")
	s := newSender(t, "", "gre1")
	works := func(after string) {
		t.Helper()
		kerneltest.Eventually(t, "copies arrive again after "+after, func() bool {
			_ = s.try(netip.MustParseAddr("239.255.1.1"), 64)
			_ = s.try(group4, 64)
			for _, p := range there.all() {
				if c, ok := parse(p); ok && c.group == group4 {
					return true
				} else if ok {
					t.Errorf("after %s a group passes that is denied", after)
				}
			}
			return false
		})
		kerneltest.Eventually(t, "the state is good after "+after, func() bool {
			s := r.State()
			return s.Mode == ModeEBPF && s.Fault == "" && s.Peers == 32 && s.Filters == 2
		})
	}
	works("the start")
	for _, change := range []string{
		"tc filter del dev gre1 egress pref 7936",
		"tc filter del dev gre1 egress pref 7937",
		"tc filter del dev gre1 egress",
		"tc qdisc del dev gre1 clsact",
		"ip link del gre1-nat",
		"ip link set gre1-nat down",
	} {
		before := statsOf(t, r).Restored
		kerneltest.RunWith(t, "", change)
		kerneltest.Eventually(t, "something is put back after "+change, func() bool {
			return statsOf(t, r).Restored > before || change == "ip link set gre1-nat down"
		})
		works(change)
	}
	for what, change := range map[string]func(*loaded) error{
		"an entry was removed": func(l *loaded) error {
			return l.objects.Lists.Put(l.lists.plan.Active*l.lists.size+31, bpfPeer{})
		},
		"the list was cut": func(l *loaded) error {
			return l.objects.Plans.Put(uint32(0), bpfPlan{})
		},
		"the way was removed": func(l *loaded) error {
			return l.objects.Ways.Put(uint32(0), bpfWay{})
		},
		"the rules for groups were cleared": func(l *loaded) error {
			return l.objects.Groups.Put(uint32(0), bpfRules{})
		},
	} {
		before := statsOf(t, r).Restored // Run may correct the change before the test asks for it
		r.keeping.Lock()
		err := change(r.loaded)
		r.keeping.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.reconcile(schedule.CauseAudit); err != nil {
			t.Error(err)
		}
		if now := statsOf(t, r).Restored; now != before+1 {
			t.Errorf("after %s %d entries were put back", what, now-before)
		}
		works(what)
	}

	kerneltest.IPf(t, "link del gre1")
	kerneltest.Eventually(t, "the state tells that the tunnel is gone", func() bool {
		s := r.State()
		return s.Mode != ModeEBPF && s.Fault != "" && s.Peers == 0
	})
	kerneltest.Eventually(t, "the last state reported is that one", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(states) > 0 && states[len(states)-1].Mode == ""
	})
}

// The programs load and attach with the capabilities that the daemon has. Where the companion
// device is another program's, or the path has no programs, the state has the reason, and Run
// replicates as soon as it can.
func TestAttachIsTriedAgain(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	kerneltest.IPf(t, "link add other type gre external")
	path := pathOf(t, "gre1")
	cfg := Config{Device: "gre1", Companion: path.Companion, Mode: ModeEBPF, Peers: spokes}
	cfg.Index = kerneltest.LinkNamed(t, "gre1").Index
	allowed := []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF}
	kerneltest.WithCapabilities(t, allowed, func() {
		r, err := Attach(kerneltest.Log(t), cfg)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		if s := r.State(); s.Mode == ModeEBPF || s.Fault == "" {
			t.Errorf("beside another program's device the state is %+v", s)
		}
		if err := r.Want([]Change{{Peer: spokes[0], Delete: true}}); err != nil {
			t.Error(err)
		}
		kerneltest.IPf(t, "link del other")
		if err := r.reconcile(schedule.CauseRetry); err != nil {
			t.Error(err)
		}
		if s := r.State(); s.Mode != ModeEBPF || s.Fault != "" || s.Peers != 1 {
			t.Errorf("without it the state is %+v", s)
		}
	})

	cfg.Companion = func() (datapath.Companion, error) {
		return datapath.Companion{}, datapath.ErrNoCompanion
	}
	r, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if s := r.State(); s.Mode == ModeEBPF || s.Fault == "" {
		t.Errorf("without a companion device the state is %+v", s)
	}
}

// Detach removes the chain. Nothing stays open behind it, nor behind Probe.
func TestDetachRemovesTheChain(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	path, r := hub(t, Config{Peers: spokes})
	if err := errors.Join(r.Close(), Detach("gre1"), Detach("gre7")); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for _, mode := range []string{ModeEBPF, ModeUserSpace} {
		cfg := Config{Device: "gre1", Companion: path.Companion, Mode: mode, Peers: spokes}
		cfg.Index = kerneltest.LinkNamed(t, "gre1").Index
		r, err := Attach(kerneltest.Log(t), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if s := r.State(); s.Mode != mode || s.Fault != "" || s.Reason != "" {
			t.Errorf("the state is %+v", s)
		}
		if err := errors.Join(r.Close(), Detach("gre1")); err != nil {
			t.Fatal(err)
		}
		if now := descriptors(t); now != before {
			t.Errorf("after mode %s %d descriptors are open, %d before", mode, now, before)
		}
	}
	gre, err := vnl.LinkByName("gre1")
	if err != nil {
		t.Fatal(err)
	}
	if left := kerneltest.FiltersAt(t, gre, uint32(tc.Egress)); !slices.Equal(left,
		[]string{"cygnet_egress"}) {
		t.Errorf("the filters at the egress are %v", left)
	}
	if err := Probe(); err != nil {
		t.Fatal(err)
	}
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors are open, %d before", now, before)
	}
}

// descriptors returns how many file descriptors are open.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
