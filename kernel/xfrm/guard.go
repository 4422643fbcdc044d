// Package xfrm reads and sets IPsec in the kernel (ip-xfrm(8)). It owns the guard: policies that
// keep GRE in clear from leaving and from arriving. It reads the ESP states and policies that
// charon makes, and the marks that distinguish the SAs of several peers behind one NAT address.
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

// GuardPriority is the priority of the guard. The kernel looks at policies with lower numbers
// first, so the guard comes behind the policies of all SAs. That includes SAs whose priority charon
// chose: strongSwan's priorities are below 400000. See guardfront.go for the front guard, which
// comes first.
const GuardPriority = 500000

// ProtocolGRE is the protocol number of GRE, as a policy's selector has it.
const ProtocolGRE = vnl.Proto(unix.IPPROTO_GRE)

// EnsureGuard sets the guard of a local address: no GRE packet leaves from the address or reaches
// it unless IPsec protects the packet. The guard is one policy in each direction. It blocks
// protocol 47 between the local address and every other address, and comes behind the policies of
// SAs. The directions are in and out; policies of direction fwd apply only to packets for other
// hosts.
//
// EnsureGuard may be called at any time, and changes only what is wrong. It leaves alone a policy
// with the same selector that demands IPsec (a trap), since that policy guards the address, too.
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

// RemoveGuard removes the guard of a local address, with the front guard and the mark guards. GRE
// may pass in clear afterwards. RemoveGuard leaves other policies alone.
func RemoveGuard(local netip.Addr) error {
	_, noFront := EnsureFront(local, false)
	return WithHandle(func(h *vnl.Handle) error {
		problems := errors.Join(noFront, removeAllMarkGuards(h, local))
		for _, policy := range guardPolicies(local) {
			have, err := h.XfrmPolicyGet(policy)
			if err == nil && isGuard(have) {
				err = h.XfrmPolicyDel(policy)
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				problems = errors.Join(problems,
					rtnl.Explain(err, "remove the guard of %s (%s)", local, policy.Dir))
			}
		}
		return problems
	})
}

// WithHandle calls f with a netlink socket for IPsec, and closes the socket afterwards. It returns
// rtnl.ErrNoXFRM if the kernel has no IPsec.
func WithHandle(f func(*vnl.Handle) error) error {
	h, err := vnl.NewHandle(unix.NETLINK_XFRM)
	if err != nil {
		return rtnl.Explain(err, "open a netlink socket for IPsec")
	}
	defer h.Close()
	return f(h)
}

// isGuard reports whether a policy for GRE between a local address and all others is the guard's,
// and not another program's.
func isGuard(p *vnl.XfrmPolicy) bool {
	return p.Action == vnl.XFRM_POLICY_BLOCK && p.Priority == GuardPriority
}

// guards reports whether a policy lets no packet pass in clear.
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

// guardPolicies returns the two policies that make up the guard of a local address.
func guardPolicies(local netip.Addr) []*vnl.XfrmPolicy {
	host := &net.IPNet{IP: local.AsSlice(), Mask: net.CIDRMask(local.BitLen(), local.BitLen())}
	all := &net.IPNet{IP: make(net.IP, local.BitLen()/8), Mask: net.CIDRMask(0, local.BitLen())}
	policy := func(dir vnl.Dir, src, dst *net.IPNet) *vnl.XfrmPolicy {
		return &vnl.XfrmPolicy{
			Dir:      dir,
			Src:      src,
			Dst:      dst,
			Proto:    ProtocolGRE,
			Priority: GuardPriority,
			Action:   vnl.XFRM_POLICY_BLOCK,
		}
	}
	return []*vnl.XfrmPolicy{
		policy(vnl.XFRM_DIR_IN, all, host),
		policy(vnl.XFRM_DIR_OUT, host, all),
	}
}

// GuardedAddresses returns the local addresses that have a guard, or at least one of its policies.
// It returns none if the kernel has no IPsec.
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

// guardedBy returns the local address that a policy guards. It returns false if the policy is not
// one of a guard's two.
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
