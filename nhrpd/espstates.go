package nhrpd

import (
	"context"
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/vici"
)

// charon's CHILD_SAs and the kernel's ESP states belong together, but one can exist without the
// other:
//
//   - A charon that was killed leaves ESP states. Nobody rekeys or ends them until their hard
//     lifetime, which is hours later, and a peer that dials again has no use for them.
//   - An ESP state that somebody deleted stays away for as long. charon does not look at the state,
//     and its peer still answers.
const (
	stateCheck     = 10 * time.Second // how often the daemon compares them
	stateCheckSlow = 30 * time.Second // how often with more than manySAs SAs
	manySAs        = 1000             // from this number on, comparing costs noticeable time
	stateAge       = 10 * time.Second // a younger state may be of an SA that charon is making
	// childAge is how old a CHILD_SA has to be before a missing state counts. After a rekeying, the
	// outbound state comes only with the next message.
	childAge   = 2 * time.Second
	spiTimeout = 20 * time.Second // how long charon may take to list its SPIs
)

// matchStates compares the SAs of charon and the ESP states of the kernel on the protected
// interfaces, while charon answers and so can say which states are its own. It removes states that
// belong to no SA, and has charon renew CHILD_SAs that lack a state.
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
			if err := d.matchStatesOf(ctx, local, silences[local], counted); err != nil &&
				ctx.Err() == nil {
				d.log.Warn("cannot compare the kernel's ESP states with charon's SAs",
					"local", local, "error", err)
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

// protectedAddresses returns the local addresses of the protected tunnels.
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

// matchStatesOf compares the states and the SAs of one local address. It asks charon for its SPIs
// only if a state belongs to none of our SAs or one of our SAs lacks a state, which is rare. It
// adds the byte counts of the states to counted, and has silent peers asked (see silence). It
// returns an error if the kernel or charon does not answer.
func (d *Daemon) matchStatesOf(
	ctx context.Context, local netip.Addr, s *silence, counted stateBytes,
) error {
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
		d.log.Warn("somebody deleted ESP states of SAs that stand: renewing the SAs",
			"local", local, "states", len(gone))
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

// unexplained returns the states that may carry our GRE and belong to none of our SAs. It leaves
// out young states, which charon may have made just now, and states without a request ID, which
// somebody keyed by hand: charon's states have one.
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

// without returns the SPIs of our installed CHILD_SAs from the address local for which the kernel
// has no state.
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
