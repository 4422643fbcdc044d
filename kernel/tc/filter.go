// Package tc attaches eBPF programs to network devices: it keeps filters of traffic control
// (tc-bpf(8)) on the clsact qdiscs of devices, beside those of other programs. It knows nothing of
// what the programs do.
package tc

import (
	"errors"
	"fmt"
	"strings"

	"cygnet/kernel/rtnl"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Direction is an end of a device's clsact qdisc. Its value is the parent that netlink gives a
// filter there.
type Direction uint32

// The two ends of a clsact qdisc.
const (
	Ingress Direction = 0xfffffff2 // TC_H_MIN_INGRESS of TC_H_CLSACT
	Egress  Direction = 0xfffffff3
)

// String names the end of the qdisc as tc does.
func (d Direction) String() string {
	switch d {
	case Ingress:
		return "ingress"
	case Egress:
		return "egress"
	}
	return fmt.Sprintf("parent %x", uint32(d))
}

// Filter is wanted state: the program that a device has to have at one end of its clsact qdisc. A
// filter in the kernel with this handle, priority and name is the daemon's, even if an earlier run
// made it. Reconcile it like this:
//
//	notices, err := tc.Listen(ctx, log)
//	tc.Keep(ctx, notices, func(n rtnl.Notice) bool { return tc.Touched(n, index) }, wake,
//		func(cause string) error { report, err := tc.Ensure(wanted); …; return err })
//
// and remove it with Remove. These functions keep no memory of what they did: they read what the
// kernel has at that moment.
type Filter struct {
	Device   string
	Index    int // of the device; 0: any device with that name
	At       Direction
	Name     string // as `tc filter show` prints it
	Handle   uint32
	Priority uint16
	Program  *ebpf.Program // Remove and Find do not need it

	// Shared says that several tunnels want the same code there, and that each has loaded it for
	// itself. The program of any of them will do. Otherwise the tunnels would replace each other's
	// program for ever.
	Shared bool
}

// On returns the filter for a device. Index 0 stands for any device with that name.
func (f Filter) On(device string, index int) Filter {
	f.Device, f.Index = device, index
	return f
}

// String names the filter, for messages.
func (f *Filter) String() string {
	return fmt.Sprintf("%s at the %s of %s", f.Name, f.At, f.Device)
}

// ErrPlaceTaken means that another program's filter has the handle and priority of the daemon's.
var ErrPlaceTaken = errors.New("another program's filter is in the place of ours")

// Handle is the handle of the daemon's filters. It is NHRP's protocol number, which other programs
// will hardly choose. The daemon finds the filters of an earlier run by handle, priority and name.
const Handle = 0x2001

// namePrefix is how the names of all filters of the daemon's begin.
const namePrefix = "cygnet_"

// ours reports whether the filter is one of the daemon's. The fence may have its filter on the
// tunnel of another interface, in front of that tunnel's own.
func (k *kernelFilter) ours() bool {
	return k.kind == kindBPF && k.handle == Handle && strings.HasPrefix(k.name, namePrefix)
}

// errDeviceReplaced means that another device has the name now. The daemon must not change that
// device's filters.
var errDeviceReplaced = errors.New("it was replaced in the meantime")

// Report is what Ensure found and did.
type Report struct {
	// Placed holds the filters that were missing, or had another program, and are right now.
	Placed []Filter
	// Ahead describes other programs' filters that run before one of the daemon's. Their verdict
	// may be final.
	Ahead []string
	// Held holds the wanted filters that their device has now.
	Held []Filter
}

// Ensure compares the wanted filters with what their devices have, and corrects the differences. It
// adds a missing clsact qdisc or a missing filter, or replaces the program of the daemon's filter
// in one step. It changes no filter of another program, but returns ErrPlaceTaken if one is in the
// way. A filter that fails does not stop the others.
func Ensure(wanted []Filter) (Report, error) {
	var report Report
	r, err := rtnl.Open()
	if err != nil {
		return report, err
	}
	defer r.Close()
	var failed []error
	known := make(map[string]bool) // both ends of a device mostly have the same error
	for i := range wanted {
		err := ensure(r, &wanted[i], &report)
		if err != nil && !known[err.Error()] {
			known[err.Error()] = true
			failed = append(failed, err)
		}
	}
	return report, errors.Join(failed...)
}

// ensure is Ensure for one filter.
func ensure(r *rtnl.Conn, f *Filter, report *Report) error {
	index, err := deviceOf(r, f)
	if err != nil {
		return err
	}
	right, err := f.comparison()
	if err != nil {
		return err
	}
	have, err := dumpFilters(r, index, f.At)
	if err != nil {
		return fmt.Errorf("list the filters at the %s of %s: %w", f.At, f.Device, err)
	}
	ours, err := f.among(have)
	if err != nil {
		return err
	}
	if ours == nil || !right(ours) {
		if err := place(r, f, index, ours != nil); err != nil {
			return err
		}
		report.Placed = append(report.Placed, *f)
	}
	report.Held = append(report.Held, *f)
	for _, other := range have {
		if other.priority < f.Priority && !other.ours() {
			report.Ahead = append(report.Ahead, fmt.Sprintf("%s runs before ours at the %s of %s",
				&other, f.At, f.Device))
		}
	}
	return nil
}

// AttachNew attaches a filter to a device that was made just now and has neither a clsact qdisc nor
// a filter. It asks the kernel for less than Ensure, which lists the qdiscs of all devices: with
// thousands of devices that list is what takes the time.
func AttachNew(r *rtnl.Conn, f Filter) error {
	if err := addClsact(r, f.Index); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the clsact qdisc to %s: %w", f.Device, err)
	}
	if err := setFilter(r, &f, f.Index, false); err != nil {
		return fmt.Errorf("attach the program %s: %w", &f, err)
	}
	return nil
}

// comparison returns a function that reports whether a filter has the wanted program.
func (f *Filter) comparison() (func(*kernelFilter) bool, error) {
	info, err := f.Program.Info()
	if err != nil {
		return nil, fmt.Errorf("read the id of the program %s: %w", f.Name, err)
	}
	id, known := info.ID()
	if !known {
		return nil, fmt.Errorf("read the id of the program %s: the kernel does not tell it", f.Name)
	}
	return func(have *kernelFilter) bool {
		if !have.direct {
			return false
		}
		return have.program == uint32(id) || f.Shared && have.tag == info.Tag
	}, nil
}

// deviceOf returns the index of the filter's device.
func deviceOf(r *rtnl.Conn, f *Filter) (int, error) {
	l, err := r.LinkByName(f.Device)
	switch {
	case err != nil:
		return 0, fmt.Errorf("find the device %s: %w", f.Device, err)
	case l == nil:
		return 0, fmt.Errorf("find the device %s: %w (not found)", f.Device, unix.ENODEV)
	case f.Index != 0 && l.Index != f.Index:
		return 0, fmt.Errorf("the device %s has index %d, not %d: %w", f.Device, l.Index, f.Index,
			errDeviceReplaced)
	}
	return l.Index, nil
}

// among returns the daemon's filter among those that are there, or nil if it is missing. It returns
// ErrPlaceTaken if another program's filter has its place.
func (f *Filter) among(have []kernelFilter) (*kernelFilter, error) {
	for i := range have {
		other := &have[i]
		if other.priority != f.Priority || other.kind == kindBPF && other.handle != f.Handle {
			continue
		}
		if other.kind == kindBPF && other.name == f.Name {
			return other, nil
		}
		return nil, fmt.Errorf("%w: %s at the %s of %s; give it another priority",
			ErrPlaceTaken, other, f.At, f.Device)
	}
	return nil, nil
}

// place adds the filter, with the clsact qdisc if that is missing. With replace it replaces the
// program of the filter that is there.
func place(r *rtnl.Conn, f *Filter, index int, replace bool) error {
	if !replace {
		if err := ensureClsact(r, index, f.Device); err != nil {
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

// Find reports whether the device has the filter, with any program.
func Find(f Filter) (bool, error) {
	r, err := rtnl.Open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	index, err := deviceOf(r, &f)
	if err != nil {
		return false, err
	}
	have, err := dumpFilters(r, index, f.At)
	if err != nil {
		return false, fmt.Errorf("list the filters at the %s of %s: %w", f.At, f.Device, err)
	}
	ours, err := f.among(have)
	return ours != nil, err
}

// Remove removes the daemon's filters. It leaves other programs' filters, and it leaves the clsact
// qdisc, because another program may be about to use that. A filter or a device that is gone is no
// error.
func Remove(filters []Filter) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	var failed error
	for i := range filters {
		failed = errors.Join(failed, remove(r, &filters[i]))
	}
	return failed
}

// remove is Remove for one filter.
func remove(r *rtnl.Conn, f *Filter) error {
	index, err := deviceOf(r, f)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, errDeviceReplaced) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := dumpFilters(r, index, f.At)
	if err != nil {
		return fmt.Errorf("list the filters at the %s of %s: %w", f.At, f.Device, err)
	}
	ours, err := f.among(have)
	if ours == nil || errors.Is(err, ErrPlaceTaken) {
		return nil
	}
	err = deleteFilter(r, f, index)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the program %s: %w", f, err)
	}
	return nil
}
