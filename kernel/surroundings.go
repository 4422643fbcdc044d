package kernel

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Surroundings are what others on this host set up around a tunnel, and that keeps traffic from
// it or its peers.
type Surroundings struct {
	VRF     string       // that the tunnel is in; empty: none
	Turned  []netip.Addr // outer addresses whose route leads into a tunnel of this host, in place of the underlay
	Groups  []netip.Addr // multicast groups of routing protocols that a program on this host has joined on the tunnel
	Hops    []Hop        // routes over the tunnel whose next hop is a link-local address: at most maxHops, of different next hops
	Discard bool         // the tunnel drops packets that are larger than the path and have no DF, and tells nobody
}

// Hop is a route that no neighbour is known for.
type Hop struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
}

const maxHops = 8

// LookAround finds out the surroundings of a tunnel for sending to outer addresses. A device that
// is gone has none.
func LookAround(device string, outer []netip.Addr) (Surroundings, error) {
	r, err := rtnl.Open()
	if err != nil {
		return Surroundings{}, err
	}
	defer r.Close()
	tunnel, err := r.LinkByName(device)
	if err != nil || tunnel == nil {
		return Surroundings{}, err
	}
	s := Surroundings{Discard: tunnel.Kind == rtnl.KindGRE && tunnel.PMTUDisc}
	if tunnel.Master != 0 {
		master, err := r.LinkByIndex(tunnel.Master)
		if err != nil {
			return s, err
		}
		if master != nil && master.Kind == "vrf" {
			s.VRF = master.Name
		}
	}
	for _, a := range outer {
		turned, err := isTurned(r, tunnel, a)
		if err != nil {
			return s, err
		}
		if turned {
			s.Turned = append(s.Turned, a)
		}
	}
	if s.Hops, err = linkLocalHops(r, tunnel.Index); err != nil {
		return s, err
	}
	for _, file := range []string{"/proc/self/net/igmp", "/proc/self/net/igmp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a kernel without that family
		}
		s.Groups = append(s.Groups, routingGroups(string(text), device)...)
	}
	return s, nil
}

// isTurned reports whether the route that the tunnel's packets to an outer address take leads into
// a GRE tunnel: the kernel then drops them as a loop, and IKE is lost in it. An address without a
// route is not turned.
func isTurned(r *rtnl.Conn, tunnel *rtnl.Link, outer netip.Addr) (bool, error) {
	if !outer.Is4() || !tunnel.GRE.Local.Is4() || tunnel.GRE.Local.IsUnspecified() {
		return false, nil
	}
	head := make([]byte, rtnl.RouteHeaderLen)
	head[0], head[1], head[2] = unix.AF_INET, 32, 32
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, outer.AsSlice())
	attributes.Bytes(unix.RTA_SRC, tunnel.GRE.Local.AsSlice())
	if tunnel.GRE.Device != 0 && !tunnel.Elsewhere {
		attributes.Uint32(unix.RTA_OIF, uint32(tunnel.GRE.Device))
	}
	answers, err := r.Ask(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETROUTE}, Data: append(head, rtnl.Encode(attributes)...)})
	if _, refused := rtnl.Refusal(err); refused { // no route, or the local address is gone
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, m := range answers {
		route, ok := rtnl.ParseRoute(m)
		if !ok || len(route.Hops) == 0 {
			continue
		}
		way, err := r.LinkByIndex(route.Hops[0].Index)
		if err != nil || way == nil {
			return false, err
		}
		return way.IsNBMA(), nil
	}
	return false, nil
}

// linkLocalHops finds the routes by a device, of any table, whose next hop is a link-local
// address. IPv6 routing protocols make such routes. The kernel selects those of the device.
func linkLocalHops(r *rtnl.Conn, index int) ([]Hop, error) {
	head := make([]byte, rtnl.RouteHeaderLen)
	head[0] = unix.AF_INET6
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.RTA_OIF, uint32(index))
	messages, err := r.Dump(unix.RTM_GETROUTE, append(head, rtnl.Encode(attributes)...))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, rtnl.Explain(err, "read the routes by the tunnel")
	}
	var found []Hop
	for _, m := range messages {
		route, ok := rtnl.ParseRoute(m)
		if !ok || route.Cloned {
			continue
		}
		for _, h := range route.Hops {
			known := slices.ContainsFunc(found, func(f Hop) bool { return f.NextHop == h.Gateway })
			if h.Index == index && h.Gateway.IsLinkLocalUnicast() && !known && len(found) < maxHops {
				found = append(found, Hop{route.Prefix, h.Gateway})
			}
		}
	}
	return found, nil
}

// routing are the multicast groups of routing protocols: OSPF, RIP, EIGRP, PIM, Babel.
var routing = []netip.Addr{
	netip.MustParseAddr("224.0.0.5"), netip.MustParseAddr("224.0.0.6"), netip.MustParseAddr("224.0.0.9"),
	netip.MustParseAddr("224.0.0.10"), netip.MustParseAddr("224.0.0.13"), netip.MustParseAddr("224.0.0.111"),
	netip.MustParseAddr("ff02::5"), netip.MustParseAddr("ff02::6"), netip.MustParseAddr("ff02::9"),
	netip.MustParseAddr("ff02::a"), netip.MustParseAddr("ff02::d"), netip.MustParseAddr("ff02::1:6"),
}

// routingGroups reads /proc/net/igmp, where a line for the device is followed by lines for its
// groups, or /proc/net/igmp6, where each line has device and group. It returns the groups of
// routing protocols.
func routingGroups(text, device string) []netip.Addr {
	var groups []netip.Addr
	in := ""
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		group, found := "", false
		switch {
		case len(fields) < 2:
			continue
		case strings.HasPrefix(lines.Text(), "\t"):
			group, found = fields[0], in == device
		case len(fields[2%len(fields)]) == 32:
			group, found = fields[2], fields[1] == device
		default:
			in = strings.TrimSuffix(fields[1], ":")
		}
		if a, ok := groupAddress(group); ok && found && slices.Contains(routing, a) {
			groups = append(groups, a)
		}
	}
	return groups
}

// groupAddress reads a group's address: of IPv4 as a number in host byte order, of IPv6 as it is.
func groupAddress(text string) (netip.Addr, bool) {
	if len(text) == 8 {
		n, err := strconv.ParseUint(text, 16, 32)
		return netip.AddrFrom4([4]byte(binary.NativeEndian.AppendUint32(nil, uint32(n)))), err == nil
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(b)
}
