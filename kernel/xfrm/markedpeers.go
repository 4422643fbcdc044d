package xfrm

import (
	"math"
	"net/netip"

	vnl "github.com/vishvananda/netlink"
)

// MarkedPeers reads from the kernel's IPsec policies to which marked peers the local address can
// send GRE. It maps the MarkedNBMA address of each of them to its outer address.
func MarkedPeers(local netip.Addr) (map[netip.Addr]netip.Addr, error) {
	peers := make(map[netip.Addr]netip.Addr)
	err := WithHandle(func(h *vnl.Handle) error {
		policies, err := listPolicies(h, local)
		if err != nil {
			return err
		}
		for i := range policies {
			if id, outer, ok := markedPeer(&policies[i], local); ok {
				peers[id] = outer
			}
		}
		return nil
	})
	return peers, err
}

// markedPeer returns the MarkedNBMA address and the outer address of the marked peer that a policy
// is for. It returns false if the policy is not one that sends GRE from local to a marked peer.
func markedPeer(p *vnl.XfrmPolicy, local netip.Addr) (id, outer netip.Addr, ok bool) {
	if p.Dir != vnl.XFRM_DIR_OUT || p.Proto != ProtocolGRE && p.Proto != 0 || len(p.Tmpls) == 0 {
		return id, outer, false
	}
	if p.Mark == nil || p.Mark.Mask != math.MaxUint32 ||
		p.Src == nil || p.Dst == nil || !isHost(p.Src) || !isHost(p.Dst) {
		return id, outer, false
	}
	id, outer = MarkedNBMA(p.Mark.Value), addrFrom(p.Dst.IP)
	return id, outer, addrFrom(p.Src.IP) == local && id.IsValid() && outer.Is4()
}
