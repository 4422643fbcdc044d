package nhrpd

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
)

// fit gives each interface whose MTU follows the underlay's the MTU that fits now. While the MTU of
// an underlay is not known, because its device is away, the last known one counts: a PPPoE link
// that comes back must not change the tunnel twice. It runs before the daemon's tasks, and then on
// the goroutine of manage.
func (d *Daemon) fit(c *config.Config) {
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		if !i.AutoMTU {
			continue
		}
		i.MTU = i.FitMTU(d.leastUnderlay(i))
	}
}

// leastUnderlay returns the least MTU of the devices that an interface's tunnel may send from, so
// that the tunnel's MTU stays when it changes from one to another; 0: none is known.
func (d *Daemon) leastUnderlay(i *config.Interface) int {
	least := 0
	for n, device := range append([]string{i.Underlay.Device}, i.Reserve...) {
		of := config.Underlay{Device: device}
		if n == 0 {
			of = i.Underlay
		}
		mtu, err := d.platform.UnderlayMTU(of.Device, cmp.Or(of.Address, of.Address6))
		if err != nil {
			d.log.Warn("cannot read the MTU of the underlay",
				"interface", i.Name, "underlay", of, "error", err)
		}
		if mtu > 0 {
			d.underlayMTU[of] = mtu
		}
		if known := d.underlayMTU[of]; known > 0 && (least == 0 || known < least) {
			least = known
		}
	}
	return least
}

// followUnderlays changes the MTU of tunnels when that of their underlay changes. Nothing else
// changes it while the daemon runs, least of all traffic: the routers of an overlay have to agree,
// and a routing protocol that compares MTUs, such as OSPF, would lose its neighbours otherwise.
func (d *Daemon) followUnderlays(ctx context.Context) error {
	return d.platform.WatchUnderlays(ctx, d.logs.Of(logging.Kernel), func() {
		// An error means that the context has ended.
		_ = d.managed(ctx, d.refit)
	})
}

// refit fits the running configuration to the underlays as they are now. An interface that has left
// stays away.
func (d *Daemon) refit(ctx context.Context, g *errgroup.Group) error {
	next := *d.config
	next.Interfaces = slices.Clone(next.Interfaces)
	d.fit(&next)
	before := d.config
	d.config = &next
	for n, c := range next.Interfaces {
		if c.MTU == before.Interfaces[n].MTU {
			continue
		}
		d.log.Info("the MTU of the underlay has changed, and the tunnel's follows",
			"interface", c.Name, "mtu", c.MTU, "before", before.Interfaces[n].MTU)
		err := d.loop.call(ctx, func(now time.Time) {
			d.loop.engine.Handle(now,
				engine.TunnelMTU{Interface: c.Name, MTU: uint16(c.MTU)}, &d.loop.out)
		})
		if err != nil {
			return err
		}
		if d.runners[c.Name] == nil {
			continue
		}
		if err := d.adopt(ctx, g, c); err != nil {
			return err
		}
	}
	return nil
}
