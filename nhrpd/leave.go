package nhrpd

import (
	"context"
	"slices"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/wait"
)

// logForgotten logs which interfaces left something in the kernel although the configuration does
// not have them any more. A reload would have said goodbye on them. A restart cannot.
func (d *Daemon) logForgotten(saved engine.Saved) {
	found, err := d.platform.FindLeftovers()
	if err != nil {
		d.log.Warn("cannot tell what is left of interfaces that are not configured any more", "error", err)
		return
	}
	forgotten := found.Tunnels
	for _, ifc := range saved.Interfaces {
		if slices.Contains(found.Guarded, ifc.NBMA) {
			forgotten = append(forgotten, ifc.Name)
		}
	}
	slices.Sort(forgotten)
	for _, name := range slices.Compact(forgotten) {
		if slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool {
			return c.Name == name
		}) {
			continue
		}
		d.log.Warn("an interface is not in the configuration any more and nobody said goodbye: its tunnel, its SAs and the block on clear GRE stay; "+
			"put it back and reload, then remove it and reload",
			"interface", name)
	}
}

// abandon has charon end the SAs of interfaces that were protected in the last run and are not
// protected in this one. It tries until that succeeds.
func (d *Daemon) abandon(ctx context.Context, saved engine.Saved) error {
	unprotected := make(map[string]bool)
	for _, ifc := range saved.Interfaces {
		unprotected[ifc.Name] = ifc.Protected &&
			slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool {
				return c.Name == ifc.Name && !c.Protected
			})
	}
	gone := func(iface string) bool { return unprotected[iface] && !d.groups.Has(iface) }
	if !slices.ContainsFunc(saved.Interfaces, func(ifc engine.SavedInterface) bool {
		return gone(ifc.Name)
	}) {
		return nil
	}
	backoff := wait.Backoff()
	for {
		err := d.platform.Abandon(ctx, d.config.Daemon.VICISocket, gone)
		if err == nil {
			d.log.Info("IPsec of the last run has ended on interfaces that are not protected any more")
			return nil
		}
		d.log.Debug("cannot end the IPsec of the last run, trying again", "error", err)
		if !wait.For(ctx, backoff.NextBackOff()) {
			return nil
		}
	}
}
