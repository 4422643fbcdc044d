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

	"cygnet/kernel"
	"cygnet/nhrpd/api"
	"cygnet/vici/profile"
)

// Fence stops clear GRE on the devices that lead to peers; see kernel.Fence.
type Fence interface {
	Run(ctx context.Context) error
	Guard(locals []netip.Addr, offload bool)
	Status() kernel.FenceStatus
	Dropped() (sums, pairs []kernel.Crossing, err error)
}

const (
	clearCheck     = 10 * time.Second // between looks for GRE that left in clear
	clearCheckSlow = 30 * time.Second // with many SAs
	leakShown      = 10 * time.Minute // how long status tells of a leak after its last packet
	leakLogged     = 10 * time.Minute // between two log lines of one peer
	mostLeaks      = 1000             // peers that are remembered for an interface
)

// clearGRE is what the daemon knows of GRE that IPsec did not protect. It never shuts anything: it
// tells.
type clearGRE struct {
	asked chan struct{} // the local addresses may have changed

	mu     sync.Mutex // guards what follows
	fenced []netip.Addr
	causes map[string][]string
	leaks  map[string]map[netip.Addr]*api.ClearLeak
	logged map[string]map[netip.Addr]time.Time
}

func newClearGRE() *clearGRE {
	return &clearGRE{
		asked:  make(chan struct{}, 1),
		causes: make(map[string][]string),
		leaks:  make(map[string]map[netip.Addr]*api.ClearLeak),
		logged: make(map[string]map[netip.Addr]time.Time),
	}
}

// ask has the fence follow the tunnels.
func (c *clearGRE) ask() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// runFence runs the fence. What keeps it from running at all is told, and ends nothing else.
func (d *Daemon) runFence(ctx context.Context) error {
	if err := d.fence.Run(ctx); err != nil && ctx.Err() == nil {
		d.logs.of(logKernel).Error("clear GRE is stopped by IPsec policies alone", "error", err)
	}
	return nil
}

// keepFence has the fence be where the protected tunnels send from. An address stays fenced for as
// long as its guard stays: a tunnel that was there before the daemon keeps both.
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

// stepBack takes the front guards back when the daemon stops. Whatever version is started next
// may make SAs that they would cut off. The guard behind them and the fence stay.
func (d *Daemon) stepBack() {
	d.clear.mu.Lock()
	defer d.clear.mu.Unlock()
	for _, local := range d.clear.fenced {
		if _, err := d.platform.EnsureFront(local, false); err != nil {
			d.logs.of(logKernel).Warn("the front guard stays until it ends by itself", "local", local, "error", err)
		}
	}
}

// clearTarget is a protected tunnel to look at.
type clearTarget struct {
	name    string
	local   netip.Addr
	path    kernel.DataPath // nil: nobody counts what it sends
	offload bool            // its SAs may be given to devices
}

func (d *Daemon) clearTargets(ctx context.Context) []clearTarget {
	var list []clearTarget
	err := d.loop.call(ctx, func(time.Time) {
		for _, p := range d.loop.ports {
			if !p.config.Protected || !p.state.Local.IsValid() {
				continue
			}
			t := clearTarget{name: p.config.Name, local: p.state.Local, offload: offloads(ipsecProfile(&p.config, p.state.Local, false))}
			if p.line != nil {
				t.path = p.line.path
			}
			list = append(list, t)
		}
	})
	if err != nil {
		return nil // the context ended, and the loop may still be at it
	}
	return list
}

// offloads reports whether the SAs of a profile may be given to network devices.
func offloads(p profile.Profile) bool {
	child := p.Child
	if p.Site != nil {
		child = p.Site.Child
	}
	how, ok := child["hw_offload"].(string)
	return ok && how != "no"
}

// leakCounter is the leakWatch of a tunnel, for as long as the same programs count.
type leakCounter struct {
	path  kernel.DataPath
	local netip.Addr
	watch leakWatch
	gone  goneStates
}

// watchClear looks for GRE that left in clear, and for what lets it.
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
				log.Debug("cannot compare what the tunnel sent with what IPsec took", "interface", t.name, "error", err)
				delete(counters, t.name)
			}
		}
		maps.DeleteFunc(counters, func(name string, _ *leakCounter) bool { return !names[name] })
		d.clear.expire(time.Now(), names)
	}
	return nil
}

// noteStopped enters what the fence stopped on its way out.
func (d *Daemon) noteStopped(log *slog.Logger, iface string, local netip.Addr, pairs []kernel.Crossing) {
	for _, p := range pairs {
		if p.Local == local && p.Out > 0 {
			d.clear.note(log, iface, api.ClearLeak{Peer: p.Remote, Packets: p.Out, Stopped: true, Device: p.OutDevice, Last: p.OutAt})
		}
	}
}

// noteCauses looks for what lets GRE of the tunnel pass in clear, and logs what is new.
func (d *Daemon) noteCauses(log *slog.Logger, iface string, local netip.Addr, fence kernel.FenceStatus) {
	causes, err := d.platform.ClearCauses(local, slices.Concat(fence.Devices, fence.Missing, fence.Offloaded))
	if err != nil {
		log.Warn("cannot tell whether anything lets GRE pass in clear", "interface", iface, "error", err)
		return
	}
	d.clear.mu.Lock()
	defer d.clear.mu.Unlock()
	for _, cause := range causes {
		if !slices.Contains(d.clear.causes[iface], cause) {
			log.Warn("something on this host lets GRE pass without IPsec", "interface", iface, "cause", cause)
		}
	}
	d.clear.causes[iface] = causes
}

// compareSent compares what the tunnel sent with what IPsec took. The order matters: see leakWatch.
func (d *Daemon) compareSent(log *slog.Logger, t clearTarget, counters map[string]*leakCounter,
	deleted deletedStates) (err error) {
	s := leakSample{whole: t.offload}
	if s.sent, err = t.path.Sent(); err != nil {
		return err
	}
	drops, err := t.path.Stats()
	if err != nil {
		return err
	}
	s.own = drops.NotAdmitted + drops.WrongSource + drops.Looped + drops.NoMark + drops.NoWay + drops.NHRPFlood
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
	for _, c := range counters { // what is read now is told once, and may be of any tunnel's peers
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

// note enters a leak. Of what the fence stopped the count is that of all packets, of what left it
// is to be added.
func (c *clearGRE) note(log *slog.Logger, iface string, l api.ClearLeak) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaks[iface] == nil {
		c.leaks[iface], c.logged[iface] = make(map[netip.Addr]*api.ClearLeak), make(map[netip.Addr]time.Time)
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
		return // what left in clear since is the worse news
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
	log.Error(text, "interface", iface, "peer", l.Peer, "packets", l.Packets, "device", l.Device, "causes", c.causes[iface])
}

// behind reports whether the fence stopped something since the last look.
func (c *clearGRE) behind(iface string, local netip.Addr, pairs []kernel.Crossing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(pairs, func(p kernel.Crossing) bool {
		if p.Local != local || p.Out == 0 || time.Since(p.OutAt) > leakShown {
			return false
		}
		have := c.leaks[iface][p.Remote]
		return have == nil || have.Stopped && have.Packets != p.Out
	})
}

// expire forgets what is long ago, and interfaces that are gone.
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

// clearStatus tells how an interface's clear GRE is stopped, and what of it there was.
func (d *Daemon) clearStatus(local netip.Addr, iface string, fence kernel.FenceStatus, sums, pairs []kernel.Crossing) *api.ClearGRE {
	out := &api.ClearGRE{
		Devices: list(fence.Devices, same[string]), Missing: list(fence.Missing, same[string]),
		Offloaded: list(fence.Offloaded, same[string]), Ahead: list(fence.Ahead, same[string]), Error: fence.Error,
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

// addClear adds to a status what is known of clear GRE.
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
