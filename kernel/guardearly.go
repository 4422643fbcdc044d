package kernel

import (
	"errors"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
)

// GuardEarly sets the guard (xfrm.EnsureGuard) of a tunnel that nobody keeps yet, because the
// network or the daemon is still to come. It is set for every address that the tunnel may send
// from, as far as one is to be known: the configured one, that of the underlay, that of an
// interface of the tunnel's name that is there already, and those that the caller has from before.
// It changes nothing else, and returns the addresses that are guarded.
func GuardEarly(cfg TunnelConfig, before ...netip.Addr) ([]netip.Addr, error) {
	locals, problems := earlyLocals(cfg)
	var guarded []netip.Addr
	for _, local := range append(locals, before...) {
		if !local.IsValid() || local.IsUnspecified() || slices.Contains(guarded, local) {
			continue
		}
		if err := xfrm.EnsureGuard(local); err != nil {
			problems = errors.Join(problems, err)
			continue
		}
		if _, err := xfrm.EnsureFront(local, cfg.Front); err != nil {
			problems = errors.Join(problems, err)
		}
		guarded = append(guarded, local)
	}
	return guarded, problems
}

// earlyLocals asks the kernel for addresses of a tunnel. What it cannot tell must not keep the
// others from being guarded.
func earlyLocals(cfg TunnelConfig) ([]netip.Addr, error) {
	locals := []netip.Addr{cfg.Local}
	r, err := rtnl.Open()
	if err != nil {
		return locals, err
	}
	defer r.Close()
	have, err := r.LinkByName(cfg.Name)
	if err == nil && have != nil && have.IsGRE() {
		locals = append(locals, have.GRE.Local)
	}
	if cfg.Underlay == "" {
		return locals, err
	}
	underlay, noAddress := r.UnderlayAddress(cfg.Underlay, netip.Addr{})
	if errors.Is(noAddress, rtnl.ErrNoAddress) {
		noAddress = nil
	}
	return append(locals, underlay), errors.Join(err, noAddress)
}
