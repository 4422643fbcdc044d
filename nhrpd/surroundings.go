package nhrpd

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/preflight"
)

// How often and how far the daemon looks around the tunnels.
const (
	surroundingsCheck = time.Minute // how often the daemon looks, to log; a status looks by itself
	mostOuter         = 16          // how many addresses of an interface are looked at
)

// watchSurroundings logs, once each, what others set up around the tunnels that keeps traffic from
// them.
func (d *Daemon) watchSurroundings(ctx context.Context) error {
	var before []string
	for pause(ctx, surroundingsCheck) {
		var c config.Config
		var outer map[string][]netip.Addr
		err := d.loop.call(ctx, func(time.Time) {
			c, outer = d.loop.configured(), outerAddresses(d.loop.engine.Status())
		})
		if err != nil {
			return nil
		}
		var now []string
		for _, f := range d.lookAround(&c, outer) {
			now = append(now, f.String())
			if !slices.Contains(before, f.String()) {
				d.log.Warn(f.String())
			}
		}
		before = now
	}
	return nil
}

// lookAround returns what is wrong in the surroundings of the tunnels. outer has, by interface, the
// underlay addresses that the tunnel has to reach.
func (d *Daemon) lookAround(c *config.Config, outer map[string][]netip.Addr) []preflight.Finding {
	return d.platform.Surroundings(c, func(i *config.Interface) []netip.Addr {
		return outer[i.Name]
	})
}

// outerAddresses returns, by interface, the underlay addresses that the tunnel has to reach, at
// most mostOuter: those of the NHSs first, then those of other peers.
func outerAddresses(interfaces []engine.InterfaceStatus) map[string][]netip.Addr {
	outer := make(map[string][]netip.Addr, len(interfaces))
	for n := range interfaces {
		i := &interfaces[n]
		var all []netip.Addr
		add := func(a netip.Addr) {
			if a.IsValid() && len(all) < mostOuter && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
		for _, s := range i.NHS {
			add(s.NBMA)
		}
		for _, p := range i.Peers {
			address, _ := seen(p.NBMA, p.Real)
			add(address)
		}
		outer[i.Name] = all
	}
	return outer
}
