package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Leftovers are what this package made in the kernel and what stays there when nobody runs.
type Leftovers struct {
	Tunnels []string     // made by this package, by their names
	Guarded []netip.Addr // local addresses with a guard
}

// FindLeftovers reads them. A kernel without IPsec has no guards.
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
		if l.Alias == TunnelAlias {
			found.Tunnels = append(found.Tunnels, l.Name)
		}
	}
	found.Guarded, err = guardedAddresses()
	return found, err
}

func guardedAddresses() ([]netip.Addr, error) {
	var locals []netip.Addr
	err := withXFRM(func(h *vnl.Handle) error {
		policies, err := h.XfrmPolicyList(unix.AF_UNSPEC)
		if err != nil {
			return rtnl.Explain(err, "list the IPsec policies")
		}
		for i := range policies {
			local, ok := guardedBy(&policies[i])
			if ok && !slices.Contains(locals, local) {
				locals = append(locals, local)
			}
		}
		return nil
	})
	if errors.Is(err, rtnl.ErrNoXFRM) {
		return nil, nil
	}
	return locals, err
}

// guardedBy is the local address that a policy guards, if it is half of a guard.
func guardedBy(p *vnl.XfrmPolicy) (netip.Addr, bool) {
	local := p.Dst
	if p.Dir == vnl.XFRM_DIR_OUT {
		local = p.Src
	}
	if !isGuard(p) || p.Proto != protocolGRE || local == nil {
		return netip.Addr{}, false
	}
	ones, bits := local.Mask.Size()
	address, ok := netip.AddrFromSlice(local.IP)
	return address.Unmap(), ok && ones == bits
}

// ReleaseGuards removes the guards of all addresses that no GRE tunnel uses, and returns the other guarded ones.
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
	guarded, err := guardedAddresses()
	problems := []error{err}
	for _, local := range guarded {
		if slices.ContainsFunc(links, func(l *rtnl.Link) bool { return l.GRE.Local == local }) {
			kept = append(kept, local)
			continue
		}
		problems = append(problems, RemoveGuard(local))
	}
	if err := errors.Join(problems...); err != nil {
		return kept, fmt.Errorf("release guards: %w", err)
	}
	return kept, nil
}
