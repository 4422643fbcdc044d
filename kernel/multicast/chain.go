package multicast

import (
	"errors"
	"fmt"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tc"
)

// copiesPerFilter is how many copies one filter of the chain makes, as in bpf/multicast.c.
const copiesPerFilter = 512

// maxFilters is how many filters a chain has at most, without the first one.
const maxFilters = MaxPeers / copiesPerFilter

// slot is the priority of the first filter of a chain. The others follow it.
//
// There are two slots, so that the chain of a new run can be on the tunnel beside that of an
// earlier one. The chain in the front slot ends every packet for a group. So the whole change from
// one chain to the other is that the first filter of the front one comes, or goes. Both are before
// the data path's own filter, which never sees a packet that ends in a chain.
type slot uint16

const (
	frontSlot slot = 0x1f00
	backSlot  slot = 0x1f80
)

// The filters of a chain, without a device, a priority and a program.
var (
	firstFilter  = tc.Filter{At: tc.Egress, Name: "cygnet_group", Handle: tc.Handle}
	copiesFilter = tc.Filter{At: tc.Egress, Name: "cygnet_copies", Handle: tc.Handle}
)

// first returns the first filter of a chain.
func (s slot) first(device string, index int) tc.Filter {
	f := firstFilter.On(device, index)
	f.Priority = uint16(s)
	return f
}

// copies returns the n-th filter behind the first one.
func (s slot) copies(device string, index, n int) tc.Filter {
	f := copiesFilter.On(device, index)
	f.Priority = uint16(s) + uint16(n)
	return f
}

// has reports whether a filter with this priority is of a chain in the slot.
func (s slot) has(priority uint16) bool {
	return priority >= uint16(s) && priority <= uint16(s)+maxFilters
}

// other returns the other slot.
func (s slot) other() slot {
	if s == frontSlot {
		return backSlot
	}
	return frontSlot
}

// filtersFor returns how many filters a list of peers needs, without the first one. A list without
// peers needs one, so that peers can come without a change of the chain.
func filtersFor(peers int) int {
	return max(1, (peers+copiesPerFilter-1)/copiesPerFilter)
}

// freeSlot returns the slot for a new chain: the one that no chain of an earlier run works in. A
// run that ended while it took over leaves chains in both; the one in front works then.
func freeSlot(device string, index int) (slot, error) {
	heads, err := tc.Priorities(firstFilter.On(device, index))
	if err != nil {
		return 0, err
	}
	if slices.ContainsFunc(heads, frontSlot.has) {
		return backSlot, nil
	}
	return frontSlot, nil
}

// Attached reports whether programs that replicate are on the device, of this run or of an earlier
// one. A device whose filters cannot be read counts as one without.
func Attached(device string, index int) bool {
	heads, err := tc.Priorities(firstFilter.On(device, index))
	return err == nil && len(heads) > 0
}

// ensureChain gives the device a chain with n filters behind the first one. The first one comes
// last, when all others are there.
func ensureChain(at slot, cfg *Config, o *bpfObjects, n int) (tc.Report, error) {
	var wanted []tc.Filter
	for i := 1; i <= n; i++ {
		f := at.copies(cfg.Device, cfg.Index, i)
		f.Program = o.CygnetCopies
		wanted = append(wanted, f)
	}
	report, err := tc.Ensure(wanted)
	report.Ahead = nil // the filters of the chain itself
	if err != nil {
		return report, err
	}
	first := at.first(cfg.Device, cfg.Index)
	first.Program = o.CygnetGroup
	of, err := tc.Ensure([]tc.Filter{first})
	report.Placed = append(report.Placed, of.Placed...)
	report.Held = append(report.Held, of.Held...)
	report.Ahead = of.Ahead
	return report, err
}

// removeChain removes the chain in a slot, if there is one. It removes the first filter, waits
// until no packet is under way in the chain, and removes the others.
func removeChain(at slot, device string, index int, barrier func() error) error {
	if err := tc.Remove([]tc.Filter{at.first(device, index)}); err != nil {
		return err
	}
	rest, err := tc.Priorities(copiesFilter.On(device, index))
	if err != nil {
		return err
	}
	rest = slices.DeleteFunc(rest, func(p uint16) bool { return !at.has(p) })
	if len(rest) == 0 {
		return nil
	}
	if err := barrier(); err != nil {
		return err
	}
	var filters []tc.Filter
	for _, priority := range rest {
		filters = append(filters, at.copies(device, index, int(priority-uint16(at))))
	}
	return tc.Remove(filters)
}

// Detach removes the programs that Attach attached to the device. Call it before datapath.Detach,
// which may remove the companion device. A device that is gone is no error.
func Detach(device string) error {
	var failed error
	none := func() error { return nil } // what is under way may end with the chain
	for _, s := range []slot{frontSlot, backSlot} {
		failed = errors.Join(failed, removeChain(s, device, 0, none))
	}
	return rtnl.Explain(failed, "detach the programs that replicate from %s", device)
}

// filterNames returns the names of filters, for the log.
func filterNames(filters []tc.Filter) []string {
	var names []string
	for i := range filters {
		names = append(names, fmt.Sprintf("%s (priority %d)", &filters[i], filters[i].Priority))
	}
	return names
}
