package datapath

import (
	"errors"
	"fmt"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tc"
)

// filterPriority is the priority of the daemon's filters on tunnels. It is NHRP's protocol number,
// which other programs will hardly choose.
const filterPriority = 0x2001

// The filters of a tunnel and of the companion device, without a device and a program.
var (
	ingressFilter = tc.Filter{
		At:       tc.Ingress,
		Name:     "cygnet_ingress",
		Handle:   tc.Handle,
		Priority: filterPriority,
	}
	egressFilter = tc.Filter{
		At:       tc.Egress,
		Name:     "cygnet_egress",
		Handle:   tc.Handle,
		Priority: filterPriority,
	}

	companionFilter = tc.Filter{
		At:       tc.Ingress,
		Name:     "cygnet_unclaimed",
		Handle:   tc.Handle,
		Priority: filterPriority,
	}
)

// tunnelFilters returns the filters that the tunnel device has to have.
func (s *ebpfPath) tunnelFilters() []tc.Filter {
	in, out := ingressFilter.On(s.device, s.index), egressFilter.On(s.device, s.index)
	s.mu.Lock()
	defer s.mu.Unlock()
	in.Program, out.Program = s.objects.CygnetIngress, s.objects.CygnetEgress
	return []tc.Filter{in, out}
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

// Detach removes the programs that Attach attached to the device. It leaves the device's clsact
// qdisc, because another program may be about to use it. If no other device has the programs of the
// daemon, Detach also removes the companion device. A device that is gone is no error.
func Detach(device string) error {
	err := tc.Remove([]tc.Filter{ingressFilter.On(device, 0), egressFilter.On(device, 0)})
	return errors.Join(
		rtnl.Explain(err, "detach programs from %s", device),
		removeUnusedCompanion())
}
