package kernel

import (
	"errors"
	"fmt"

	"cygnet/kernel/rtnl"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// direction is an end of a device's clsact qdisc. Its value is the parent that netlink gives a
// filter there.
type direction uint32

const (
	atIngress direction = 0xfffffff2 // TC_H_MIN_INGRESS of TC_H_CLSACT
	atEgress  direction = 0xfffffff3
)

// String names the end of the qdisc as tc does.
func (d direction) String() string {
	switch d {
	case atIngress:
		return "ingress"
	case atEgress:
		return "egress"
	}
	return fmt.Sprintf("parent %x", uint32(d))
}

// filter is wanted state: the program that a device has to have at one end of its clsact qdisc. A
// filter in the kernel with this handle, priority and name is the daemon's, even if an earlier run
// made it. Reconcile it like this:
//
//	notices, err := listenFilters(ctx, log)
//	keep(ctx, notices, func(n rtnl.Notice) bool { return filtersTouched(n, index) }, wake,
//		func(cause string) error { report, err := ensureFilters(wanted); …; return err })
//
// and remove it with removeFilters. These functions keep no memory of what they did: they look at
// what the kernel has at that moment.
type filter struct {
	device   string
	index    int // of the device; 0: any device with that name
	at       direction
	name     string // as `tc filter show` prints it
	handle   uint32
	priority uint16
	program  *ebpf.Program // removeFilters and findFilter do not need it

	// shared says that several tunnels want the same code there, and that each has loaded it for
	// itself. The program of any of them will do. Otherwise the tunnels would replace each other's
	// program for ever.
	shared bool
}

// String names the filter, for messages.
func (f *filter) String() string {
	return fmt.Sprintf("%s at the %s of %s", f.name, f.at, f.device)
}

// errPlaceTaken means that another program's filter has the handle and priority of the daemon's.
var errPlaceTaken = errors.New("another program's filter is in the place of ours")

// errDeviceReplaced means that another device has the name now. The daemon must not change that
// device's filters.
var errDeviceReplaced = errors.New("it was replaced in the meantime")

// filterReport is what ensureFilters found and did.
type filterReport struct {
	// placed holds the filters that were missing, or had another program, and are right now.
	placed []filter
	// ahead describes other programs' filters that run before one of the daemon's. Their verdict
	// may be final.
	ahead []string
	// held holds the wanted filters that their device has now.
	held []filter
}

// ensureFilters compares the wanted filters with what their devices have, and corrects the
// differences. It adds a missing clsact qdisc or a missing filter, or replaces the program of the
// daemon's filter in one step. It changes no filter of another program, but returns errPlaceTaken
// if one is in the way. A filter that fails does not stop the others.
func ensureFilters(wanted []filter) (filterReport, error) {
	var report filterReport
	r, err := rtnl.Open()
	if err != nil {
		return report, err
	}
	defer r.Close()
	var failed []error
	said := make(map[string]bool) // both ends of a device mostly have the same error
	for i := range wanted {
		err := ensureFilter(r, &wanted[i], &report)
		if err != nil && !said[err.Error()] {
			said[err.Error()] = true
			failed = append(failed, err)
		}
	}
	return report, errors.Join(failed...)
}

// ensureFilter is ensureFilters for one filter.
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

// among returns the daemon's filter among those that are there, or nil if it is missing. It returns
// errPlaceTaken if another program's filter has its place.
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

// placeFilter adds the filter, with the clsact qdisc if that is missing. With replace it replaces
// the program of the filter that is there.
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

// ensureClsact adds the clsact qdisc, to which filters are attached, unless the device has it.
// Replacing it would remove the filters of other programs.
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
				"remove it (tc qdisc del dev %s ingress) and put its filters on clsact",
				device, device)
		}
	}
	// EEXIST means that another program was faster.
	if err := addClsact(r, index); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the clsact qdisc to %s: %w", device, err)
	}
	return nil
}

// findFilter reports whether the device has the filter, with any program.
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

// removeFilters removes the daemon's filters. It leaves other programs' filters, and it leaves the
// clsact qdisc, because another program may be about to use that. A filter or a device that is gone
// is no error.
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

// removeFilter is removeFilters for one filter.
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
