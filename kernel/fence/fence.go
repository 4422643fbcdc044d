// Package fence stops GRE in clear: eBPF programs at the devices of the underlay drop and count
// what leaves from or arrives at the local addresses of protected tunnels without IPsec.
package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tc"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// priority puts the fence's filters before those of other programs, because the fence does not see
// packets that another filter takes away. It is not 1, the number that other programs use most
// often.
const priority = 3

const (
	maxLocals  = 256 // the most local addresses, as in bpf/fence.c
	maxDevices = 256 // the most devices that get the filters
)

// The fence's filters, without a device and a program.
var (
	inFilter = tc.Filter{
		At:       tc.Ingress,
		Name:     "cygnet_fence_in",
		Handle:   tc.Handle,
		Priority: priority,
	}
	outFilter = tc.Filter{
		At:       tc.Egress,
		Name:     "cygnet_fence_out",
		Handle:   tc.Handle,
		Priority: priority,
	}
)

// Fence drops and counts GRE in clear from and to the local addresses of protected tunnels. Its
// filters are on the devices that lead to peers. They work whatever the IPsec policies and the
// settings of the device are: they are the last to see an outgoing packet, and the first to see an
// incoming one. They stay when the daemon stops.
//
// The devices that lead to peers are all devices with an address, and point-to-point devices
// without one. Loopback, VRFs, the ports of bridges and bonds, and the tunnels themselves do not
// count. A device that comes later gets the filters within milliseconds after its address.
//
// GRE of version 1 passes. It is PPTP's, of hosts whose address is translated to this router's. No
// tunnel of the daemon's sends or takes it.
//
// If the kernel hands whole packets to a device for ESP (packet offload), they are in clear at that
// device. The fence therefore leaves such a device out.
type Fence struct {
	log  *slog.Logger
	wake chan struct{} // receives a value when Guard was called

	mu      sync.Mutex    // guards the fields below
	objects *fenceObjects // nil: the kernel has not taken the programs
	locals  []netip.Addr  // see Guard
	offload bool          // see Guard
	on      []device      // devices that had at least one of the filters at the last comparison
	swept   bool          // filters that an earlier run left on other devices are gone
	status  Status
	failed  string // the error of the last comparison; it is logged only when it changes
}

// Status says on which devices the fence is.
type Status struct {
	Devices   []string // devices that have both filters
	Missing   []string // devices that should have both filters, and do not
	Offloaded []string // devices that are left out because they do ESP by themselves
	Error     string   // why one or all devices do not have the filters
	Ahead     []string // other programs' filters that run before the fence's
}

// New returns a fence that is on no device yet.
func New(log *slog.Logger) *Fence {
	return &Fence{log: log, wake: make(chan struct{}, 1)}
}

// Guard sets the local addresses that the fence protects. Without any address, Run removes the
// fence. offload says that charon may hand SAs to devices that do ESP by themselves.
func (f *Fence) Guard(locals []netip.Addr, offload bool) {
	f.mu.Lock()
	f.offload = offload
	f.locals = slices.DeleteFunc(slices.Clone(locals),
		func(a netip.Addr) bool { return !a.IsValid() })
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run keeps the filters on the devices until ctx ends, and then leaves them there. It changes
// nothing before the first call of Guard.
func (f *Fence) Run(ctx context.Context) error {
	select {
	case <-f.wake:
	case <-ctx.Done():
		return nil
	}
	notices, err := rtnl.Listen(ctx, f.log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{
			unix.RTNLGRP_TC, unix.RTNLGRP_LINK,
			unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		},
	})
	if err != nil {
		return err
	}
	tc.Keep(ctx, notices, f.touched, f.wake, func(string) error { return f.reconcile() })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		return nil
	}
	return f.objects.Close()
}

// touched reports whether a notification may mean that a device needs the filters or has lost them.
func (f *Fence) touched(n rtnl.Notice) bool {
	f.mu.Lock()
	var indexes []int
	for _, d := range f.on {
		indexes = append(indexes, d.index)
	}
	f.mu.Unlock()
	if tc.Touched(n, indexes...) {
		return true
	}
	return slices.ContainsFunc(n.Messages, func(m netlink.Message) bool {
		switch m.Header.Type {
		case unix.RTM_NEWADDR, unix.RTM_NEWLINK:
			return true
		}
		return false
	})
}

// reconcile compares the devices with what is wanted, corrects the differences, and notes and logs
// what fails.
func (f *Fence) reconcile() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.ensure()
	f.status.Error = ""
	if err != nil {
		reasons := strings.Split(err.Error(), "\n")
		slices.Sort(reasons) // for Compact: both filters of a device may fail with the same error
		f.status.Error = strings.Join(slices.Compact(reasons), "; ")
	}
	if f.status.Error != f.failed && err != nil {
		f.log.Warn("clear GRE is not stopped on every device that leads to peers", "error", err)
	}
	f.failed = f.status.Error
	return err
}

// ensure is reconcile without the log. mu is held.
func (f *Fence) ensure() error {
	if len(f.locals) == 0 {
		if f.swept && len(f.on) == 0 {
			return nil
		}
		f.on, f.status = nil, Status{}
		err := Remove()
		f.swept = err == nil
		return err
	}
	if err := f.load(); err != nil {
		return err
	}
	if err := f.fill(); err != nil {
		return err
	}
	devices, offloaded, err := devicesFor(f.locals, f.offload)
	if err != nil {
		return err
	}
	var tooMany error
	if more := len(devices) - maxDevices; more > 0 {
		tooMany = fmt.Errorf("%d of %d devices that may lead to peers are left out, from %s on: at most %d get filters",
			more, len(devices), devices[maxDevices].name, maxDevices)
		devices = devices[:maxDevices]
	}
	report, failed := tc.Ensure(f.filters(devices))
	failed = errors.Join(failed, f.withdraw(devices), tooMany)
	f.note(devices, report)
	f.status.Offloaded = offloaded
	return failed
}

// withdraw removes the filters from devices that had them at the last comparison and do not need
// them any more, and once also those that an earlier run left. mu is held.
func (f *Fence) withdraw(needed []device) error {
	var left []device
	for _, d := range f.on {
		if !slices.Contains(needed, d) {
			left = append(left, d)
		}
	}
	failed := tc.Remove(f.filters(left))
	if !f.swept {
		err := removeBut(needed)
		f.swept = err == nil
		failed = errors.Join(failed, err)
	}
	return failed
}

// note takes over from a report which of the needed devices have the filters. mu is held.
func (f *Fence) note(needed []device, report tc.Report) {
	f.on, f.status.Devices, f.status.Missing = nil, nil, nil
	for _, d := range needed {
		held := 0
		for _, h := range report.Held {
			if h.Device == d.name && h.Index == d.index {
				held++
			}
		}
		if held == 2 {
			f.status.Devices = append(f.status.Devices, d.name)
		} else {
			f.status.Missing = append(f.status.Missing, d.name)
		}
		if held > 0 {
			f.on = append(f.on, d)
		}
	}
	f.status.Ahead = report.Ahead
	for _, p := range report.Placed {
		f.log.Debug("clear GRE is stopped at a device", "filter", p.String())
	}
}

// filters returns the two filters of each device.
func (f *Fence) filters(devices []device) []tc.Filter {
	var all []tc.Filter
	for _, d := range devices {
		in, out := inFilter.On(d.name, d.index), outFilter.On(d.name, d.index)
		if f.objects != nil {
			in.Program, out.Program = f.objects.CygnetFenceIn, f.objects.CygnetFenceOut
		}
		all = append(all, in, out)
	}
	return all
}

// load loads the programs into the kernel, unless that has been done.
func (f *Fence) load() error {
	if f.objects != nil {
		return nil
	}
	// Before Linux 5.11 maps count against this limit. If the limit cannot be raised, and that
	// matters, loading returns an error.
	_ = rlimit.RemoveMemlock()
	objects := new(fenceObjects)
	if err := loadFenceObjects(objects, nil); err != nil {
		return tc.Explain(fmt.Errorf("load the programs that stop clear GRE: %w", err), "the underlay")
	}
	f.objects = objects
	return nil
}

// fill gives the programs' table the wanted local addresses and no others. Addresses that stay keep
// their counts.
func (f *Fence) fill() error {
	if len(f.locals) > maxLocals {
		return fmt.Errorf("clear GRE is stopped for at most %d local addresses, not for %d",
			maxLocals, len(f.locals))
	}
	for _, local := range f.locals {
		err := f.objects.Fenced.Update(local.As16(), fenceDropped{}, ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("stop clear GRE of %s: %w", local, err)
		}
	}
	var gone [][16]byte
	var local [16]byte
	var count fenceDropped
	for all := f.objects.Fenced.Iterate(); all.Next(&local, &count); {
		if !slices.Contains(f.locals, netip.AddrFrom16(local).Unmap()) {
			gone = append(gone, local)
		}
	}
	for _, local := range gone {
		if err := f.objects.Fenced.Delete(local); err != nil &&
			!errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("no longer stop clear GRE of %s: %w",
				netip.AddrFrom16(local).Unmap(), err)
		}
	}
	return nil
}

// Status returns where the fence is.
func (f *Fence) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Devices, s.Missing = slices.Clone(s.Devices), slices.Clone(s.Missing)
	s.Offloaded, s.Ahead = slices.Clone(s.Offloaded), slices.Clone(s.Ahead)
	return s
}

// Remove removes the fence's filters from all devices.
func Remove() error { return removeBut(nil) }

// removeBut removes the fence's filters from all devices except those in stay.
func removeBut(stay []device) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	links, err := r.Links()
	r.Close()
	if err != nil {
		return err
	}
	var all []tc.Filter
	for index, d := range links {
		if !slices.Contains(stay, device{d.Name, index}) {
			all = append(all, inFilter.On(d.Name, index), outFilter.On(d.Name, index))
		}
	}
	return rtnl.Explain(tc.Remove(all), "take away the filters that stop clear GRE")
}
