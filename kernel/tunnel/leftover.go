package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
)

// Leftovers are what this package made in the kernel and what stays there when the daemon stops.
type Leftovers struct {
	Tunnels []string     // names of the tunnels that this package made
	Guarded []netip.Addr // local addresses that have a guard
}

// FindLeftovers reads the leftovers from the kernel. A kernel without IPsec has no guards.
func FindLeftovers() (Leftovers, error) {
	r, err := rtnl.Open()
	if err != nil {
		return Leftovers{}, err
	}
	defer r.Close()
	links, err := r.GRELinks()
	if err != nil {
		return Leftovers{}, err
	}
	var found Leftovers
	for _, l := range links {
		if l.Alias == Alias {
			found.Tunnels = append(found.Tunnels, l.Name)
		}
	}
	found.Guarded, err = xfrm.GuardedAddresses()
	return found, err
}

// ReleaseGuards removes the guard of every local address that no GRE tunnel uses. It returns the
// addresses that are still guarded, because a tunnel uses them.
func ReleaseGuards() (kept []netip.Addr, err error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	links, err := r.GRELinks()
	if err != nil {
		return nil, err
	}
	guarded, err := xfrm.GuardedAddresses()
	problems := []error{err}
	for _, local := range guarded {
		if slices.ContainsFunc(links, func(l *rtnl.Link) bool { return l.GRE.Local == local }) {
			kept = append(kept, local)
			continue
		}
		problems = append(problems, xfrm.RemoveGuard(local))
	}
	if err := errors.Join(problems...); err != nil {
		return kept, fmt.Errorf("release guards: %w", err)
	}
	return kept, nil
}
