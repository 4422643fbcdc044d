package kernel

import (
	"errors"
	"fmt"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Priority and handle of our filters: NHRP's protocol number, which others will hardly pick. Together with the name they are what
// finds the filters of an earlier run.
const (
	filterPriority = 0x2001
	filterHandle   = 0x2001
)

var errPlaceTaken = errors.New("another program's filter is in the place of ours")

// hook is one end of the clsact qdisc and the name of our filter there.
type hook struct {
	parent uint32
	end    string
	filter string
}

var (
	ingressHook = hook{vnl.HANDLE_MIN_INGRESS, "ingress", "cygnet_ingress"}
	egressHook  = hook{vnl.HANDLE_MIN_EGRESS, "egress", "cygnet_egress"}

	companionHook = hook{vnl.HANDLE_MIN_INGRESS, "ingress", "cygnet_unclaimed"}
)

// attachFilters puts the programs on the device, each in place of our earlier one in a single step.
func attachFilters(index int, name string, ingress, egress int) error {
	return withDevice(name, func(h *vnl.Handle, device vnl.Link) error {
		if device.Attrs().Index != index {
			return fmt.Errorf("the device has index %d, not %d: it was replaced in the meantime", device.Attrs().Index, index)
		}
		if device.Type() != "gre" {
			return fmt.Errorf("the device is %s: only gre devices show the outer address", device.Type())
		}
		if err := ensureClsact(h, device); err != nil {
			return err
		}
		if err := attachFilter(h, device, ingressHook, ingress); err != nil {
			return err
		}
		return attachFilter(h, device, egressHook, egress)
	})
}

// Detach removes the programs that AttachDataPath put on the device. Its clsact qdisc stays: nobody knows who else is about to use it.
// The companion device goes with the last device that has our programs. A device that is gone is no error.
func Detach(device string) error {
	err := withDevice(device, func(h *vnl.Handle, link vnl.Link) error {
		return errors.Join(detachFilter(h, link, ingressHook), detachFilter(h, link, egressHook))
	})
	if errors.As(err, new(vnl.LinkNotFoundError)) {
		err = nil
	}
	return errors.Join(explain(err, "detach programs from %s", device), removeUnusedCompanion())
}

func withDevice(name string, f func(*vnl.Handle, vnl.Link) error) error {
	h, err := vnl.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	device, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the device: %w", err)
	}
	return f(h, device)
}

// ensureClsact adds the qdisc that filters hang on, unless it is there: replacing it would throw away the filters of others.
func ensureClsact(h *vnl.Handle, device vnl.Link) error {
	found, err := hasClsact(h, device)
	if found || err != nil {
		return err
	}
	err = h.QdiscAdd(&vnl.Clsact{QdiscAttrs: vnl.QdiscAttrs{
		LinkIndex: device.Attrs().Index,
		Handle:    vnl.MakeHandle(0xffff, 0),
		Parent:    vnl.HANDLE_CLSACT,
	}})
	if errors.Is(err, unix.EEXIST) {
		return nil // somebody was faster
	}
	if err != nil {
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	return nil
}

func hasClsact(h *vnl.Handle, device vnl.Link) (bool, error) {
	qdiscs, err := h.QdiscList(device)
	if err != nil {
		return false, fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		switch q.Type() {
		case "clsact":
			return true, nil
		case "ingress":
			return false, errors.New("the device has an ingress qdisc, which excludes clsact: remove it (tc qdisc del dev DEVICE ingress) and put its filters on clsact")
		}
	}
	return false, nil
}

func attachFilter(h *vnl.Handle, device vnl.Link, at hook, program int) error {
	if _, err := ourFilter(h, device, at); err != nil {
		return err
	}
	err := h.FilterReplace(&vnl.BpfFilter{
		FilterAttrs: vnl.FilterAttrs{
			LinkIndex: device.Attrs().Index,
			Parent:    at.parent,
			Handle:    filterHandle,
			Priority:  filterPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           program,
		Name:         at.filter,
		DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attach the program at %s: %w", at.end, err)
	}
	return nil
}

// ourFilter returns the filter that an earlier run left at the hook, nil if there is none, and an error if somebody else's is in its place.
func ourFilter(h *vnl.Handle, device vnl.Link, at hook) (vnl.Filter, error) {
	filters, err := h.FilterList(device, at.parent)
	if err != nil {
		return nil, fmt.Errorf("list filters at %s: %w", at.end, err)
	}
	for _, f := range filters {
		if f.Attrs().Priority != filterPriority {
			continue
		}
		program, isBPF := f.(*vnl.BpfFilter)
		if isBPF && program.Handle != filterHandle {
			continue
		}
		if isBPF && program.Name == at.filter {
			return f, nil
		}
		return nil, fmt.Errorf("%w: priority %d at %s; give it another priority", errPlaceTaken, filterPriority, at.end)
	}
	return nil, nil
}

func detachFilter(h *vnl.Handle, device vnl.Link, at hook) error {
	filter, err := ourFilter(h, device, at)
	if errors.Is(err, errPlaceTaken) {
		return nil
	}
	if filter == nil || err != nil {
		return err
	}
	if err := h.FilterDel(filter); err != nil {
		return fmt.Errorf("remove the program at %s: %w", at.end, err)
	}
	return nil
}
