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
	UnsentOf      func(tunnel string) (datapath.Unsent, error)
	DeletedStates func() (DeletedStates, error)
	ESPStates     func(local netip.Addr) ([]xfrm.ESPState, error)
	FindLeftovers func() (tunnel.Leftovers, error)
	EnsureFront   func(local netip.Addr, wanted bool) (bool, error)
}

// Tunnel is a protected tunnel that has a local address.
type Tunnel struct {
	Name    string
	Local   netip.Addr
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
			locals = append(locals, t.Local)
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

// counter is the alarm of a tunnel. It starts anew with new programs or a new address.
type counter struct {
	path  datapath.Path
	local netip.Addr
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
	counters := make(map[string]*counter)
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
func (w *Watch) poll(tunnels []Tunnel, counters map[string]*counter, deleted DeletedStates) {
	devices := w.platform.Fence.Status()
	_, pairs, err := w.platform.Fence.Dropped()
	if err != nil {
		w.log.Warn("cannot tell what clear GRE was stopped", "error", err)
	}
	names := make(map[string]bool)
	for _, t := range tunnels {
		names[t.Name] = true
		w.noteCauses(t.Name, t.Local, devices)
		w.noteStopped(t.Name, t.Local, pairs)
		if t.Path == nil {
			delete(counters, t.Name)
			continue
		}
		c := counters[t.Name]
		if c == nil || c.path != t.Path || c.local != t.Local {
			c = &counter{path: t.Path, local: t.Local}
			counters[t.Name] = c
		}
		if err := w.compareSent(t, counters, deleted); err != nil {
			w.log.Debug("cannot compare what the tunnel sent with what IPsec took",
				"interface", t.Name, "error", err)
			delete(counters, t.Name)
		}
	}
	maps.DeleteFunc(counters, func(name string, _ *counter) bool { return !names[name] })
	w.expire(time.Now(), names)
}

// noteStopped records what the fence stopped of the tunnel's GRE on its way out.
func (w *Watch) noteStopped(iface string, local netip.Addr, pairs []fence.Crossing) {
	for _, p := range pairs {
		if p.Local == local && p.Out > 0 {
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
func (w *Watch) noteCauses(iface string, local netip.Addr, fence fence.Status) {
	causes, err := w.platform.ClearCauses(local,
		slices.Concat(fence.Devices, fence.Missing, fence.Offloaded))
	if err != nil {
		w.log.Warn("cannot tell whether anything lets GRE pass in clear",
			"interface", iface, "error", err)
		return
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

// compareSent compares what the tunnel sent with what the ESP states took. The type alarm says why
// it has to read the counters in this order.
func (w *Watch) compareSent(
	t Tunnel, counters map[string]*counter, deleted DeletedStates,
) (err error) {
	s := sample{offload: t.Offload}
	if s.sent, err = t.Path.Sent(); err != nil {
		return err
	}
	drops, err := t.Path.Stats()
	if err != nil {
		return err
	}
	s.own = drops.NotAdmitted + drops.WrongSource + drops.Looped +
		drops.NoMark + drops.NoWay + drops.NHRPFlood
	if s.unsent, err = w.platform.UnsentOf(t.Name); err != nil {
		return err
	}
	if s.states, err = w.platform.ESPStates(t.Local); err != nil {
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
	if s.after, err = t.Path.Sent(); err != nil {
		return err
	}
	c := counters[t.Name]
	s.gone, c.gone = c.gone, goneStates{}
	now := time.Now()
	for _, l := range c.alarm.compare(t.Local, s) {
		w.note(t.Name, api.ClearLeak{Peer: l.peer, Packets: l.packets, Last: now})
	}
	return nil
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
			ifc.ClearGRE = w.status(ifc.NBMA, ifc.Name, fence, sums, pairs)
		}
	}
}

// status returns what the API shows of an interface's clear GRE: how it is stopped, and what was
// stopped or left.
func (w *Watch) status(
	local netip.Addr, iface string, fence fence.Status, sums, pairs []fence.Crossing,
) *api.ClearGRE {
	out := &api.ClearGRE{
		Devices:   copyOf(fence.Devices),
		Missing:   copyOf(fence.Missing),
		Offloaded: copyOf(fence.Offloaded),
		Ahead:     copyOf(fence.Ahead),
		Error:     fence.Error,
	}
	for _, s := range sums {
		if s.Local == local {
			out.StoppedIn, out.StoppedOut = s.In, s.Out
		}
	}
	if w.behind(iface, local, pairs) {
		w.noteCauses(iface, local, fence)
		w.noteStopped(iface, local, pairs)
	}
	out.Causes, out.Leaks = w.leaks(iface)
	return out
}

// copyOf returns a copy of a list. The copy is never nil, so JSON shows an empty list and not null.
func copyOf(list []string) []string { return append([]string{}, list...) }
