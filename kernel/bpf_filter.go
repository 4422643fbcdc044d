package kernel

import (
	"errors"
	"fmt"

	"cygnet/kernel/rtnl"
)

// Priority and handle of our filters: NHRP's protocol number, which others will hardly pick.
// Together with the name they are what finds the filters of an earlier run.
const (
	filterPriority = 0x2001
	filterHandle   = 0x2001
)

// The tunnel's filters, and the companion's.
var (
	ingressFilter = filter{at: atIngress, name: "cygnet_ingress", handle: filterHandle, priority: filterPriority}
	egressFilter  = filter{at: atEgress, name: "cygnet_egress", handle: filterHandle, priority: filterPriority}

	companionFilter = filter{at: atIngress, name: "cygnet_unclaimed", handle: filterHandle, priority: filterPriority}
)

// on is the filter on a device; index 0: whatever device has the name.
func (f filter) on(device string, index int) filter {
	f.device, f.index = device, index
	return f
}

// tunnelFilters are the filters that the tunnel device is to have.
func (s *ebpfPath) tunnelFilters() []filter {
	in, out := ingressFilter.on(s.device, s.index), egressFilter.on(s.device, s.index)
	s.mu.Lock()
	defer s.mu.Unlock()
	in.program, out.program = s.objects.CygnetIngress, s.objects.CygnetEgress
	return []filter{in, out}
}

// attachable reports why the programs cannot work on the device, if so.
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
		return nil // attaching says that the device is gone
	case index != 0 && l.Index != index:
		return nil
	case l.Kind != rtnl.KindGRE:
		return fmt.Errorf("the device is %s: only gre devices show the outer address", kindOrHardware(l.Kind))
	}
	return nil
}

func kindOrHardware(kind string) string {
	if kind == "" {
		return "a hardware interface"
	}
	return kind
}

// Detach removes the programs that AttachDataPath put on the device. Its clsact qdisc stays: nobody
// knows who else is about to use it. The companion device goes with the last device that has our
// programs. A device that is gone is no error.
func Detach(device string) error {
	err := removeFilters([]filter{ingressFilter.on(device, 0), egressFilter.on(device, 0)})
	return errors.Join(rtnl.Explain(err, "detach programs from %s", device), removeUnusedCompanion())
}
