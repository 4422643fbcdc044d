package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoRoute is wrapped by the error of Lookup if no route leads to the destination, or one that
// makes it unreachable.
var ErrNoRoute = errors.New("no route")

// Lookup asks the kernel by which route it sends a packet of this host to an address now. vrf is
// the index of the VRF whose table counts; 0: the host's own. The route has the one next hop that
// the kernel chose. Without RTM_F_FIB_MATCH the kernel would answer with the address alone instead
// of the route, so Lookup asks twice.
func (r *Conn) Lookup(dest netip.Addr, vrf int) (KernelRoute, error) {
	return r.LookupFrom(dest, netip.Addr{}, vrf)
}

// LookupFrom is Lookup for a packet that has a source address already.
func (r *Conn) LookupFrom(dest, source netip.Addr, vrf int) (KernelRoute, error) {
	matched, err := r.lookup(dest, source, vrf, unix.RTM_F_FIB_MATCH|unix.RTM_F_LOOKUP_TABLE)
	if err != nil {
		return KernelRoute{}, err
	}
	chosen, err := r.lookup(dest, source, vrf, unix.RTM_F_LOOKUP_TABLE)
	if err != nil {
		return KernelRoute{}, err
	}
	matched.Hops = chosen.Hops
	return matched, nil
}

func (r *Conn) lookup(
	dest, source netip.Addr, vrf int, flags uint32,
) (KernelRoute, error) {
	head := make([]byte, RouteHeaderLen)
	head[0], head[1] = Family(dest), byte(dest.BitLen())
	if dest.Is6() {
		// IPv6 names the table of a route in any case, and takes no request for that
		// (inet6_rtm_valid_getroute_req).
		flags &^= unix.RTM_F_LOOKUP_TABLE
	}
	binary.NativeEndian.PutUint32(head[8:], flags)
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, dest.AsSlice())
	if source.IsValid() {
		head[2] = byte(source.BitLen())
		attributes.Bytes(unix.RTA_SRC, source.AsSlice())
	}
	if vrf != 0 {
		attributes.Uint32(unix.RTA_OIF, uint32(vrf))
	}
	answers, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE},
		Data:   append(head, Encode(attributes)...),
	})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH),
		errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		var said unix.Errno
		errors.As(err, &said)
		return KernelRoute{}, fmt.Errorf("%w to %s: the kernel says: %w", ErrNoRoute, dest, said)
	case err != nil:
		return KernelRoute{}, fmt.Errorf("ask the kernel for the route to %s: %w", dest, err)
	}
	for _, m := range answers {
		if found, ok := ParseRoute(m); ok && len(found.Hops) > 0 {
			return found, nil
		}
	}
	return KernelRoute{}, fmt.Errorf("ask the kernel for the route to %s: it gave none", dest)
}
