package xfrm

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Of several peers behind one NAT address, one may have an SA without a mark. The policy of that SA
// fits packets with any mark. So when the SA of a marked peer there ends, packets for the marked
// peer would go into the other one's SA, until the daemon knows of the end. The mark guard of the
// marked peer is a policy that blocks these packets.

// MarkGuardPriority is the priority of a mark guard. It comes after the policies of SAs with marks,
// and before those of SAs without. Package vici/profile gives the SAs their priorities.
const MarkGuardPriority = 950

// markGuardMask is the mask of the mark in a mark guard. The kernel holds one policy for a selector
// and a mark with its mask, and the policies of SAs have all bits in their mask. No mark of a peer
// has the highest bit.
const markGuardMask = math.MaxUint32 >> 1

// MarkGuard says which packets the mark guard of a marked peer blocks: GRE from Local to Outer that
// has the mark, unless an SA has the mark. The addresses are IPv4 addresses.
type MarkGuard struct {
	Local netip.Addr
	Outer netip.Addr // the outer address of the peer
	Mark  uint32
}

// SetMarkGuards sets mark guards. Those that are there stay as they are.
func SetMarkGuards(guards []MarkGuard) error {
	return WithHandle(func(h *vnl.Handle) error {
		var problems error
		for _, g := range guards {
			if err := h.XfrmPolicyUpdate(g.policy()); err != nil {
				problems = errors.Join(problems, rtnl.Explain(err,
					"set the policy that keeps packets for mark %d at %s apart", g.Mark, g.Outer))
			}
		}
		return problems
	})
}

// RemoveMarkGuards removes mark guards. It returns no error for those that are not there.
func RemoveMarkGuards(guards []MarkGuard) error {
	return WithHandle(func(h *vnl.Handle) error { return removeMarkGuards(h, guards) })
}

// removeMarkGuards is RemoveMarkGuards on a socket.
func removeMarkGuards(h *vnl.Handle, guards []MarkGuard) error {
	var problems error
	for _, g := range guards {
		if err := h.XfrmPolicyDel(g.policy()); err != nil && !errors.Is(err, unix.ENOENT) {
			problems = errors.Join(problems, rtnl.Explain(err,
				"remove the policy that keeps packets for mark %d at %s apart", g.Mark, g.Outer))
		}
	}
	return problems
}

// StaleMarkGuards returns the mark guards of a local address without an SA: none has their mark at
// their outer address.
func StaleMarkGuards(local netip.Addr) ([]MarkGuard, error) {
	var stale []MarkGuard
	err := WithHandle(func(h *vnl.Handle) error {
		policies, err := listPolicies(h, local)
		if err != nil {
			return err
		}
		secured := make(map[MarkGuard]bool)
		for i := range policies {
			if id, outer, ok := markedPeer(&policies[i], local); ok {
				mark, _ := MarkOf(id)
				secured[MarkGuard{local, outer, mark}] = true
			}
		}
		stale = slices.DeleteFunc(markGuards(policies, local),
			func(g MarkGuard) bool { return secured[g] })
		return nil
	})
	return stale, err
}

// removeAllMarkGuards removes the mark guards of a local address.
func removeAllMarkGuards(h *vnl.Handle, local netip.Addr) error {
	policies, err := listPolicies(h, local)
	if err != nil {
		return err
	}
	return removeMarkGuards(h, markGuards(policies, local))
}

// markGuards returns the mark guards of a local address that are among the policies.
func markGuards(policies []vnl.XfrmPolicy, local netip.Addr) []MarkGuard {
	var guards []MarkGuard
	for i := range policies {
		if g, ok := markGuardOf(&policies[i]); ok && g.Local == local {
			guards = append(guards, g)
		}
	}
	return guards
}

// listPolicies lists the kernel's IPsec policies of the IP version of an address.
func listPolicies(h *vnl.Handle, local netip.Addr) ([]vnl.XfrmPolicy, error) {
	h.SetSocketTimeout(rtnl.ReadTimeout)
	policies, err := h.XfrmPolicyList(int(rtnl.Family(local)))
	if err != nil {
		return nil, rtnl.Explain(err, "read the IPsec policies")
	}
	return policies, nil
}

// policy returns the kernel's policy of a mark guard.
func (g MarkGuard) policy() *vnl.XfrmPolicy {
	host := func(a netip.Addr) *net.IPNet {
		return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
	}
	return &vnl.XfrmPolicy{
		Dir:      vnl.XFRM_DIR_OUT,
		Src:      host(g.Local),
		Dst:      host(g.Outer),
		Proto:    ProtocolGRE,
		Mark:     &vnl.XfrmMark{Value: g.Mark, Mask: markGuardMask},
		Priority: MarkGuardPriority,
		Action:   vnl.XFRM_POLICY_BLOCK,
	}
}

// markGuardOf returns the mark guard that a policy is. It returns false if it is none.
func markGuardOf(p *vnl.XfrmPolicy) (MarkGuard, bool) {
	if p.Dir != vnl.XFRM_DIR_OUT || p.Action != vnl.XFRM_POLICY_BLOCK || p.Proto != ProtocolGRE ||
		p.Priority != MarkGuardPriority || p.Mark == nil || p.Mark.Mask != markGuardMask ||
		p.Src == nil || p.Dst == nil || !isHost(p.Src) || !isHost(p.Dst) {
		return MarkGuard{}, false
	}
	return MarkGuard{addrFrom(p.Src.IP), addrFrom(p.Dst.IP), p.Mark.Value}, true
}
