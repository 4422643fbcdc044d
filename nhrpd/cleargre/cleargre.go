// Package cleargre stops and finds GRE that passes, or would pass, without IPsec. It has the fence
// guard the addresses that the protected tunnels send from. It looks for GRE that left in clear
// (alarm), and for what on this host lets GRE pass so. Apart from the fence, it only informs: the
// guard and the fence are what stops clear GRE.
package cleargre

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/fence"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wait"
)

// Interval is how often a Watch looks for GRE that left in clear, with few SAs.
const Interval = 10 * time.Second

// slowInterval is the same with many SAs, since reading their states takes noticeable time.
const slowInterval = 30 * time.Second

// Fence stops clear GRE on the devices that lead to peers; see fence.Fence.
type Fence interface {
	Run(ctx context.Context) error
	Guard(locals []netip.Addr, offload bool)
	Status() fence.Status
	Dropped() (sums, pairs []fence.Crossing, err error)
}

// DeletedStates reports to which addresses ESP states were deleted; see xfrm.DeletedStates.
type DeletedStates interface {
	Drain() (to map[netip.Addr]bool, all bool, err error)
	Close() error
}

// Platform is what a Watch uses of the kernel; see the functions of these names in kernel and xfrm.
type Platform struct {
	Fence         Fence
	ClearCauses   func(local netip.Addr, devices []string) ([]string, error)
	UnsentOf      func(tunnels ...string) (datapath.Unsent, error)
	DeletedStates func() (DeletedStates, error)
	ESPStates     func(local netip.Addr) ([]xfrm.ESPState, error)
	FindLeftovers func() (tunnel.Leftovers, error)
	EnsureFront   func(local netip.Addr, wanted bool) (bool, error)
}

// Tunnel is a protected tunnel that has a local address.
type Tunnel struct {
	Name    string
	Locals  []netip.Addr  // one, or one of each IP version
	Path    datapath.Path // nil if no program counts what the tunnel sends
	Offload bool          // network devices may do the ESP of its SAs
}

// Watch is what the daemon knows of clear GRE. Its methods may be called from any goroutine.
type Watch struct {
	log      *slog.Logger
	platform Platform
	// tunnels returns the protected tunnels of this moment; none once the context has ended.
	tunnels func(context.Context) []Tunnel
	changed chan struct{} // holds a value if the tunnels' local addresses may have changed

	mu      sync.Mutex // guards what follows
	fenced  []netip.Addr
	records map[string]*record // by interface
}

// NewWatch returns a Watch that knows of no clear GRE. tunnels returns the protected tunnels that
// have a local address.
func NewWatch(p Platform, tunnels func(context.Context) []Tunnel, log *slog.Logger) *Watch {
	return &Watch{
		log:      log,
		platform: p,
		tunnels:  tunnels,
		changed:  make(chan struct{}, 1),
		records:  make(map[string]*record),
	}
}

// Changed has the fence follow the tunnels' local addresses, which may have changed.
func (w *Watch) Changed() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// RunFence runs the fence. If the fence cannot run at all, RunFence logs why, and the daemon goes
// on with the IPsec policies alone.
func (w *Watch) RunFence(ctx context.Context) error {
	if err := w.platform.Fence.Run(ctx); err != nil && ctx.Err() == nil {
		w.log.Error("clear GRE is stopped by IPsec policies alone", "error", err)
	}
	return nil
}

// KeepFence has the fence guard the addresses that the protected tunnels send from. An address
// stays fenced while its guard stays. A tunnel that existed before the daemon keeps both when it
// leaves.
func (w *Watch) KeepFence(ctx context.Context) error {
	var fenced []netip.Addr
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
		}
		var locals []netip.Addr
		offload := false
		for _, t := range w.tunnels(ctx) {
			locals = append(locals, t.Locals...)
			offload = offload || t.Offload
		}
		if found, err := w.platform.FindLeftovers(); err == nil {
			for _, local := range fenced {
				if slices.Contains(found.Guarded, local) {
					locals = append(locals, local)
				}
			}
		}
		slices.SortFunc(locals, netip.Addr.Compare)
		fenced = slices.Compact(locals)
		w.mu.Lock()
		w.fenced = fenced
		w.mu.Unlock()
		w.platform.Fence.Guard(fenced, offload)
	}
}

// RemoveFronts removes the front guards when the daemon stops: they would cut off SAs that another
// version of the daemon may make. The guard behind them and the fence stay.
func (w *Watch) RemoveFronts() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, local := range w.fenced {
		if _, err := w.platform.EnsureFront(local, false); err != nil {
			w.log.Warn("the front guard stays until it ends by itself",
				"local", local, "error", err)
		}
	}
}

// counter is the alarm of a local address. It starts anew when the address has other tunnels or a
// tunnel has new programs.
type counter struct {
	paths []datapath.Path
	alarm alarm
	gone  goneStates
}

// Run looks for GRE that left in clear, and for what lets GRE leave so, until the context ends.
// manySAs reports whether there are so many SAs that reading their states takes noticeable time.
func (w *Watch) Run(ctx context.Context, manySAs func() bool) error {
	deleted, err := w.platform.DeletedStates()
	if err != nil {
		w.log.Error("cannot tell whether GRE leaves in clear", "error", err)
		return nil
	}
	defer deleted.Close()
	counters := make(map[netip.Addr]*counter)
	interval := Interval
	for wait.For(ctx, interval) {
		interval = Interval
		if manySAs() {
			interval = slowInterval
		}
		w.poll(w.tunnels(ctx), counters, deleted)
	}
	return nil
}

// poll checks each of the tunnels once.
func (w *Watch) poll(
	tunnels []Tunnel, counters map[netip.Addr]*counter, deleted DeletedStates,
) {
	devices := w.platform.Fence.Status()
	_, pairs, err := w.platform.Fence.Dropped()
	if err != nil {
		w.log.Warn("cannot tell what clear GRE was stopped", "error", err)
	}
	names := make(map[string]bool)
	for _, t := range tunnels {
		names[t.Name] = true
		w.noteCauses(t.Name, t.Locals, devices)
		w.noteStopped(t.Name, t.Locals, pairs)
	}
	w.countSent(tunnels, counters, deleted)
	w.expire(time.Now(), names)
}

// countSent compares, for each local address, what its tunnels sent with what IPsec took. It leaves
// out an address with a tunnel whose packets no program counts.
func (w *Watch) countSent(
	tunnels []Tunnel, counters map[netip.Addr]*counter, deleted DeletedStates,
) {
	sharing := make(map[netip.Addr][]Tunnel)
	for _, t := range tunnels {
		for _, local := range t.Locals {
			sharing[local] = append(sharing[local], t)
		}
	}
	maps.DeleteFunc(sharing, func(_ netip.Addr, all []Tunnel) bool {
		return slices.ContainsFunc(all, func(t Tunnel) bool { return t.Path == nil })
	})
	maps.DeleteFunc(counters, func(local netip.Addr, _ *counter) bool {
		return sharing[local] == nil
	})
	for local, all := range sharing {
		slices.SortFunc(all, func(a, b Tunnel) int { return strings.Compare(a.Name, b.Name) })
		var paths []datapath.Path
		for _, t := range all {
			paths = append(paths, t.Path)
		}
		if c := counters[local]; c == nil || !slices.Equal(c.paths, paths) {
			counters[local] = &counter{paths: paths}
		}
	}
	for local, all := range sharing {
		if err := w.compareSent(local, all, counters, deleted); err != nil {
			w.log.Debug("cannot compare what tunnels sent with what IPsec took",
				"local", local, "error", err)
			delete(counters, local)
		}
	}
}

// noteStopped records what the fence stopped of the tunnel's GRE on its way out.
func (w *Watch) noteStopped(iface string, locals []netip.Addr, pairs []fence.Crossing) {
	for _, p := range pairs {
		if slices.Contains(locals, p.Local) && p.Out > 0 {
			w.note(iface, api.ClearLeak{
				Peer:    p.Remote,
				Packets: p.Out,
				Stopped: true,
				Device:  p.OutDevice,
				Last:    p.OutAt,
			})
		}
	}
}

// noteCauses looks for what lets GRE of the tunnel pass in clear. It logs each new cause once.
func (w *Watch) noteCauses(iface string, locals []netip.Addr, fence fence.Status) {
	var causes []string
	for _, local := range locals {
		more, err := w.platform.ClearCauses(local,
			slices.Concat(fence.Devices, fence.Missing, fence.Offloaded))
		if err != nil {
			w.log.Warn("cannot tell whether anything lets GRE pass in clear",
				"interface", iface, "error", err)
			return
		}
		for _, cause := range more {
			if !slices.Contains(causes, cause) {
				causes = append(causes, cause)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.recordOf(iface)
	for _, cause := range causes {
		if !slices.Contains(r.causes, cause) {
			w.log.Warn("something on this host lets GRE pass without IPsec",
				"interface", iface, "cause", cause)
		}
	}
	r.causes = causes
}

// compareSent compares what the tunnels on an address sent with what the ESP states took. The type
// alarm says why it has to read the counters in this order.
func (w *Watch) compareSent(
	local netip.Addr, tunnels []Tunnel, counters map[netip.Addr]*counter, deleted DeletedStates,
) (err error) {
	var s sample
	if s.sent, err = sentBy(local, tunnels); err != nil {
		return err
	}
	var names []string
	for _, t := range tunnels {
		drops, err := t.Path.Stats()
		if err != nil {
			return err
		}
		s.own += drops.NotAdmitted + drops.WrongSource + drops.Looped +
			drops.NoMark + drops.NoWay + drops.NHRPFlood + drops.NoLink
		s.offload = s.offload || t.Offload
		names = append(names, t.Name)
	}
	if s.unsent, err = w.platform.UnsentOf(names...); err != nil {
		return err
	}
	if s.states, err = w.platform.ESPStates(local); err != nil {
		return err
	}
	to, all, err := deleted.Drain()
	if err != nil {
		return err
	}
	// Drain reports a deleted state only once, and its address may be a peer of any tunnel.
	for _, c := range counters {
		c.gone.add(to, all)
	}
	if s.after, err = sentBy(local, tunnels); err != nil {
		return err
	}
	c := counters[local]
	s.gone, c.gone = c.gone, goneStates{}
	now := time.Now()
	for _, l := range c.alarm.compare(local, s) {
		for _, name := range names { // it is not known which of them sent the packets
			w.note(name, api.ClearLeak{Peer: l.peer, Packets: l.packets, Last: now})
		}
	}
	return nil
}

// sentBy returns what tunnels sent to each peer.
func sentBy(local netip.Addr, tunnels []Tunnel) ([]sent, error) {
	var all []sent
	for _, t := range tunnels {
		list, err := t.Path.Sent()
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			if p.NBMA.Is4() == local.Is4() {
				all = append(all, sent{t.Name, p})
			}
		}
	}
	return all, nil
}

// AddStatus adds to a status what the daemon knows of clear GRE.
func (w *Watch) AddStatus(s *api.Status) {
	fence := w.platform.Fence.Status()
	sums, pairs, err := w.platform.Fence.Dropped()
	if err != nil {
		fence.Error = fmt.Sprintf("cannot tell what clear GRE was stopped: %v", err)
	}
	for i := range s.Interfaces {
		if ifc := &s.Interfaces[i]; ifc.Protected && !ifc.Left && ifc.NBMA.IsValid() {
			ifc.ClearGRE = w.status(ifc.NBMAs(), ifc.Name, fence, sums, pairs)
		}
	}
}

// status returns what the API shows of an interface's clear GRE: how it is stopped, and what was
// stopped or left.
func (w *Watch) status(
	locals []netip.Addr, iface string, fence fence.Status, sums, pairs []fence.Crossing,
) *api.ClearGRE {
	out := &api.ClearGRE{
		Devices:   copyOf(fence.Devices),
		Missing:   copyOf(fence.Missing),
		Offloaded: copyOf(fence.Offloaded),
		Ahead:     copyOf(fence.Ahead),
		Error:     fence.Error,
	}
	for _, s := range sums {
		if slices.Contains(locals, s.Local) {
			out.StoppedIn, out.StoppedOut = out.StoppedIn+s.In, out.StoppedOut+s.Out
		}
	}
	if w.behind(iface, locals, pairs) {
		w.noteCauses(iface, locals, fence)
		w.noteStopped(iface, locals, pairs)
	}
	out.Causes, out.Leaks = w.leaks(iface)
	return out
}

// copyOf returns a copy of a list. The copy is never nil, so JSON shows an empty list and not null.
func copyOf(list []string) []string { return append([]string{}, list...) }
