package nhrpd

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
)

// underlayMTUs fits the MTUs of tunnels to those of their underlays. It runs before the daemon's
// tasks, and then on the goroutine of manage.
type underlayMTUs struct {
	read  func(device string, local netip.Addr) (int, error) // 0: it is not known
	log   *slog.Logger
	known map[config.Underlay]int // the last known one of each underlay
}

// fit gives each interface whose MTU follows the underlay's the MTU that fits now. While the MTU of
// an underlay is not known, because its device is away, the last known one counts: a PPPoE link
// that comes back must not change the tunnel twice.
func (u *underlayMTUs) fit(c *config.Config) {
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		if !i.AutoMTU {
			continue
		}
		i.MTU = i.FitMTU(u.least(i))
	}
}

// least returns the least MTU of the devices that an interface's tunnel may send from, so that the
// tunnel's MTU stays when it changes from one to another; 0: none is known.
func (u *underlayMTUs) least(i *config.Interface) int {
	least := 0
	for n, device := range append([]string{i.Underlay.Device}, i.Reserve...) {
		of := config.Underlay{Device: device}
		if n == 0 {
			of = i.Underlay
		}
		mtu, err := u.read(of.Device, cmp.Or(of.Address, of.Address6))
		if err != nil {
			u.log.Warn("cannot read the MTU of the underlay",
				"interface", i.Name, "underlay", of, "error", err)
		}
		if mtu > 0 {
			u.known[of] = mtu
		}
		if known := u.known[of]; known > 0 && (least == 0 || known < least) {
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
	d.mtus.fit(&next)
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
