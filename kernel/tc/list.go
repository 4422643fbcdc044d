package tc

import (
	"errors"
	"fmt"

	"cygnet/kernel/rtnl"

	"golang.org/x/sys/unix"
)

// Priorities returns the priorities at which the device has filters with the handle and the name of
// f, in ascending order, whatever their programs are. The priority of f does not matter. A device
// that is gone has none.
func Priorities(f Filter) ([]uint16, error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	index, err := deviceOf(r, &f)
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	have, err := dumpFilters(r, index, f.At)
	if err != nil {
		return nil, fmt.Errorf("list the filters at the %s of %s: %w", f.At, f.Device, err)
	}
	var all []uint16
	for i := range have {
		if have[i].kind == kindBPF && have[i].handle == f.Handle && have[i].name == f.Name {
			all = append(all, have[i].priority) // the kernel lists them by priority
		}
	}
	return all, nil
}
