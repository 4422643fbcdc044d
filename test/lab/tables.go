package lab

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// neighbor is an entry of a node's neighbour table, as ip shows it.
type neighbor struct {
	Dst    netip.Addr `json:"dst"`
	LLAddr string     `json:"lladdr"` // on a GRE device the NBMA address
	State  []string   `json:"state"`
}

// Neighbors lists the neighbours on a tunnel with their NBMA addresses; none when there is no such device.
func (n *Node) Neighbors(device string) map[netip.Addr]netip.Addr {
	n.net.Helper()
	table := map[netip.Addr]netip.Addr{}
	if !n.HasDevice(device) {
		return table
	}
	var list []neighbor
	n.RunJSON(&list, "ip", "-j", "neigh", "show", "nud", "all", "dev", device)
	for _, e := range list {
		if nbma, err := netip.ParseAddr(e.LLAddr); err == nil && !e.Dst.IsMulticast() {
			table[e.Dst] = nbma
		}
	}
	return table
}

// Route is a route of a node's main table, as ip shows it.
type Route struct {
	Dst      string     `json:"dst"`
	Gateway  netip.Addr `json:"gateway"`
	Device   string     `json:"dev"`
	Protocol string     `json:"protocol"`
	Metric   int        `json:"metric"`
}

// Routes lists the routes of the main table to or inside a prefix.
func (n *Node) Routes(inside string) []Route {
	n.net.Helper()
	var list []Route
	n.RunJSON(&list, "ip", "-j", "route", "show", "root", inside)
	return list
}

// NextHop is the gateway that the kernel uses for a destination; the zero address where it is on the link or has no route.
func (n *Node) NextHop(dst netip.Addr) netip.Addr {
	n.net.Helper()
	out, err := n.Try("ip", "-o", "route", "get", dst.String())
	if err != nil {
		return netip.Addr{}
	}
	words := strings.Fields(out)
	for i, w := range words[:len(words)-1] {
		if w == "via" {
			a, _ := netip.ParseAddr(words[i+1])
			return a
		}
	}
	return netip.Addr{}
}

// HasDevice says whether the node has a network device of that name.
func (n *Node) HasDevice(name string) bool {
	_, err := n.Try("ip", "link", "show", name)
	return err == nil
}

// XfrmState is an IPsec SA of the kernel.
type XfrmState struct {
	Src, Dst  netip.Addr
	SPI       uint32
	Transport bool
	Packets   uint64
}

// XfrmStates lists the kernel's ESP SAs of the node.
func (n *Node) XfrmStates() []XfrmState {
	n.net.Helper()
	var list []XfrmState
	err := n.xfrm(func(h *netlink.Handle) error {
		states, err := h.XfrmStateList(unix.AF_UNSPEC)
		for _, s := range states {
			src, _ := netip.AddrFromSlice(s.Src)
			dst, _ := netip.AddrFromSlice(s.Dst)
			list = append(list, XfrmState{Src: src.Unmap(), Dst: dst.Unmap(), SPI: uint32(s.Spi),
				Transport: s.Mode == netlink.XFRM_MODE_TRANSPORT, Packets: s.Statistics.Packets})
		}
		return err
	})
	if err != nil {
		n.net.Fatalf("%s: list the kernel's SAs: %v", n.Name, err)
	}
	return list
}

// ESPBetween counts the packets of the kernel's SAs from one address to another.
func (n *Node) ESPBetween(src, dst netip.Addr) uint64 {
	n.net.Helper()
	var packets uint64
	for _, s := range n.XfrmStates() {
		if s.Src == src && s.Dst == dst {
			packets += s.Packets
		}
	}
	return packets
}

func (n *Node) xfrm(f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(n.ns.Fd()), unix.NETLINK_XFRM)
	if err != nil {
		return err
	}
	defer h.Close()
	return f(h)
}

// XfrmStat is one of the kernel's IPsec counters of the node, such as XfrmOutPolBlock.
func (n *Node) XfrmStat(name string) int {
	n.net.Helper()
	for line := range strings.Lines(n.Run("cat", "/proc/net/xfrm_stat")) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			count, err := strconv.Atoi(fields[1])
			if err != nil {
				n.net.Fatalf("%s: %v", n.Name, err)
			}
			return count
		}
	}
	n.net.Fatalf("%s: the kernel has no counter %s", n.Name, name)
	return 0
}

// Guards lists the block policies for GRE of the node.
func (n *Node) Guards() []netlink.XfrmPolicy {
	n.net.Helper()
	var list []netlink.XfrmPolicy
	err := n.xfrm(func(h *netlink.Handle) error {
		policies, err := h.XfrmPolicyList(unix.AF_UNSPEC)
		for _, p := range policies {
			if p.Action == netlink.XFRM_POLICY_BLOCK && p.Proto == unix.IPPROTO_GRE {
				list = append(list, p)
			}
		}
		return err
	})
	if err != nil {
		n.net.Fatalf("%s: list the kernel's IPsec policies: %v", n.Name, err)
	}
	return list
}

// RemoveGuards deletes the block policies for GRE behind the daemon's back.
func (n *Node) RemoveGuards() {
	n.net.Helper()
	guards := n.Guards()
	err := n.xfrm(func(h *netlink.Handle) error {
		for _, p := range guards {
			if err := h.XfrmPolicyDel(&p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		n.net.Fatalf("%s: delete the block policies: %v", n.Name, err)
	}
}
