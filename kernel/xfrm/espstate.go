package xfrm

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"cygnet/kernel/rtnl"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ESPState is one direction of a CHILD_SA in the kernel.
type ESPState struct {
	Src      netip.Addr
	Dst      netip.Addr
	SPI      uint32
	ReqID    uint32
	Mark     uint32    // that packets need for this state to apply to them
	MarkMask uint32    // which bits of Mark count; 0: the state has no mark
	SetMark  uint32    // mark that the kernel sets on packets which came through the state; 0: none
	Added    time.Time // when the state was added, by the kernel's clock
	Bytes    uint64    // how many bytes passed through the state
	Packets  uint64    // how many packets passed through the state
	InUDP    bool      // ESP travels in UDP (RFC 3948)

	// GRE reports whether the state may carry a tunnel of the daemon's. Such a state has transport
	// mode and a selector from host to host, for GRE or for any protocol; strongSwan installs the
	// latter by default. A state whose SA is still under negotiation has no such selector yet.
	GRE bool

	// Tunnel reports whether the state has tunnel mode. Such a state may carry anything.
	Tunnel bool
}

// ESPStates lists all ESP states from and to the local address, including those that do not belong
// to a tunnel of the daemon's.
func ESPStates(local netip.Addr) ([]ESPState, error) {
	var list []ESPState
	err := WithHandle(func(h *vnl.Handle) error {
		h.SetSocketTimeout(rtnl.ReadTimeout)
		states, err := h.XfrmStateList(int(rtnl.Family(local)))
		if err != nil {
			return rtnl.Explain(err, "read the IPsec states")
		}
		for i := range states {
			s := espState(&states[i])
			if states[i].Proto == vnl.XFRM_PROTO_ESP && (s.Src == local || s.Dst == local) {
				list = append(list, s)
			}
		}
		return nil
	})
	return list, err
}

// DeleteStates deletes states that ESPStates listed. A state that is gone already is no error.
func DeleteStates(states []ESPState) error {
	return WithHandle(func(h *vnl.Handle) error {
		var problems error
		for _, s := range states {
			id := &vnl.XfrmState{
				Src:   s.Src.AsSlice(),
				Dst:   s.Dst.AsSlice(),
				Proto: vnl.XFRM_PROTO_ESP,
				Spi:   int(s.SPI),
			}
			if s.MarkMask != 0 {
				id.Mark = &vnl.XfrmMark{Value: s.Mark, Mask: s.MarkMask}
			}
			if err := h.XfrmStateDel(id); err != nil && !errors.Is(err, unix.ESRCH) {
				problems = errors.Join(problems, rtnl.Explain(err,
					"delete the ESP state %s to %s, SPI %08x", s.Src, s.Dst, s.SPI))
			}
		}
		return problems
	})
}

// espState converts a state as netlink has it.
func espState(s *vnl.XfrmState) ESPState {
	e := ESPState{
		Src:     addrFrom(s.Src),
		Dst:     addrFrom(s.Dst),
		SPI:     uint32(s.Spi),
		ReqID:   uint32(s.Reqid),
		Added:   time.Unix(int64(s.Statistics.AddTime), 0),
		Bytes:   s.Statistics.Bytes,
		Packets: s.Statistics.Packets,
		InUDP:   s.Encap != nil,
		GRE:     carriesGRE(s),
		Tunnel:  s.Mode == vnl.XFRM_MODE_TUNNEL,
	}
	if s.Mark != nil {
		e.Mark, e.MarkMask = s.Mark.Value, s.Mark.Mask
	}
	if s.OutputMark != nil {
		e.SetMark = s.OutputMark.Value
	}
	return e
}

// carriesGRE reports whether a state may carry a tunnel of the daemon's: see ESPState.GRE.
func carriesGRE(s *vnl.XfrmState) bool {
	sel := s.Selector
	if s.Proto != vnl.XFRM_PROTO_ESP || s.Mode != vnl.XFRM_MODE_TRANSPORT || s.Spi == 0 {
		return false
	}
	return (sel.Proto == ProtocolGRE || sel.Proto == 0) && isHost(sel.Src) && isHost(sel.Dst)
}

// isHost reports whether a network is a single address.
func isHost(n *net.IPNet) bool {
	ones, bits := n.Mask.Size()
	return ones == bits
}

// addrFrom converts an address as netlink has it. It returns the zero address for none.
func addrFrom(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
