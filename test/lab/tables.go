package lab

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Neighbors returns the NBMA addresses of the neighbours on a tunnel, by overlay address. It
// returns none if the node has no such device. For a neighbour at an IPv6 address, it returns the
// one to which the device for the neighbour's name sends.
func (n *Node) Neighbors(device string) map[netip.Addr]netip.Addr {
	n.net.Helper()
	table := map[netip.Addr]netip.Addr{}
	err := n.netlink(unix.NETLINK_ROUTE, func(h *netlink.Handle) error {
		link, err := h.LinkByName(device)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err != nil {
			return err
		}
		clear(table)
		list, err := h.NeighList(link.Attrs().Index, unix.AF_UNSPEC)
		for _, e := range list {
			dst, _ := netip.AddrFromSlice(e.IP)
			nbma := e.LLIPAddr // on a GRE device the link-layer address is the NBMA address
			if nbma == nil && len(e.HardwareAddr) > 0 {
				nbma = net.IP(e.HardwareAddr)
			}
			at, ok := netip.AddrFromSlice(nbma)
			if ok && !dst.Unmap().IsMulticast() {
				table[dst.Unmap()] = linkedTo(h, link.Attrs().Index, at.Unmap())
			}
		}
		return err
	})
	if err != nil {
		n.net.Fatalf("%s: list the neighbours on %s: %v", n.Name, device, err)
	}
	return table
}

// linkedTo returns the address to which the device of a tunnel sends that is for a neighbour's name
// in 0.254.0.0/16. It returns any other address as it is, and a name without a device too.
func linkedTo(h *netlink.Handle, device int, nbma netip.Addr) netip.Addr {
	b := nbma.As4()
	if b[0] != 0 || b[1] != 254 {
		return nbma
	}
	links, err := h.LinkList()
	if err != nil {
		return nbma
	}
	for _, l := range links {
		tunnel, is := l.(*netlink.Gretun)
		name := fmt.Sprintf("cyg6-%02x%02x-%d", b[2], b[3], device)
		if !is || l.Attrs().Name != name {
			continue
		}
		if remote, ok := netip.AddrFromSlice(tunnel.Remote); ok {
			return remote
		}
	}
	return nbma
}

// Route is a route of a node, in the notation of iproute2.
type Route struct {
	Dst      string // "default", a prefix, or the address of a host route
	Gateway  netip.Addr
	Device   string
	Protocol string
	Metric   int
	MTU      int // 0: none of its own
}

// Routes lists the routes of the main table, or of the node's VRF, whose destination is a prefix or
// lies inside it.
func (n *Node) Routes(inside string) []Route {
	n.net.Helper()
	within := addr(n.net, inside)
	var list []Route
	err := n.netlink(unix.NETLINK_ROUTE, func(h *netlink.Handle) error {
		devices, err := deviceNames(h)
		if err != nil {
			return err
		}
		family := netlink.FAMILY_V4
		if within.Addr().Is6() {
			family = netlink.FAMILY_V6
		}
		table := &netlink.Route{Table: cmp.Or(n.vrf.table, unix.RT_TABLE_MAIN)}
		routes, err := h.RouteListFiltered(family, table, netlink.RT_FILTER_TABLE)
		list = nil
		for _, r := range routes {
			if r.Type != unix.RTN_UNICAST {
				continue // the table of a VRF has its local routes, too
			}
			dst := destination(&r, within.Addr().Is6())
			if dst.Bits() < within.Bits() || !within.Contains(dst.Addr()) {
				continue
			}
			gateway, _ := netip.AddrFromSlice(r.Gw)
			device := devices[r.LinkIndex]
			list = append(list, Route{
				notation(dst), gateway.Unmap(), device, r.Protocol.String(), r.Priority, r.MTU,
			})
		}
		return err
	})
	if err != nil {
		n.net.Fatalf("%s: list the routes inside %s: %v", n.Name, inside, err)
	}
	return list
}

// deviceNames returns the names of all devices by their index.
func deviceNames(h *netlink.Handle) (map[int]string, error) {
	links, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names, nil
}

// destination returns a route's prefix. The kernel leaves out the prefix of a default route; six
// says that such a route is one of IPv6.
func destination(r *netlink.Route, six bool) netip.Prefix {
	if r.Dst == nil {
		zero := netip.IPv4Unspecified()
		if six {
			zero = netip.IPv6Unspecified()
		}
		return netip.PrefixFrom(zero, 0)
	}
	ip, _ := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits)
}

// notation returns a destination as iproute2 writes it.
func notation(dst netip.Prefix) string {
	switch dst.Bits() {
	case 0:
		return "default"
	case dst.Addr().BitLen():
		return dst.Addr().String()
	}
	return dst.String()
}

// NextHop returns the gateway that the kernel uses for a destination, in the node's VRF if it has
// one. It returns the zero address
// if the destination is on the link or no route leads to it.
func (n *Node) NextHop(dst netip.Addr) netip.Addr {
	n.net.Helper()
	var gateway netip.Addr
	err := n.netlink(unix.NETLINK_ROUTE, func(h *netlink.Handle) error {
		routes, err := h.RouteGetWithOptions(dst.AsSlice(),
			&netlink.RouteGetOptions{VrfName: n.vrf.name})
		for _, r := range routes {
			gateway, _ = netip.AddrFromSlice(r.Gw)
		}
		return err
	})
	if err != nil {
		return netip.Addr{} // taken as no route: the kernel has several errors for that
	}
	return gateway.Unmap()
}

// HasDevice reports whether the node has a network device of that name.
func (n *Node) HasDevice(name string) bool {
	n.net.Helper()
	has, _ := n.device(name)
	return has
}

// IsUp reports whether the node has a network device of that name, and it is up, so that it takes
// routes.
func (n *Node) IsUp(name string) bool {
	n.net.Helper()
	_, up := n.device(name)
	return up
}

// device reports whether the node has a network device, and whether that is up.
func (n *Node) device(name string) (has, up bool) {
	n.net.Helper()
	err := n.netlink(unix.NETLINK_ROUTE, func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err == nil {
			has, up = true, l.Attrs().Flags&net.FlagUp != 0
		}
		return err
	})
	if err != nil {
		n.net.Fatalf("%s: look for device %s: %v", n.Name, name, err)
	}
	return has, up
}

// XfrmState is an ESP state of the kernel: one direction of an IPsec SA.
type XfrmState struct {
	Src, Dst  netip.Addr
	SPI       uint32
	Transport bool
	Packets   uint64
	Bytes     uint64
}

// XfrmStates lists the ESP states of the node's kernel.
func (n *Node) XfrmStates() []XfrmState {
	n.net.Helper()
	var list []XfrmState
	err := n.xfrm(func(h *netlink.Handle) error {
		list = nil
		states, err := h.XfrmStateList(unix.AF_UNSPEC)
		for _, s := range states {
			src, _ := netip.AddrFromSlice(s.Src)
			dst, _ := netip.AddrFromSlice(s.Dst)
			list = append(list, XfrmState{
				Src:       src.Unmap(),
				Dst:       dst.Unmap(),
				SPI:       uint32(s.Spi),
				Transport: s.Mode == netlink.XFRM_MODE_TRANSPORT,
				Packets:   s.Statistics.Packets,
				Bytes:     s.Statistics.Bytes,
			})
		}
		return err
	})
	if err != nil {
		n.net.Fatalf("%s: list the kernel's SAs: %v", n.Name, err)
	}
	return list
}

// ESPBetween returns how many packets the kernel's ESP states from one address to another have
// carried.
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

// xfrm runs f with a socket of the kernel's IPsec tables. It is netlink for that family.
func (n *Node) xfrm(f func(*netlink.Handle) error) error { return n.netlink(unix.NETLINK_XFRM, f) }

// netlink runs f with a netlink socket in the node's network namespace, and returns f's error. If
// the table changed during a dump, netlink runs f again, up to ten times. In user-mode Linux,
// starting iproute2 to read a table costs some hundred times as much.
func (n *Node) netlink(family int, f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(n.ns.Fd()), family)
	if err != nil {
		return err
	}
	defer h.Close()
	for range 10 {
		if err = f(h); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// XfrmStat returns one of the IPsec counters of the node's kernel, such as XfrmOutPolBlock.
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

// Guards lists the IPsec policies of the node that block GRE.
func (n *Node) Guards() []netlink.XfrmPolicy {
	n.net.Helper()
	var list []netlink.XfrmPolicy
	err := n.xfrm(func(h *netlink.Handle) error {
		list = nil
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

// RemoveGuards deletes the IPsec policies that block GRE without telling the daemon.
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
