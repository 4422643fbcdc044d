package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The fence's filters run before those of others: what another filter takes away, the fence does
// not see. The number is not 1, which is what others have most often.
const fencePriority = 3

const (
	fenceLocals  = 256 // as in bpf/fence.c
	fenceDevices = 256 // the most devices that get the filters
)

var (
	fenceIn  = filter{at: atIngress, name: "cygnet_fence_in", handle: filterHandle, priority: fencePriority}
	fenceOut = filter{at: atEgress, name: "cygnet_fence_out", handle: filterHandle, priority: fencePriority}
)

// Fence drops and counts clear GRE from and to the local addresses of protected tunnels on the
// devices that lead to peers, whatever the IPsec policies and the device's settings are. On the way
// out it is the last to see a packet, on the way in the first. It stays when the daemon stops.
//
// Devices that lead to peers are all with an IPv4 address, and point-to-point devices without one,
// except for loopback, VRFs, the ports of bridges and bonds, and the tunnels themselves. A device
// that comes later gets the filters within milliseconds of its address.
//
// GRE of version 1 passes: it is PPTP's, of hosts whose address is translated to ours, and no
// tunnel of ours sends or takes it.
//
// A device to which the kernel hands whole packets for ESP (packet offload) shows them in clear, so
// the fence leaves it out.
type Fence struct {
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex // guards what follows
	objects *fenceObjects
	locals  []netip.Addr
	offload bool
	on      []fencedDevice // that have the filters, as far as we know
	swept   bool           // filters that an earlier run left elsewhere are gone
	status  FenceStatus
	failed  string // what was logged last
}

type fencedDevice struct {
	name  string
	index int
}

// FenceStatus says where the fence is.
type FenceStatus struct {
	Devices   []string // that have both filters
	Missing   []string // that are to have them
	Offloaded []string // left out: the device does ESP by itself
	Error     string   // why a device, or all of them, lack the filters
	Ahead     []string // filters of others that run before the fence's
}

// Crossing is what the fence dropped between a local address and another.
type Crossing struct {
	Local, Remote netip.Addr
	Out, In       uint64 // packets
	OutAt, InAt   time.Time
	OutDevice     string // that the last packet was to leave by
	InDevice      string
}

// NewFence returns a fence that is nowhere yet.
func NewFence(log *slog.Logger) *Fence {
	return &Fence{log: log, wake: make(chan struct{}, 1)}
}

// Guard says which local addresses the fence is for; without any it is taken away. With offload the
// SAs may be given to devices that do ESP by themselves.
func (f *Fence) Guard(locals []netip.Addr, offload bool) {
	f.mu.Lock()
	f.locals, f.offload = slices.DeleteFunc(slices.Clone(locals), netip.Addr.Is6), offload
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run keeps the filters on the devices until ctx ends, which leaves them there. Before the first
// call of Guard it changes nothing.
func (f *Fence) Run(ctx context.Context) error {
	select {
	case <-f.wake:
	case <-ctx.Done():
		return nil
	}
	notices, err := rtnl.Listen(ctx, f.log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{unix.RTNLGRP_TC, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR},
	})
	if err != nil {
		return err
	}
	keep(ctx, notices, f.touched, f.wake, func(string) error { return f.look() })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		return nil
	}
	return f.objects.Close()
}

// touched reports whether a notification may mean that a device needs the filters, or lost them.
func (f *Fence) touched(n rtnl.Notice) bool {
	f.mu.Lock()
	var indexes []int
	for _, d := range f.on {
		indexes = append(indexes, d.index)
	}
	f.mu.Unlock()
	if filtersTouched(n, indexes...) {
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

// look compares what the fence is to be with what there is, and puts right what differs.
func (f *Fence) look() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.ensure()
	f.status.Error = ""
	if err != nil {
		reasons := strings.Split(err.Error(), "\n")
		slices.Sort(reasons) // both ends of a device have the same
		f.status.Error = strings.Join(slices.Compact(reasons), "; ")
	}
	if f.status.Error != f.failed && err != nil {
		f.log.Warn("clear GRE is not stopped on every device that leads to peers", "error", err)
	}
	f.failed = f.status.Error
	return err
}

func (f *Fence) ensure() error {
	if len(f.locals) == 0 {
		if f.swept && len(f.on) == 0 {
			return nil
		}
		f.on, f.status = nil, FenceStatus{}
		err := RemoveFence()
		f.swept = err == nil
		return err
	}
	if err := f.load(); err != nil {
		return err
	}
	if err := f.fill(); err != nil {
		return err
	}
	devices, offloaded, err := fenceDevicesOf(f.locals, f.offload)
	if err != nil {
		return err
	}
	before := f.on
	var tooMany error
	if more := len(devices) - fenceDevices; more > 0 {
		tooMany = fmt.Errorf("%d of %d devices that may lead to peers are left out, from %s on: at most %d get filters",
			more, len(devices), devices[fenceDevices].name, fenceDevices)
		devices = devices[:fenceDevices]
	}
	report, failed := ensureFilters(f.filters(devices))
	var left []fencedDevice
	for _, d := range before {
		if !slices.Contains(devices, d) {
			left = append(left, d)
		}
	}
	failed = errors.Join(failed, removeFilters(f.filters(left)))
	if !f.swept {
		err := removeFenceBut(devices)
		f.swept = err == nil
		failed = errors.Join(failed, err)
	}
	f.on, f.status.Devices, f.status.Missing = nil, nil, nil
	for _, d := range devices {
		held := 0
		for _, h := range report.held {
			if h.device == d.name && h.index == d.index {
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
	failed = errors.Join(failed, tooMany)
	f.status.Offloaded, f.status.Ahead = offloaded, report.ahead
	for _, p := range report.placed {
		f.log.Debug("clear GRE is stopped at a device", "filter", p.String())
	}
	return failed
}

// filters are the two of each device.
func (f *Fence) filters(devices []fencedDevice) []filter {
	var all []filter
	for _, d := range devices {
		in, out := fenceIn.on(d.name, d.index), fenceOut.on(d.name, d.index)
		if f.objects != nil {
			in.program, out.program = f.objects.CygnetFenceIn, f.objects.CygnetFenceOut
		}
		all = append(all, in, out)
	}
	return all
}

// load hands the programs to the kernel, once.
func (f *Fence) load() error {
	if f.objects != nil {
		return nil
	}
	_ = rlimit.RemoveMemlock() // before Linux 5.11 maps count against it; loading says if it mattered
	objects := new(fenceObjects)
	if err := loadFenceObjects(objects, nil); err != nil {
		return explainEBPF(fmt.Errorf("load the programs that stop clear GRE: %w", err), "the underlay")
	}
	f.objects = objects
	return nil
}

// fill makes the programs' table of local addresses be the wanted one. The counts of those that
// stay are kept.
func (f *Fence) fill() error {
	if len(f.locals) > fenceLocals {
		return fmt.Errorf("clear GRE is stopped for at most %d local addresses, not for %d", fenceLocals, len(f.locals))
	}
	for _, local := range f.locals {
		err := f.objects.Fenced.Update(local.As4(), fenceDropped{}, ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("stop clear GRE of %s: %w", local, err)
		}
	}
	var gone [][4]byte
	var local [4]byte
	var count fenceDropped
	for all := f.objects.Fenced.Iterate(); all.Next(&local, &count); {
		if !slices.Contains(f.locals, netip.AddrFrom4(local)) {
			gone = append(gone, local)
		}
	}
	for _, local := range gone {
		if err := f.objects.Fenced.Delete(local); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("no longer stop clear GRE of %s: %w", netip.AddrFrom4(local), err)
		}
	}
	return nil
}

// fenceDevicesOf returns the devices that are to have the filters, and those that have none because
// they do ESP by themselves.
func fenceDevicesOf(locals []netip.Addr, offload bool) (devices []fencedDevice, offloaded []string, err error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	messages, err := r.Dump(unix.RTM_GETLINK, make([]byte, rtnl.LinkHeaderLen))
	if err != nil {
		return nil, nil, fmt.Errorf("read the links: %w", err)
	}
	numbered, err := dumpNumbered(r)
	if err != nil {
		return nil, nil, err
	}
	var byDevice map[int]bool
	if offload {
		if byDevice, err = xfrm.PacketOffload(locals); err != nil {
			return nil, nil, err
		}
	}
	links := make(map[int]*rtnl.Link)
	pointToPoint := make(map[int]bool)
	loopback := make(map[int]bool)
	for _, m := range messages {
		l, ok := rtnl.ParseLink(m)
		if !ok {
			continue
		}
		flags := binary.NativeEndian.Uint32(m.Data[8:])
		links[l.Index] = l
		pointToPoint[l.Index] = flags&unix.IFF_POINTOPOINT != 0
		loopback[l.Index] = flags&unix.IFF_LOOPBACK != 0
	}
	for index, l := range links {
		switch {
		case loopback[index], l.Kind == "vrf", !numbered[index] && !pointToPoint[index]:
			continue
		case l.Master != 0 && (links[l.Master] == nil || links[l.Master].Kind != "vrf"):
			continue
		case l.IsGRE() && (l.External || slices.Contains(locals, l.GRE.Local)):
			continue
		case byDevice[index]:
			offloaded = append(offloaded, l.Name)
			continue
		}
		devices = append(devices, fencedDevice{l.Name, index})
	}
	slices.SortFunc(devices, func(a, b fencedDevice) int { return a.index - b.index })
	slices.Sort(offloaded)
	return devices, offloaded, nil
}

// dumpNumbered returns the indexes of the links that have an IPv4 address.
func dumpNumbered(r *rtnl.Conn) (map[int]bool, error) {
	head := make([]byte, rtnl.AddressHeaderLen)
	head[0] = unix.AF_INET
	messages, err := r.Dump(unix.RTM_GETADDR, head)
	if err != nil {
		return nil, fmt.Errorf("read the addresses: %w", err)
	}
	numbered := make(map[int]bool)
	for _, m := range messages {
		if a, ok := rtnl.ParseAddress(m); ok && a.Prefix.Addr().Is4() {
			numbered[a.Index] = true
		}
	}
	return numbered, nil
}

// Status returns where the fence is.
func (f *Fence) Status() FenceStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Devices, s.Missing = slices.Clone(s.Devices), slices.Clone(s.Missing)
	s.Offloaded, s.Ahead = slices.Clone(s.Offloaded), slices.Clone(s.Ahead)
	return s
}

// Dropped returns what was dropped for each local address since the daemon's start, and of what
// was to leave that for each remote address, as far as the kernel remembers it. A sum has no
// Remote.
func (f *Fence) Dropped() (sums, pairs []Crossing, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		return nil, nil, nil
	}
	clock, err := readClock()
	if err != nil {
		return nil, nil, err
	}
	r, err := rtnl.Open()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	names, err := r.Links()
	if err != nil {
		return nil, nil, err
	}
	crossing := func(d *fenceDropped) Crossing {
		return Crossing{
			Out: d.Out, OutAt: clock.at(d.OutAt), OutDevice: names.Name(int(d.OutDevice)),
			In: d.In, InAt: clock.at(d.InAt), InDevice: names.Name(int(d.InDevice)),
		}
	}
	var d fenceDropped
	var local [4]byte
	all := f.objects.Fenced.Iterate()
	for all.Next(&local, &d) {
		c := crossing(&d)
		c.Local = netip.AddrFrom4(local)
		sums = append(sums, c)
	}
	if err := all.Err(); err != nil {
		return nil, nil, fmt.Errorf("read what clear GRE was stopped: %w", err)
	}
	var pair [8]byte
	all = f.objects.Pairs.Iterate()
	for all.Next(&pair, &d) {
		c := crossing(&d)
		c.Local, c.Remote = netip.AddrFrom4([4]byte(pair[:4])), netip.AddrFrom4([4]byte(pair[4:]))
		pairs = append(pairs, c)
	}
	// Entries that come meanwhile may end the walk through a table that is full.
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, nil, fmt.Errorf("read what clear GRE was stopped: %w", err)
	}
	return sums, pairs, nil
}

// RemoveFence takes the filters off all devices.
func RemoveFence() error { return removeFenceBut(nil) }

// removeFenceBut takes the filters off all devices but those.
func removeFenceBut(stay []fencedDevice) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	links, err := r.Links()
	r.Close()
	if err != nil {
		return err
	}
	var all []filter
	for index, d := range links {
		if !slices.Contains(stay, fencedDevice{d.Name, index}) {
			all = append(all, fenceIn.on(d.Name, index), fenceOut.on(d.Name, index))
		}
	}
	return rtnl.Explain(removeFilters(all), "take away the filters that stop clear GRE")
}
