package nhrpd

import (
	"context"
	"net/netip"
	"time"

	"cygnet/kernel"
)

// Orphans are ESP states that a charon which was killed left in the kernel. Nobody rekeys or ends them until their hard lifetime, hours
// later, and a peer that dials anew has no use for them.
const (
	orphanCheck = 30 * time.Second // between looks
	orphanAge   = 10 * time.Second // younger states may belong to an SA that charon is just making
	spiTimeout  = 20 * time.Second
)

// removeOrphans looks for orphans of the protected interfaces while charon is there to say which states are its own.
func (d *Daemon) removeOrphans(ctx context.Context) error {
	for pause(ctx, orphanCheck) {
		st := d.strongswan.Status()
		if !st.Connected || time.Since(st.Since) < orphanAge {
			continue
		}
		for _, local := range d.protectedAddresses(ctx) {
			if err := d.removeOrphansOf(ctx, local); err != nil && ctx.Err() == nil {
				d.log.Warn("cannot look for orphan ESP states", "local", local, "error", err)
			}
		}
	}
	return nil
}

func (d *Daemon) protectedAddresses(ctx context.Context) []netip.Addr {
	var locals []netip.Addr
	err := d.loop.call(ctx, func(time.Time) {
		for _, p := range d.loop.ports {
			if p.config.Protected && p.state.Local.IsValid() {
				locals = append(locals, p.state.Local)
			}
		}
	})
	if err != nil {
		return nil
	}
	return locals
}

// removeOrphansOf asks charon only when there is a state that none of our own SAs explains: usually there is none.
func (d *Daemon) removeOrphansOf(ctx context.Context, local netip.Addr) error {
	known := make(map[uint32]bool)
	for _, sa := range d.strongswan.SAs() {
		for _, child := range sa.Children {
			known[child.SPIIn], known[child.SPIOut] = true, true
		}
	}
	suspects, err := d.platform.OrphanStates(local, known)
	if err != nil || len(old(suspects)) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, spiTimeout)
	defer cancel()
	if known, err = d.strongswan.SPIs(ctx); err != nil {
		return err
	}
	orphans := make([]kernel.ESPState, 0, len(suspects))
	for _, s := range old(suspects) {
		if !known[s.SPI] {
			orphans = append(orphans, s)
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	d.log.Info("removing ESP states of an earlier charon", "local", local, "states", len(orphans))
	return d.platform.DeleteStates(orphans)
}

// old leaves out what may be charon's newest work, and what was keyed by hand: charon's states have a request id.
func old(states []kernel.ESPState) []kernel.ESPState {
	var out []kernel.ESPState
	for _, s := range states {
		if s.ReqID != 0 && time.Since(s.Added) >= orphanAge {
			out = append(out, s)
		}
	}
	return out
}
