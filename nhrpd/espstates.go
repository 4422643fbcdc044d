package nhrpd

import (
	"context"
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/vici"
)

// charon's CHILD_SAs and the kernel's ESP states belong together, and each can lose the other. A charon that was killed leaves states
// that nobody rekeys or ends until their hard lifetime, hours later, and for which a peer that dials anew has no use. A state that
// somebody deleted stays away for as long, since charon does not look and its peer answers.
const (
	stateCheck     = 10 * time.Second // between looks
	stateCheckSlow = 30 * time.Second // between looks that cost more
	manySAs        = 1000             // from which they do
	stateAge       = 10 * time.Second // younger ones may belong to an SA that charon is just making
	childAge       = 2 * time.Second  // younger CHILD_SAs may lack the outbound state yet: it comes with the message after a rekeying
	spiTimeout     = 20 * time.Second
)

// matchStates compares what charon and the kernel have for the protected interfaces, while charon is there to say which states are its
// own: removes orphans, and has CHILD_SAs renewed that lack a state.
func (d *Daemon) matchStates(ctx context.Context) error {
	silences := make(map[netip.Addr]*silence)
	for wait := stateCheck; pause(ctx, wait); {
		st := d.strongswan.Status()
		if !st.Connected || time.Since(st.Since) < stateAge {
			continue
		}
		counted := newStateBytes()
		for _, local := range d.protectedAddresses(ctx) {
			if silences[local] == nil {
				silences[local] = &silence{asked: make(map[netip.Addr]time.Time)}
			}
			if err := d.matchStatesOf(ctx, local, silences[local], counted); err != nil && ctx.Err() == nil {
				d.log.Warn("cannot compare the kernel's ESP states with charon's SAs", "local", local, "error", err)
			}
		}
		d.strongswan.Counted(counted.in, counted.out)
		wait = stateCheck
		if st.SAs > manySAs {
			wait = stateCheckSlow
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

// matchStatesOf asks charon only when there is a state that none of our own SAs explains, or one of them lacks a state: usually there
// is none.
func (d *Daemon) matchStatesOf(ctx context.Context, local netip.Addr, s *silence, counted stateBytes) error {
	sas := d.strongswan.SAs()
	states, err := d.platform.ESPStates(local)
	if err != nil {
		return err
	}
	counted.add(local, states)
	d.askSilent(s, states, local)
	suspects, lacking := unexplained(states, sas), without(states, sas, local)
	if len(suspects)+len(lacking) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, spiTimeout)
	defer cancel()
	known, err := d.strongswan.SPIs(ctx)
	if err != nil {
		return err
	}
	var gone []uint32
	for _, spi := range lacking {
		if known[spi] {
			gone = append(gone, spi)
		}
	}
	if len(gone) > 0 {
		d.log.Warn("somebody deleted ESP states of SAs that stand: renewing the SAs", "local", local, "states", len(gone))
		d.strongswan.Repair(gone)
	}
	var orphans []xfrm.ESPState
	for _, s := range suspects {
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

// unexplained gives the states that may carry our GRE and are in none of our SAs. It leaves out what may be charon's newest work, and
// what was keyed by hand: charon's states have a request id.
func unexplained(states []xfrm.ESPState, sas []vici.SA) []xfrm.ESPState {
	ours := make(map[uint32]bool)
	for _, sa := range sas {
		for _, child := range sa.Children {
			ours[child.SPIIn], ours[child.SPIOut] = true, true
		}
	}
	var out []xfrm.ESPState
	for _, s := range states {
		if s.GRE && s.ReqID != 0 && !ours[s.SPI] && time.Since(s.Added) >= stateAge {
			out = append(out, s)
		}
	}
	return out
}

// without gives the SPIs of our installed CHILD_SAs from the address that the kernel has no state for.
func without(states []xfrm.ESPState, sas []vici.SA, local netip.Addr) []uint32 {
	there := make(map[uint32]bool, len(states))
	for _, s := range states {
		there[s.SPI] = true
	}
	var spis []uint32
	for _, sa := range sas {
		if sa.LocalHost != local {
			continue
		}
		for _, child := range sa.Children {
			if child.State != "INSTALLED" || time.Since(child.Installed) < childAge {
				continue
			}
			for _, spi := range []uint32{child.SPIIn, child.SPIOut} {
				if !there[spi] {
					spis = append(spis, spi)
				}
			}
		}
	}
	return spis
}
