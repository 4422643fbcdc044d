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

const (
	surroundingsCheck = time.Minute // between looks for the log; the status looks by itself
	mostOuter         = 16          // addresses of an interface whose routes are looked at: those of its NHSs come first
)

// watchSurroundings logs once what others set up around the tunnels that keeps traffic from them.
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

// lookAround looks at the surroundings of the tunnels; outer has the underlay addresses that each
// is to reach.
func (d *Daemon) lookAround(c *config.Config, outer map[string][]netip.Addr) []preflight.Finding {
	return d.platform.Surroundings(c, func(i *config.Interface) []netip.Addr { return outer[i.Name] })
}

// outerAddresses are the underlay addresses that the interfaces are to reach, of next hop servers
// before those of other peers.
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
