//go:build lab

package tc

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"

	"github.com/google/go-cmp/cmp"
	vnl "github.com/vishvananda/netlink"
)

// keptFilters keeps the wanted filters in place. It returns a function for the newest report and
// error.
func keptFilters(t *testing.T, wanted []Filter, indexes ...int) func() (Report, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	notices, err := Listen(ctx, kerneltest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var report Report
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		touched := func(n rtnl.Notice) bool { return Touched(n, indexes...) }
		Keep(ctx, notices, touched, nil, func(cause string) error {
			mu.Lock()
			defer mu.Unlock()
			report, err = Ensure(wanted)
			t.Logf("%s: %v, %v", cause, report, err)
			return err
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return func() (Report, error) {
		mu.Lock()
		defer mu.Unlock()
		return report, err
	}
}

// Whatever somebody does to the filters of a device, the daemon's come back, and other programs'
// filters stay.
func TestFiltersAreKept(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.RunWith(t, "link add d0 type dummy\nlink set d0 up", "ip -batch -")
	device, err := vnl.LinkByName("d0")
	if err != nil {
		t.Fatal(err)
	}
	index := device.Attrs().Index
	in := Filter{"d0", index, Ingress, "kept_in", 11, 12, kerneltest.Program(t, "kept_in"), false}
	out := Filter{"d0", index, Egress, "kept_out", 13, 14, kerneltest.Program(t, "kept_out"), false}
	state := keptFilters(t, []Filter{in, out}, index)
	there := func(foreign ...string) func() bool {
		return func() bool {
			return cmp.Equal(kerneltest.FiltersAt(t, device, uint32(Ingress)), append(foreign, "kept_in")) &&
				cmp.Equal(kerneltest.FiltersAt(t, device, uint32(Egress)), []string{"kept_out"})
		}
	}
	kerneltest.Eventually(t, "the filters are there", there())
	for _, change := range []string{
		"tc qdisc del dev d0 clsact",
		"tc filter del dev d0 ingress",
		"tc filter del dev d0 egress",
		"tc filter del dev d0 ingress pref 12 handle 11 bpf",
	} {
		kerneltest.RunWith(t, "", change)
		kerneltest.Eventually(t, "the filters are there again after "+change, there())
	}
	// The daemon's filter, but with another program's code.
	other := in
	other.Program = kerneltest.Program(t, "other")
	if _, err := Ensure([]Filter{other}); err != nil {
		t.Fatal(err)
	}
	info, err := in.Program.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	kerneltest.Eventually(t, "the filter has our program again", func() bool {
		filters, err := vnl.FilterList(device, uint32(Ingress))
		return err == nil && len(filters) == 1 && filters[0].(*vnl.BpfFilter).Id == int(id)
	})

	// Another program's filter in the place of the daemon's is left alone and reported, until it
	// goes.
	kerneltest.RunWith(t, "", "tc filter del dev d0 egress pref 14")
	kerneltest.Eventually(t, "the filters are there", there())
	if err := Remove([]Filter{in}); err != nil {
		t.Fatal(err)
	}
	kerneltest.Eventually(t, "removed is put back", there())
	kerneltest.RunWith(t, "", "tc filter add dev d0 ingress pref 5 matchall action pass")
	kerneltest.Eventually(t, "a filter before ours is reported", func() bool {
		report, err := state()
		return err == nil && len(report.Ahead) == 1 &&
			strings.Contains(report.Ahead[0], "matchall filter of priority 5")
	})
	kerneltest.Eventually(t, "both are there", there("matchall"))
}

// A filter of the daemon's own that runs before another one of its own is not reported: none of
// them has a final verdict on what it lets pass.
func TestOwnFiltersAreNotAhead(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.RunWith(t, "link add d0 type dummy\nlink set d0 up", "ip -batch -")
	program := kerneltest.Program(t, "cygnet_test")
	fence := Filter{"d0", 0, Ingress, "cygnet_fence_in", Handle, 3, program, false}
	own := Filter{"d0", 0, Ingress, "cygnet_ingress", Handle, 12, program, false}
	foreign := Filter{"d0", 0, Ingress, "elsewhere", Handle, 4, program, false}
	for _, other := range []Filter{fence, foreign} {
		if _, err := Ensure([]Filter{other}); err != nil {
			t.Fatal(err)
		}
	}
	report, err := Ensure([]Filter{own})
	if err != nil || len(report.Ahead) != 1 || !strings.Contains(report.Ahead[0], "elsewhere") {
		t.Errorf("ahead of ours are %q, %v; want only the other program's", report.Ahead, err)
	}
}

// Another program's filter in the place of the daemon's is not touched. The error says to give it
// another priority.
func TestFilterInOurPlaceStays(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.RunWith(t, "link add d0 type dummy\nlink set d0 up", "ip -batch -")
	device, err := vnl.LinkByName("d0")
	if err != nil {
		t.Fatal(err)
	}
	kerneltest.RunWith(t, "", "tc qdisc add dev d0 clsact")
	kerneltest.RunWith(t, "", "tc filter add dev d0 ingress pref 12 matchall action pass")
	index := device.Attrs().Index
	in := Filter{"d0", index, Ingress, "kept_in", 11, 12, kerneltest.Program(t, "kept_in"), false}
	out := Filter{"d0", index, Egress, "kept_out", 13, 14, kerneltest.Program(t, "kept_out"), false}
	state := keptFilters(t, []Filter{in, out}, index)
	kerneltest.Eventually(t, "the other end has our filter", func() bool {
		return cmp.Equal(kerneltest.FiltersAt(t, device, uint32(Egress)), []string{"kept_out"})
	})
	kerneltest.Eventually(t, "the error names what is there", func() bool {
		report, err := state()
		return errors.Is(err, ErrPlaceTaken) && strings.Contains(err.Error(), "matchall") &&
			len(report.Held) == 1
	})
	got := kerneltest.FiltersAt(t, device, uint32(Ingress))
	if !cmp.Equal(got, []string{"matchall"}) {
		t.Errorf("filters %v at ingress, want theirs alone", got)
	}
	kerneltest.RunWith(t, "", "tc filter del dev d0 ingress pref 12")
	kerneltest.Eventually(t, "ours is there once theirs has gone", func() bool {
		_, err := state()
		return err == nil && cmp.Equal(kerneltest.FiltersAt(t, device, uint32(Ingress)), []string{"kept_in"})
	})
	kerneltest.RunWith(t, "", "ip link del d0")
	kerneltest.Eventually(t, "the error shows that the device is gone", func() bool {
		_, err := state()
		return err != nil && strings.Contains(err.Error(), "not found")
	})
}
