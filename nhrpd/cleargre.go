package nhrpd

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
	"cygnet/nhrpd/api"
	"cygnet/vici/profile"
)

// Fence stops clear GRE on the devices that lead to peers; see fence.Fence.
type Fence interface {
	Run(ctx context.Context) error
	Guard(locals []netip.Addr, offload bool)
	Status() fence.Status
	Dropped() (sums, pairs []fence.Crossing, err error)
}

// How often the daemon looks for clear GRE, and for how long it keeps what it finds.
const (
	clearCheck     = 10 * time.Second // how often the daemon looks for GRE that left in clear
	clearCheckSlow = 30 * time.Second // the same with more than manySAs SAs
	leakShown      = 10 * time.Minute // how long the status shows a leak after its last packet
	leakLogged     = 10 * time.Minute // the least time between two log lines about one peer
	mostLeaks      = 1000             // how many peers with leaks are kept for an interface
)

// clearGRE is what the daemon knows of GRE that left, or would have left, without IPsec. It only
// informs; the guard and the fence are what stops clear GRE.
type clearGRE struct {
	asked chan struct{} // holds a value if the tunnels' local addresses may have changed

	mu     sync.Mutex                               // guards what follows
	fenced []netip.Addr                             // the local addresses that the fence guards
	causes map[string][]string                      // by interface: what lets GRE pass in clear
	leaks  map[string]map[netip.Addr]*api.ClearLeak // by interface and peer
	logged map[string]map[netip.Addr]time.Time      // when a leak was logged last
}

// newClearGRE returns a clearGRE that knows of no leak.
func newClearGRE() *clearGRE {
	return &clearGRE{
		asked:  make(chan struct{}, 1),
		causes: make(map[string][]string),
		leaks:  make(map[string]map[netip.Addr]*api.ClearLeak),
		logged: make(map[string]map[netip.Addr]time.Time),
	}
}

// ask has keepFence look at the tunnels' local addresses again.
func (c *clearGRE) ask() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// runFence runs the fence. If the fence cannot run at all, runFence logs why, and the daemon goes
// on with the IPsec policies alone.
func (d *Daemon) runFence(ctx context.Context) error {
	if err := d.fence.Run(ctx); err != nil && ctx.Err() == nil {
		d.logs.of(logKernel).Error("clear GRE is stopped by IPsec policies alone", "error", err)
	}
	return nil
}

// keepFence has the fence guard the addresses that the protected tunnels send from. An address
// stays fenced while its guard stays. A tunnel that existed before the daemon keeps both when it
// leaves.
func (d *Daemon) keepFence(ctx context.Context) error {
	var fenced []netip.Addr
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.clear.asked:
		}
		locals := d.protectedAddresses(ctx)
		if found, err := d.platform.FindLeftovers(); err == nil {
			for _, local := range fenced {
				if slices.Contains(found.Guarded, local) {
					locals = append(locals, local)
				}
			}
		}
		slices.SortFunc(locals, netip.Addr.Compare)
		fenced = slices.Compact(locals)
		offload := false
		for _, p := range d.clearTargets(ctx) {
			offload = offload || p.offload
		}
		d.clear.mu.Lock()
		d.clear.fenced = fenced
		d.clear.mu.Unlock()
		d.fence.Guard(fenced, offload)
	}
}

// stepBack removes the front guards when the daemon stops: they would cut off SAs that another
// version of the daemon may make. The guard behind them and the fence stay.
func (d *Daemon) stepBack() {
	d.clear.mu.Lock()
	defer d.clear.mu.Unlock()
	for _, local := range d.clear.fenced {
		if _, err := d.platform.EnsureFront(local, false); err != nil {
			d.logs.of(logKernel).Warn("the front guard stays until it ends by itself",
				"local", local, "error", err)
		}
	}
}

// clearTarget is a protected tunnel that watchClear looks at.
type clearTarget struct {
	name    string
	local   netip.Addr
	path    datapath.Path // nil if no program counts what the tunnel sends
	offload bool          // network devices may do the ESP of its SAs
}

// clearTargets returns the protected tunnels that have a local address.
func (d *Daemon) clearTargets(ctx context.Context) []clearTarget {
	var list []clearTarget
	err := d.loop.call(ctx, func(time.Time) {
		for _, p := range d.loop.ports {
			if !p.config.Protected || !p.state.Local.IsValid() {
				continue
			}
			t := clearTarget{
				name:    p.config.Name,
				local:   p.state.Local,
				offload: offloads(ipsecProfile(&p.config, p.state.Local, false)),
			}
			if p.line != nil {
				t.path = p.line.path
			}
			list = append(list, t)
		}
	})
	if err != nil {
		return nil // the context has ended; the loop may still write to the list
	}
	return list
}

// offloads reports whether network devices may do the ESP of a profile's SAs.
func offloads(p profile.Profile) bool {
	child := p.Child
	if p.Site != nil {
		child = p.Site.Child
	}
	how, ok := child["hw_offload"].(string)
	return ok && how != "no"
}

// leakCounter is the leakWatch of a tunnel. It starts anew with new programs or a new address.
type leakCounter struct {
	path  datapath.Path
	local netip.Addr
	watch leakWatch
	gone  goneStates
}

// watchClear looks for GRE that left in clear, and for what lets GRE leave so.
func (d *Daemon) watchClear(ctx context.Context) error {
	log := d.logs.of(logKernel)
	deleted, err := d.platform.DeletedStates()
	if err != nil {
		log.Error("cannot tell whether GRE leaves in clear", "error", err)
		return nil
	}
	defer deleted.Close()
	counters := make(map[string]*leakCounter)
	wait := clearCheck
	for pause(ctx, wait) {
		wait = clearCheck
		if d.strongswan.Status().SAs > manySAs {
			wait = clearCheckSlow
		}
		targets := d.clearTargets(ctx)
		devices := d.fence.Status()
		_, pairs, err := d.fence.Dropped()
		if err != nil {
			log.Warn("cannot tell what clear GRE was stopped", "error", err)
		}
		names := make(map[string]bool)
		for _, t := range targets {
			names[t.name] = true
			d.noteCauses(log, t.name, t.local, devices)
			d.noteStopped(log, t.name, t.local, pairs)
			if t.path == nil {
				delete(counters, t.name)
				continue
			}
			c := counters[t.name]
			if c == nil || c.path != t.path || c.local != t.local {
				c = &leakCounter{path: t.path, local: t.local}
				counters[t.name] = c
			}
			if err := d.compareSent(log, t, counters, deleted); err != nil {
				log.Debug("cannot compare what the tunnel sent with what IPsec took",
					"interface", t.name, "error", err)
				delete(counters, t.name)
			}
		}
		maps.DeleteFunc(counters, func(name string, _ *leakCounter) bool { return !names[name] })
		d.clear.expire(time.Now(), names)
	}
	return nil
}

// noteStopped records what the fence stopped of the tunnel's GRE on its way out.
func (d *Daemon) noteStopped(
	log *slog.Logger, iface string, local netip.Addr, pairs []fence.Crossing,
) {
	for _, p := range pairs {
		if p.Local == local && p.Out > 0 {
			d.clear.note(log, iface, api.ClearLeak{
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
func (d *Daemon) noteCauses(
	log *slog.Logger, iface string, local netip.Addr, fence fence.Status,
) {
	causes, err := d.platform.ClearCauses(local,
		slices.Concat(fence.Devices, fence.Missing, fence.Offloaded))
	if err != nil {
		log.Warn("cannot tell whether anything lets GRE pass in clear",
			"interface", iface, "error", err)
		return
	}
	d.clear.mu.Lock()
	defer d.clear.mu.Unlock()
	for _, cause := range causes {
		if !slices.Contains(d.clear.causes[iface], cause) {
			log.Warn("something on this host lets GRE pass without IPsec",
				"interface", iface, "cause", cause)
		}
	}
	d.clear.causes[iface] = causes
}

// compareSent compares what the tunnel sent with what the ESP states took. leakWatch says why it
// has to read the counters in this order.
func (d *Daemon) compareSent(
	log *slog.Logger, t clearTarget, counters map[string]*leakCounter, deleted deletedStates,
) (err error) {
	s := leakSample{whole: t.offload}
	if s.sent, err = t.path.Sent(); err != nil {
		return err
	}
	drops, err := t.path.Stats()
	if err != nil {
		return err
	}
	s.own = drops.NotAdmitted + drops.WrongSource + drops.Looped +
		drops.NoMark + drops.NoWay + drops.NHRPFlood
	if s.unsent, err = d.platform.UnsentOf(t.name); err != nil {
		return err
	}
	if s.states, err = d.platform.ESPStates(t.local); err != nil {
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
	if s.after, err = t.path.Sent(); err != nil {
		return err
	}
	c := counters[t.name]
	s.gone, c.gone = c.gone, goneStates{}
	now := time.Now()
	for _, l := range c.watch.look(t.local, s) {
		d.clear.note(log, t.name, api.ClearLeak{Peer: l.peer, Packets: l.packets, Last: now})
	}
	return nil
}

// note records a leak, and logs it unless it logged one of that peer a short time ago. A leak that
// the fence stopped comes with the count of all its packets; the count of a leak that left is added
// to the earlier ones.
func (c *clearGRE) note(log *slog.Logger, iface string, l api.ClearLeak) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaks[iface] == nil {
		c.leaks[iface], c.logged[iface] =
			make(map[netip.Addr]*api.ClearLeak), make(map[netip.Addr]time.Time)
	}
	have := c.leaks[iface][l.Peer]
	if have != nil && have.Stopped == l.Stopped {
		if l.Stopped && have.Packets == l.Packets {
			return
		}
		if !l.Stopped {
			l.Packets += have.Packets
		}
	} else if have != nil && l.Stopped && time.Since(l.Last) > time.Since(have.Last) {
		return // GRE that left in clear later matters more than GRE that was stopped
	}
	if have == nil && (time.Since(l.Last) > leakShown || len(c.leaks[iface]) >= mostLeaks) {
		return
	}
	l.Causes = c.causes[iface]
	c.leaks[iface][l.Peer] = &l
	if time.Since(c.logged[iface][l.Peer]) < leakLogged {
		return
	}
	c.logged[iface][l.Peer] = time.Now()
	text := "GRE left for a peer in clear: its packets were in no ESP state"
	if l.Stopped {
		text = "the kernel was about to send GRE to a peer in clear; it was stopped at the device"
	}
	log.Error(text,
		"interface", iface, "peer", l.Peer, "packets", l.Packets, "device", l.Device,
		"causes", c.causes[iface])
}

// behind reports whether the fence has stopped packets that are not recorded yet.
func (c *clearGRE) behind(iface string, local netip.Addr, pairs []fence.Crossing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(pairs, func(p fence.Crossing) bool {
		if p.Local != local || p.Out == 0 || time.Since(p.OutAt) > leakShown {
			return false
		}
		have := c.leaks[iface][p.Remote]
		return have == nil || have.Stopped && have.Packets != p.Out
	})
}

// expire forgets leaks whose last packet was long ago, and everything of interfaces that are gone.
func (c *clearGRE) expire(now time.Time, names map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for iface, leaks := range c.leaks {
		maps.DeleteFunc(leaks, func(peer netip.Addr, l *api.ClearLeak) bool {
			gone := now.Sub(l.Last) > leakShown || !names[iface]
			if gone {
				delete(c.logged[iface], peer)
			}
			return gone
		})
	}
	maps.DeleteFunc(c.causes, func(iface string, _ []string) bool { return !names[iface] })
}

// clearStatus returns what the API shows of an interface's clear GRE: how it is stopped, and what
// was stopped or left.
func (d *Daemon) clearStatus(
	local netip.Addr, iface string, fence fence.Status, sums, pairs []fence.Crossing,
) *api.ClearGRE {
	out := &api.ClearGRE{
		Devices:   list(fence.Devices, same[string]),
		Missing:   list(fence.Missing, same[string]),
		Offloaded: list(fence.Offloaded, same[string]),
		Ahead:     list(fence.Ahead, same[string]),
		Error:     fence.Error,
	}
	for _, s := range sums {
		if s.Local == local {
			out.StoppedIn, out.StoppedOut = s.In, s.Out
		}
	}
	if d.clear.behind(iface, local, pairs) {
		log := d.logs.of(logKernel)
		d.noteCauses(log, iface, local, fence)
		d.noteStopped(log, iface, local, pairs)
	}
	d.clear.mu.Lock()
	defer d.clear.mu.Unlock()
	out.Causes = list(d.clear.causes[iface], same[string])
	out.Leaks = []api.ClearLeak{}
	for _, peer := range slices.SortedFunc(maps.Keys(d.clear.leaks[iface]), netip.Addr.Compare) {
		out.Leaks = append(out.Leaks, *d.clear.leaks[iface][peer])
	}
	return out
}

// addClear adds to a status what the daemon knows of clear GRE.
func (d *Daemon) addClear(s *api.Status) {
	fence := d.fence.Status()
	sums, pairs, err := d.fence.Dropped()
	if err != nil {
		fence.Error = fmt.Sprintf("cannot tell what clear GRE was stopped: %v", err)
	}
	for i := range s.Interfaces {
		if ifc := &s.Interfaces[i]; ifc.Protected && !ifc.Left && ifc.NBMA.IsValid() {
			ifc.ClearGRE = d.clearStatus(ifc.NBMA, ifc.Name, fence, sums, pairs)
		}
	}
}
