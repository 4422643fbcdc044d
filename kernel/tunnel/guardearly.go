package tunnel

import (
	"errors"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
)

// GuardEarly sets the guard (xfrm.EnsureGuard) of a tunnel before the daemon or the network is
// there. It guards every address from which the tunnel may send: the configured address, the
// underlay's, that of an existing interface with the tunnel's name, and the addresses before, which
// the caller knows from earlier. It leaves out those that cannot be found out. It changes nothing
// else, and returns the addresses that it guarded.
func GuardEarly(cfg Config, before ...netip.Addr) ([]netip.Addr, error) {
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

// earlyLocals returns the addresses that a tunnel may send from, by the configuration and by what
// the kernel has. It returns those that it found even with an error, so that an address that cannot
// be found out does not keep the others from being guarded.
func earlyLocals(cfg Config) ([]netip.Addr, error) {
	locals := []netip.Addr{cfg.Local, cfg.Local6}
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
	underlay, noAddress := r.UnderlayAddresses(cfg.Underlay, rtnl.Underlay{})
	if errors.Is(noAddress, rtnl.ErrNoAddress) {
		noAddress = nil
	}
	return append(locals, underlay.V4, underlay.V6), errors.Join(err, noAddress)
}
