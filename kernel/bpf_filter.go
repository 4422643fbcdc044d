package kernel

import (
	"errors"
	"fmt"

	"cygnet/kernel/rtnl"
)

// Priority and handle of the daemon's filters on tunnels. Both are NHRP's protocol number, which
// other programs will hardly choose. The daemon finds the filters of an earlier run by priority,
// handle and name.
const (
	filterPriority = 0x2001
	filterHandle   = 0x2001
)

// The filters of a tunnel and of the companion device, without a device and a program.
var (
	ingressFilter = filter{
		at:       atIngress,
		name:     "cygnet_ingress",
		handle:   filterHandle,
		priority: filterPriority,
	}
	egressFilter = filter{
		at:       atEgress,
		name:     "cygnet_egress",
		handle:   filterHandle,
		priority: filterPriority,
	}

	companionFilter = filter{
		at:       atIngress,
		name:     "cygnet_unclaimed",
		handle:   filterHandle,
		priority: filterPriority,
	}
)

// on returns the filter for a device. Index 0 stands for any device with that name.
func (f filter) on(device string, index int) filter {
	f.device, f.index = device, index
	return f
}

// tunnelFilters returns the filters that the tunnel device has to have.
func (s *ebpfPath) tunnelFilters() []filter {
	in, out := ingressFilter.on(s.device, s.index), egressFilter.on(s.device, s.index)
	s.mu.Lock()
	defer s.mu.Unlock()
	in.program, out.program = s.objects.CygnetIngress, s.objects.CygnetEgress
	return []filter{in, out}
}

// attachable returns an error if the programs cannot work on the device. It returns nil if the
// device is gone or was replaced, because attaching then returns the error.
func attachable(device string, index int) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	l, err := r.LinkByName(device)
	switch {
	case err != nil:
		return err
	case l == nil:
		return nil
	case index != 0 && l.Index != index:
		return nil
	case l.Kind != rtnl.KindGRE:
		return fmt.Errorf("the device is %s: only gre devices show the outer address",
			kindOrHardware(l.Kind))
	}
	return nil
}

// kindOrHardware returns the kind of a link in words; a hardware interface has no kind.
func kindOrHardware(kind string) string {
	if kind == "" {
		return "a hardware interface"
	}
	return kind
}

// Detach removes the programs that AttachDataPath attached to the device. It leaves the device's
// clsact qdisc, because another program may be about to use it. If no other device has the programs
// of the daemon, Detach also removes the companion device. A device that is gone is no error.
func Detach(device string) error {
	err := removeFilters([]filter{ingressFilter.on(device, 0), egressFilter.on(device, 0)})
	return errors.Join(
		rtnl.Explain(err, "detach programs from %s", device),
		removeUnusedCompanion())
}
