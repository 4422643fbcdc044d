package tunnel

import (
	"encoding/binary"
	"net/netip"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Turned is an outer address whose route leads into a GRE tunnel of this host instead of the
// underlay. The kernel drops the tunnel's packets to it as a loop, and IKE does not reach it.
type Turned struct {
	Outer  netip.Addr
	Device string // the tunnel that the route leads into

	// The route. The prefix is not valid if the kernel does not tell the route (before Linux 4.13).
	Prefix netip.Prefix
	By     string // who put the route there, in words
}

// localsOf returns the addresses that a tunnel with that underlay sends from: the IPv4 address of
// the link, and the IPv6 address from which the links of its peers send.
func localsOf(r *rtnl.Conn, tunnel *rtnl.Link, c UnderlayConfig) rtnl.Underlay {
	locals := rtnl.Underlay{V6: c.Local6}
	if c.Device != "" { // without an address there is nothing to look at
		found, _ := r.UnderlayAddresses(c.Device, rtnl.Underlay{})
		locals.V6 = found.V6
	}
	if local := tunnel.GRE.Local; local.Is4() && !local.IsUnspecified() && local != Unused {
		locals.V4 = local
	}
	return locals
}

// findTurned returns the outer addresses whose route from the tunnel's addresses leads into a GRE
// tunnel with many peers, with the routes. It leaves out addresses without a route.
func findTurned(
	r *rtnl.Conn, tunnel *rtnl.Link, locals rtnl.Underlay, outer []netip.Addr,
) ([]Turned, error) {
	var all []Turned
	for _, a := range outer {
		local := locals.V4
		if a.Is6() {
			local = locals.V6
		}
		if !local.IsValid() {
			continue
		}
		route, ok, err := wayTo(r, tunnel, local, a, 0)
		if err != nil {
			return all, err
		}
		if !ok {
			continue
		}
		into, err := r.LinkByIndex(route.Hops[0].Index)
		if err != nil {
			return all, err
		}
		if into == nil || !into.IsNBMA() {
			continue
		}
		found := Turned{Outer: a, Device: into.Name}
		// Without the flag the answer is about the address, and no protocol made it.
		match, ok, err := wayTo(r, tunnel, local, a, unix.RTM_F_FIB_MATCH)
		if err == nil && ok && match.Protocol != unix.RTPROT_UNSPEC {
			found.Prefix, found.By = match.Prefix, rtnl.Maker(match.Protocol)
		}
		all = append(all, found)
	}
	return all, nil
}

// wayTo asks the kernel for the route that the tunnel's packets from a local address take to an
// outer address. It returns false if there is none, or if the tunnel's own address is gone.
func wayTo(
	r *rtnl.Conn, tunnel *rtnl.Link, local, outer netip.Addr, flags uint32,
) (route rtnl.KernelRoute, ok bool, err error) {
	head := make([]byte, rtnl.RouteHeaderLen)
	bits := byte(outer.BitLen())
	head[0], head[1], head[2] = rtnl.Family(outer), bits, bits
	binary.NativeEndian.PutUint32(head[8:], flags)
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, outer.AsSlice())
	attributes.Bytes(unix.RTA_SRC, local.AsSlice())
	if tunnel.GRE.Device != 0 && !tunnel.Elsewhere {
		attributes.Uint32(unix.RTA_OIF, uint32(tunnel.GRE.Device))
	}
	answers, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE},
		Data:   append(head, rtnl.Encode(attributes)...),
	})
	if _, refused := rtnl.Refusal(err); refused {
		return route, false, nil
	}
	for _, m := range answers {
		if route, ok := rtnl.ParseRoute(m); ok && len(route.Hops) > 0 {
			return route, true, err
		}
	}
	return route, false, err
}
