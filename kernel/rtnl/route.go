package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Route is a route over a tunnel device.
type Route struct {
	Device  string
	Prefix  netip.Prefix // without host bits
	NextHop netip.Addr   // an overlay address, of the prefix's family; zero: directly on the device
	Table   uint32       // 0: main

	// Metric orders the routes of one prefix. A route with metric 0 comes before every other route
	// of the prefix, even before one with metric 0 that was there earlier.
	Metric uint32

	// MTU is the longest packet that the route takes, in bytes; 0: that of the device.
	MTU uint32
}

// Way is where a route leads, and what fits through: the part of a route that may change while it
// stays the same route.
type Way struct {
	NextHop netip.Addr
	MTU     uint32
}

// Way returns where the route leads.
func (r Route) Way() Way { return Way{r.NextHop, r.MTU} }

// String returns the route in words, for messages.
func (r Route) String() string {
	via := ""
	if r.NextHop.IsValid() {
		via = " via " + r.NextHop.String()
	}
	return fmt.Sprintf("route %s%s on %s (table %d, metric %d)",
		r.Prefix, via, r.Device, r.Table, r.Metric)
}

// RouteKey identifies a wanted route. If the route is wanted another way, the new way replaces the
// old one.
type RouteKey struct {
	Device string
	Prefix netip.Prefix
	Table  uint32
	Metric uint32
}

// Key returns the key that identifies the wanted route: all of it but its way.
func (r Route) Key() RouteKey { return RouteKey{r.Device, r.Prefix, r.Table, r.Metric} }

// By returns the route with this key and way.
func (k RouteKey) By(w Way) Route {
	return Route{
		Device:  k.Device,
		Prefix:  k.Prefix,
		NextHop: w.NextHop,
		MTU:     w.MTU,
		Table:   k.Table,
		Metric:  k.Metric,
	}
}

// Normal replaces zero values by the values that the kernel shows for them, so that wanted routes
// can be compared with routes read from the kernel. In IPv6, routes of the same metric have no
// order (the kernel spreads packets over them), and the kernel takes metric 0 for 1024. A route
// that has to come first therefore gets metric 1 there.
func (r Route) Normal() Route {
	r.Prefix = r.Prefix.Masked()
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Metric == 0 && r.Prefix.Addr().Is6() {
		r.Metric = 1
	}
	return r
}

// RouteHeaderLen is the size in bytes of struct rtmsg, which the attributes follow.
const RouteHeaderLen = 12

// AddRoute returns the message that puts a route before the other routes of the same prefix and
// metric (`ip route prepend`). The next hop has the flag onlink, since it need not lie within the
// device's own prefix.
func AddRoute(r Route, index int) netlink.Message {
	m := routeMessage(unix.RTM_NEWROUTE, r, index)
	m.Header.Flags = netlink.Create
	return m
}

// DeleteRoute returns the message that removes a route of the daemon's. If r has no next hop, the
// message removes the first of the daemon's routes with that key.
func DeleteRoute(r Route, index int) netlink.Message {
	return routeMessage(unix.RTM_DELROUTE, r, index)
}

// routeMessage returns a message of the given type about a route over the link with this index.
func routeMessage(kind netlink.HeaderType, r Route, index int) netlink.Message {
	head := make([]byte, RouteHeaderLen, 64)
	head[0] = Family(r.Prefix.Addr())
	head[1] = byte(r.Prefix.Bits())
	if r.Table < 256 {
		head[4] = byte(r.Table)
	}
	head[5] = Protocol
	head[6] = unix.RT_SCOPE_UNIVERSE
	head[7] = unix.RTN_UNICAST
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, r.Prefix.Addr().AsSlice())
	attributes.Uint32(unix.RTA_OIF, uint32(index))
	attributes.Uint32(unix.RTA_TABLE, r.Table)
	if r.Metric != 0 {
		attributes.Uint32(unix.RTA_PRIORITY, r.Metric)
	}
	if r.MTU != 0 && kind == unix.RTM_NEWROUTE {
		attributes.Nested(unix.RTA_METRICS, func(metrics *netlink.AttributeEncoder) error {
			metrics.Uint32(unix.RTAX_MTU, r.MTU)
			return nil
		})
	}
	switch {
	case r.NextHop.IsValid():
		attributes.Bytes(unix.RTA_GATEWAY, r.NextHop.AsSlice())
		binary.NativeEndian.PutUint32(head[8:], unix.RTNH_F_ONLINK)
	case kind == unix.RTM_DELROUTE:
		head[6] = unix.RT_SCOPE_NOWHERE // any
	case r.Prefix.Addr().Is4():
		head[6] = unix.RT_SCOPE_LINK
	}
	return netlink.Message{
		Header: netlink.Header{Type: kind},
		Data:   append(head, Encode(attributes)...),
	}
}

// OwnRoutes reads the routes with the protocol number Protocol, in all tables; links names the
// devices.
func (r *Conn) OwnRoutes(links Links) ([]Route, error) {
	var routes []Route
	for _, f := range []byte{unix.AF_INET, unix.AF_INET6} {
		messages, err := r.Routes(f, 0, Protocol)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			read, ok := ParseRoute(m)
			if !ok || read.Protocol != Protocol || read.Cloned {
				continue
			}
			for _, hop := range read.Hops {
				routes = append(routes, Route{
					Device:  links.Name(hop.Index),
					Prefix:  read.Prefix,
					NextHop: hop.Gateway,
					Table:   read.Table,
					Metric:  read.Metric,
					MTU:     read.MTU,
				})
			}
		}
	}
	return routes, nil
}

// Routes reads the routes of a family. If table or protocol is not 0, the kernel returns only
// routes of that table or protocol. A table that does not exist counts as empty.
func (r *Conn) Routes(family byte, table uint32, protocol byte) ([]netlink.Message, error) {
	head := make([]byte, RouteHeaderLen)
	head[0], head[5] = family, protocol
	attributes := netlink.NewAttributeEncoder()
	if table != 0 {
		attributes.Uint32(unix.RTA_TABLE, table)
	}
	messages, err := r.Dump(unix.RTM_GETROUTE, append(head, Encode(attributes)...))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the routes of table %d: %w", table, err)
	}
	return messages, nil
}

// KernelRoute is a route as the kernel has it.
type KernelRoute struct {
	Prefix   netip.Prefix
	Table    uint32
	Metric   uint32
	MTU      uint32 // 0: none of its own
	Protocol byte
	Kind     byte // RTN_UNICAST, RTN_LOCAL and so on
	TOS      byte
	Cloned   bool // an entry of the IPv6 route cache
	Hops     []Hop
}

// Hop is a next hop of a route in the kernel.
type Hop struct {
	Index   int
	Gateway netip.Addr
	Flags   uint32 // RTNH_F_…
}

// ParseRoute reads a route of IPv4 or IPv6. It returns false for anything else.
func ParseRoute(m netlink.Message) (r KernelRoute, ok bool) {
	if len(m.Data) < RouteHeaderLen {
		return r, false
	}
	head := m.Data[:RouteHeaderLen]
	flags := binary.NativeEndian.Uint32(head[8:])
	r = KernelRoute{
		TOS:      head[3],
		Table:    uint32(head[4]),
		Protocol: head[5],
		Kind:     head[7],
		Cloned:   flags&unix.RTM_F_CLONED != 0,
	}
	var address netip.Addr
	switch head[0] {
	case unix.AF_INET:
		address = netip.IPv4Unspecified()
	case unix.AF_INET6:
		address = netip.IPv6Unspecified()
	default:
		return r, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[RouteHeaderLen:])
	if err != nil {
		return r, false
	}
	only := Hop{Flags: flags}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.RTA_DST:
			address, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_TABLE:
			r.Table = attributes.Uint32()
		case unix.RTA_PRIORITY:
			r.Metric = attributes.Uint32()
		case unix.RTA_METRICS:
			attributes.Nested(func(metrics *netlink.AttributeDecoder) error {
				for metrics.Next() {
					if metrics.Type() == unix.RTAX_MTU {
						r.MTU = metrics.Uint32()
					}
				}
				return metrics.Err()
			})
		case unix.RTA_OIF:
			only.Index = int(attributes.Uint32())
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			only.Gateway = gateway(attributes.Type(), attributes.Bytes())
		case unix.RTA_MULTIPATH:
			r.Hops = parseHops(attributes.Bytes())
		}
	}
	if r.Hops == nil {
		r.Hops = []Hop{only}
	}
	r.Prefix = netip.PrefixFrom(address, int(head[1]))
	return r, attributes.Err() == nil && r.Prefix.IsValid()
}

// parseHops reads the next hops of a multipath route. Each is a struct rtnexthop that its
// attributes follow.
func parseHops(b []byte) []Hop {
	const rtnexthopLen = 8
	var hops []Hop
	for len(b) >= rtnexthopLen {
		length := int(binary.NativeEndian.Uint16(b))
		if length < rtnexthopLen || length > len(b) {
			break
		}
		h := Hop{Flags: uint32(b[2]), Index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
		if attributes, err := netlink.NewAttributeDecoder(b[rtnexthopLen:length]); err == nil {
			for attributes.Next() {
				if t := attributes.Type(); t == unix.RTA_GATEWAY || t == unix.RTA_VIA {
					h.Gateway = gateway(t, attributes.Bytes())
				}
			}
		}
		hops = append(hops, h)
		b = b[min((length+3)&^3, len(b)):]
	}
	return hops
}

// gateway reads the address of a next hop. In RTA_VIA, which carries a next hop of another family
// than the prefix, the family stands before the address.
func gateway(attribute uint16, b []byte) netip.Addr {
	if attribute == unix.RTA_VIA && len(b) > 2 {
		b = b[2:]
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
