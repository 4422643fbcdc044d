package nhrpd

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
)

// findTables gives each interface of c that uses the table of its VRF that table. If the VRF is not
// there, the interface keeps the table that it has in the running configuration. Without one the
// table is 0, and the interface has no routes until moveTable gives it a table.
func (d *Daemon) findTables(c *config.Config) {
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		if !i.VRFTable {
			continue
		}
		table, err := d.platform.VRFTable(i.VRF)
		if err != nil {
			d.log.Warn("the VRF could not be looked at; trying again", "interface", i.Name,
				"vrf", i.VRF, "error", err)
		}
		if table == 0 {
			k := slices.IndexFunc(d.config.Interfaces, func(before config.Interface) bool {
				return before.Name == i.Name && before.VRF == i.VRF && before.VRFTable
			})
			if k >= 0 {
				table = d.config.Interfaces[k].Table
			}
		}
		i.Table = table
	}
}

// hasOtherTable reports whether the tunnel is in a VRF with another table than the interface has.
func (r *runner) hasOtherTable(st tunnel.State) bool {
	return r.config.VRFTable && st.MasterTable != 0 && st.MasterTable != r.config.Table
}

// moveTable gives an interface another routing table: its VRF was made just now, or made again with
// another table. The interface leaves and joins again, on the tunnel that exists; its runner ends,
// and so does ctx if it is the runner's.
func (d *Daemon) moveTable(ctx context.Context, name string, table uint32) error {
	return d.managed(ctx, func(ctx context.Context, g *errgroup.Group) error {
		next := *d.config
		next.Interfaces = slices.Clone(next.Interfaces)
		k := slices.IndexFunc(next.Interfaces, func(i config.Interface) bool {
			return i.Name == name
		})
		if k < 0 || d.runners[name] == nil || !next.Interfaces[k].VRFTable ||
			next.Interfaces[k].Table == table {
			return nil // a reload or a goodbye came first
		}
		d.log.Info("the VRF of the tunnel has another routing table: the interface joins again",
			"interface", name, "vrf", next.Interfaces[k].VRF, "table", table)
		next.Interfaces[k].Table = table
		d.config = &next
		open := next
		open.Interfaces = slices.DeleteFunc(slices.Clone(next.Interfaces),
			func(i config.Interface) bool { return d.runners[i.Name] == nil })
		if err := d.loop.call(ctx, func(now time.Time) {
			d.loop.engine.Configure(now, d.engineConfig(&open), &d.loop.out)
		}); err != nil {
			return err
		}
		return d.adopt(ctx, g, next.Interfaces[k])
	})
}
