// Package xfrm reads and sets the kernel's IPsec: the guard, policies that keep GRE in clear from
// leaving and arriving; the ESP states and policies that charon makes; and the marks by which it
// tells the SAs of peers behind one NAT address apart.
package xfrm

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// GuardPriority is behind the policies of all SAs, those that charon gave a priority of its own
// included (a lower number is looked at first; strongSwan's are below 400000). See guardfront.go
// for the part of the guard that is in front.
const GuardPriority = 500000

// ProtocolGRE is GRE as the protocol of a policy.
const ProtocolGRE = vnl.Proto(unix.IPPROTO_GRE)

// EnsureGuard sees to it that no GRE packet leaves from or reaches the local address unless IPsec
// protects it: a policy that blocks protocol 47 between it and every other address, in both
// directions, behind the policies of SAs. Packets to this host meet the policies of direction in;
// those of direction fwd only concern packets to others. It may be called at any time and changes
// nothing that is right. A policy of the same addresses that demands IPsec itself (a trap) guards
// as well and is left alone.
func EnsureGuard(local netip.Addr) error {
	return WithHandle(func(h *vnl.Handle) error {
		for _, policy := range guardPolicies(local) {
			have, err := h.XfrmPolicyGet(policy)
			if err == nil && guards(have) {
				continue
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return rtnl.Explain(err, "read the guard of %s (%s)", local, policy.Dir)
			}
			if err := h.XfrmPolicyUpdate(policy); err != nil {
				return rtnl.Explain(err, "set the guard of %s (%s)", local, policy.Dir)
			}
		}
		return nil
	})
}

// RemoveGuard removes the guard of a local address: clear GRE may pass afterwards. Policies that
// are not the guard's stay.
func RemoveGuard(local netip.Addr) error {
	_, noFront := EnsureFront(local, false)
	return WithHandle(func(h *vnl.Handle) error {
		problems := noFront
		for _, policy := range guardPolicies(local) {
			have, err := h.XfrmPolicyGet(policy)
			if err == nil && isGuard(have) {
				err = h.XfrmPolicyDel(policy)
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				problems = errors.Join(problems, rtnl.Explain(err, "remove the guard of %s (%s)", local, policy.Dir))
			}
		}
		return problems
	})
}

// WithHandle calls f with a socket for IPsec that is closed afterwards. It returns rtnl.ErrNoXFRM
// where the kernel has no IPsec.
func WithHandle(f func(*vnl.Handle) error) error {
	h, err := vnl.NewHandle(unix.NETLINK_XFRM)
	if err != nil {
		return rtnl.Explain(err, "open a netlink socket for IPsec")
	}
	defer h.Close()
	return f(h)
}

// isGuard tells a guard from policies of others.
func isGuard(p *vnl.XfrmPolicy) bool {
	return p.Action == vnl.XFRM_POLICY_BLOCK && p.Priority == GuardPriority
}

// guards says whether a policy lets nothing through in clear.
func guards(p *vnl.XfrmPolicy) bool {
	if p.Action == vnl.XFRM_POLICY_BLOCK {
		return true
	}
	for _, template := range p.Tmpls {
		if template.Optional == 0 {
			return true
		}
	}
	return false
}

func guardPolicies(local netip.Addr) []*vnl.XfrmPolicy {
	host := &net.IPNet{IP: local.AsSlice(), Mask: net.CIDRMask(local.BitLen(), local.BitLen())}
	all := &net.IPNet{IP: make(net.IP, local.BitLen()/8), Mask: net.CIDRMask(0, local.BitLen())}
	policy := func(dir vnl.Dir, src, dst *net.IPNet) *vnl.XfrmPolicy {
		return &vnl.XfrmPolicy{Dir: dir, Src: src, Dst: dst, Proto: ProtocolGRE, Priority: GuardPriority, Action: vnl.XFRM_POLICY_BLOCK}
	}
	return []*vnl.XfrmPolicy{policy(vnl.XFRM_DIR_IN, all, host), policy(vnl.XFRM_DIR_OUT, host, all)}
}

// GuardedAddresses returns the local addresses that have a guard: none where the kernel has no
// IPsec.
func GuardedAddresses() ([]netip.Addr, error) {
	var locals []netip.Addr
	err := WithHandle(func(h *vnl.Handle) error {
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
	if !isGuard(p) || p.Proto != ProtocolGRE || local == nil {
		return netip.Addr{}, false
	}
	ones, bits := local.Mask.Size()
	address, ok := netip.AddrFromSlice(local.IP)
	return address.Unmap(), ok && ones == bits
}
