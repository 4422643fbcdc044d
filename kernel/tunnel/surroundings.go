package tunnel

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

// Surroundings are what the administrator and other programs set up around a tunnel on this host,
// and what may keep traffic away from the tunnel or its peers.
type Surroundings struct {
	VRF VRF // the VRF that the tunnel is in; the zero value: none

	// Turned holds the outer addresses whose route leads into a GRE tunnel of this host.
	Turned []Turned

	// Groups holds the multicast groups of routing protocols that a program on this host has joined
	// on the tunnel.
	Groups []netip.Addr

	// Hops holds routes over the tunnel whose next hop is a link-local address. There are at most
	// maxHops of them, each with another next hop.
	Hops []Hop

	// Discard says that the tunnel drops packets without DF that are larger than the path, without
	// a message to the sender.
	Discard bool
}

// Hop is a route whose next hop is a link-local address.
type Hop struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
}

const maxHops = 8

// FindSurroundings returns the surroundings of a tunnel with that underlay. outer holds the outer
// addresses to which the tunnel sends. If the device is gone, FindSurroundings returns empty
// Surroundings.
func FindSurroundings(
	device string, underlay UnderlayConfig, outer []netip.Addr,
) (Surroundings, error) {
	r, err := rtnl.Open()
	if err != nil {
		return Surroundings{}, err
	}
	defer r.Close()
	tunnel, err := r.LinkByName(device)
	if err != nil || tunnel == nil {
		return Surroundings{}, err
	}
	s := Surroundings{Discard: tunnel.GRE.OuterDF == rtnl.OuterDFAlways}
	if s.VRF, err = vrfAround(r, tunnel); err != nil {
		return s, err
	}
	if s.Turned, err = findTurned(r, tunnel, localsOf(r, tunnel, underlay), outer); err != nil {
		return s, err
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

// linkLocalHops finds the routes over a device, in any table, whose next hop is a link-local
// address. IPv6 routing protocols make such routes. It asks the kernel only for routes over the
// device.
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
			if h.Index == index && h.Gateway.IsLinkLocalUnicast() &&
				!known && len(found) < maxHops {
				found = append(found, Hop{route.Prefix, h.Gateway})
			}
		}
	}
	return found, nil
}

// routing holds the multicast groups of routing protocols, IPv4 and IPv6.
var routing = []netip.Addr{
	netip.MustParseAddr("224.0.0.5"), netip.MustParseAddr("224.0.0.6"), // OSPF
	netip.MustParseAddr("224.0.0.9"),                               // RIP
	netip.MustParseAddr("224.0.0.10"),                              // EIGRP
	netip.MustParseAddr("224.0.0.13"),                              // PIM
	netip.MustParseAddr("224.0.0.111"),                             // Babel
	netip.MustParseAddr("ff02::5"), netip.MustParseAddr("ff02::6"), // OSPF
	netip.MustParseAddr("ff02::9"),   // RIP
	netip.MustParseAddr("ff02::a"),   // EIGRP
	netip.MustParseAddr("ff02::d"),   // PIM
	netip.MustParseAddr("ff02::1:6"), // Babel
}

// routingGroups returns the multicast groups of routing protocols that are joined on a device. text
// has the format of /proc/net/igmp, where lines for the groups follow a line for their device, or
// of /proc/net/igmp6, where each line has a device and a group.
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

// groupAddress reads the address of a group in hexadecimal. An IPv4 address is a number in host
// byte order; an IPv6 address is in network byte order.
func groupAddress(text string) (netip.Addr, bool) {
	if len(text) == 8 {
		n, err := strconv.ParseUint(text, 16, 32)
		return netip.AddrFrom4(
			[4]byte(binary.NativeEndian.AppendUint32(nil, uint32(n)))), err == nil
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(b)
}
