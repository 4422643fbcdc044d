package kernel

import (
	"errors"
	"fmt"

	"cygnet/kernel/rtnl"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// direction is an end of a device's clsact qdisc, as netlink names the parent of a filter there.
type direction uint32

const (
	atIngress direction = 0xfffffff2 // TC_H_MIN_INGRESS of TC_H_CLSACT
	atEgress  direction = 0xfffffff3
)

func (d direction) String() string {
	switch d {
	case atIngress:
		return "ingress"
	case atEgress:
		return "egress"
	}
	return fmt.Sprintf("parent %x", uint32(d))
}

// filter is wanted state: the program that a device is to have at one end of its clsact qdisc.
// Handle, priority and name together tell our filter from those of others, also one that an
// earlier run of the daemon left. Reconcile it like this:
//
//	notices, err := listenFilters(ctx, log)
//	keep(ctx, notices, func(n notice) bool { return filtersTouched(n, index) }, wake,
//		func(cause string) error { report, err := ensureFilters(wanted); …; return err })
//
// and take it away with removeFilters. Nothing else is remembered: what counts is what the kernel
// has at that moment.
type filter struct {
	device   string
	index    int // of the device; 0: of whatever device has the name
	at       direction
	name     string // as `tc filter show` prints it
	handle   uint32
	priority uint16
	program  *ebpf.Program // not needed by removeFilters and findFilter
	// shared: several tunnels have the same code there, each loaded for itself. Whoever's it is
	// will do, or they would replace each other's for ever.
	shared bool
}

func (f *filter) String() string {
	return fmt.Sprintf("%s at the %s of %s", f.name, f.at, f.device)
}

// errPlaceTaken says that a filter of another program has the handle and priority of ours.
var errPlaceTaken = errors.New("another program's filter is in the place of ours")

// errDeviceReplaced says that another device has the name now. Its filters are not ours to change.
var errDeviceReplaced = errors.New("it was replaced in the meantime")

// filterReport is what ensureFilters found.
type filterReport struct {
	// placed are the filters that were missing, or had another program, and are there now.
	placed []filter
	// ahead describes filters of others that run before one of ours: their verdict may be final.
	ahead []string
	// held are the wanted filters that the device has now, whatever became of the others.
	held []filter
}

// ensureFilters compares the wanted filters with what their devices have, and puts right what
// differs: it adds the clsact qdisc where it is missing, adds a filter, or replaces the program of
// ours in one step. It changes no filter of others; errPlaceTaken is one of its errors. A filter
// that fails does not keep the others from being put right.
func ensureFilters(wanted []filter) (filterReport, error) {
	var report filterReport
	r, err := rtnl.Open()
	if err != nil {
		return report, err
	}
	defer r.Close()
	var failed []error
	said := make(map[string]bool) // both ends of a device mostly lack the same
	for i := range wanted {
		err := ensureFilter(r, &wanted[i], &report)
		if err != nil && !said[err.Error()] {
			said[err.Error()] = true
			failed = append(failed, err)
		}
	}
	return report, errors.Join(failed...)
}

func ensureFilter(r *rtnl.Conn, f *filter, report *filterReport) error {
	index, err := filterDevice(r, f)
	if err != nil {
		return err
	}
	right, err := f.comparison()
	if err != nil {
		return err
	}
	have, err := dumpFilters(r, index, f.at)
	if err != nil {
		return fmt.Errorf("list the filters at the %s of %s: %w", f.at, f.device, err)
	}
	ours, err := f.among(have)
	if err != nil {
		return err
	}
	if ours == nil || !right(ours) {
		if err := placeFilter(r, f, index, ours != nil); err != nil {
			return err
		}
		report.placed = append(report.placed, *f)
	}
	report.held = append(report.held, *f)
	for _, other := range have {
		if other.priority < f.priority {
			report.ahead = append(report.ahead, fmt.Sprintf("%s runs before ours at the %s of %s",
				&other, f.at, f.device))
		}
	}
	return nil
}

// comparison returns a function that reports whether a filter has the wanted program.
func (f *filter) comparison() (func(*tcFilter) bool, error) {
	info, err := f.program.Info()
	if err != nil {
		return nil, fmt.Errorf("read the id of the program %s: %w", f.name, err)
	}
	id, known := info.ID()
	if !known {
		return nil, fmt.Errorf("read the id of the program %s: the kernel does not tell it", f.name)
	}
	return func(have *tcFilter) bool {
		if !have.direct {
			return false
		}
		return have.program == uint32(id) || f.shared && have.tag == info.Tag
	}, nil
}

// filterDevice returns the index of the filter's device.
func filterDevice(r *rtnl.Conn, f *filter) (int, error) {
	l, err := r.LinkByName(f.device)
	switch {
	case err != nil:
		return 0, fmt.Errorf("find the device %s: %w", f.device, err)
	case l == nil:
		return 0, fmt.Errorf("find the device %s: %w (not found)", f.device, unix.ENODEV)
	case f.index != 0 && l.Index != f.index:
		return 0, fmt.Errorf("the device %s has index %d, not %d: %w", f.device, l.Index, f.index,
			errDeviceReplaced)
	}
	return l.Index, nil
}

// among returns our filter of those that are there, nil if it is missing, and errPlaceTaken if
// another program's has its place.
func (f *filter) among(have []tcFilter) (*tcFilter, error) {
	for i := range have {
		other := &have[i]
		if other.priority != f.priority || other.kind == kindBPF && other.handle != f.handle {
			continue
		}
		if other.kind == kindBPF && other.name == f.name {
			return other, nil
		}
		return nil, fmt.Errorf("%w: %s at the %s of %s; give it another priority",
			errPlaceTaken, other, f.at, f.device)
	}
	return nil, nil
}

func placeFilter(r *rtnl.Conn, f *filter, index int, replace bool) error {
	if !replace {
		if err := ensureClsact(r, index, f.device); err != nil {
			return err
		}
	}
	if err := setFilter(r, f, index, replace); err != nil {
		return fmt.Errorf("attach the program %s: %w", f, err)
	}
	return nil
}

// ensureClsact adds the qdisc that filters hang on, unless it is there: replacing it would throw
// away the filters of others.
func ensureClsact(r *rtnl.Conn, index int, device string) error {
	kinds, err := dumpQdiscs(r, index)
	if err != nil {
		return fmt.Errorf("list the qdiscs of %s: %w", device, err)
	}
	for _, kind := range kinds {
		switch kind {
		case "clsact":
			return nil
		case "ingress":
			return fmt.Errorf("%s has an ingress qdisc, which excludes clsact: "+
				"remove it (tc qdisc del dev %s ingress) and put its filters on clsact", device, device)
		}
	}
	// EEXIST: somebody was faster.
	if err := addClsact(r, index); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the clsact qdisc to %s: %w", device, err)
	}
	return nil
}

// findFilter reports whether the device has the filter, with whatever program.
func findFilter(f filter) (bool, error) {
	r, err := rtnl.Open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	index, err := filterDevice(r, &f)
	if err != nil {
		return false, err
	}
	have, err := dumpFilters(r, index, f.at)
	if err != nil {
		return false, fmt.Errorf("list the filters at the %s of %s: %w", f.at, f.device, err)
	}
	ours, err := f.among(have)
	return ours != nil, err
}

// removeFilters takes our filters away and leaves those of others, and the clsact qdisc: nobody
// knows who else is about to use it. A filter or a device that is gone is no error.
func removeFilters(filters []filter) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	var failed error
	for i := range filters {
		failed = errors.Join(failed, removeFilter(r, &filters[i]))
	}
	return failed
}

func removeFilter(r *rtnl.Conn, f *filter) error {
	index, err := filterDevice(r, f)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, errDeviceReplaced) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := dumpFilters(r, index, f.at)
	if err != nil {
		return fmt.Errorf("list the filters at the %s of %s: %w", f.at, f.device, err)
	}
	ours, err := f.among(have)
	if ours == nil || errors.Is(err, errPlaceTaken) {
		return nil
	}
	err = deleteFilter(r, f, index)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the program %s: %w", f, err)
	}
	return nil
}
