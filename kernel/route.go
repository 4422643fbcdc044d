package kernel

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
	Metric  uint32       // 0: before every other route of the prefix, even one of the same metric that is there when this one comes
}

func (r Route) String() string {
	via := ""
	if r.NextHop.IsValid() {
		via = " via " + r.NextHop.String()
	}
	return fmt.Sprintf("route %s%s on %s (table %d, metric %d)", r.Prefix, via, r.Device, r.Table, r.Metric)
}

// routeKey is what one wanted route is known by: another next hop takes the place of the one before.
type routeKey struct {
	device string
	prefix netip.Prefix
	table  uint32
	metric uint32
}

func (r Route) key() routeKey { return routeKey{r.Device, r.Prefix, r.Table, r.Metric} }

func (k routeKey) via(nextHop netip.Addr) Route {
	return Route{Device: k.device, Prefix: k.prefix, NextHop: nextHop, Table: k.table, Metric: k.metric}
}

// normal fills in what the kernel makes of zero values, so that wanted routes compare with those read. IPv6 knows no order among
// routes of one metric (it spreads over them) and takes 0 for 1024: there the first place is metric 1.
func (r Route) normal() Route {
	r.Prefix = r.Prefix.Masked()
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Metric == 0 && r.Prefix.Addr().Is6() {
		r.Metric = 1
	}
	return r
}

const rtmsgLen = 12

// addRoute makes the message that puts a route before those of the same prefix and metric (`ip route prepend`). Onlink: the next hop
// need not be within the device's own prefix.
func addRoute(r Route, index int) netlink.Message {
	m := routeMessage(unix.RTM_NEWROUTE, r, index)
	m.Header.Flags = netlink.Create
	return m
}

// deleteRoute makes the message that removes a route of ours. Without a next hop it removes the first of ours of that key.
func deleteRoute(r Route, index int) netlink.Message {
	return routeMessage(unix.RTM_DELROUTE, r, index)
}

func routeMessage(kind netlink.HeaderType, r Route, index int) netlink.Message {
	head := make([]byte, rtmsgLen, 64)
	head[0] = family(r.Prefix.Addr())
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
	switch {
	case r.NextHop.IsValid():
		attributes.Bytes(unix.RTA_GATEWAY, r.NextHop.AsSlice())
		binary.NativeEndian.PutUint32(head[8:], unix.RTNH_F_ONLINK)
	case kind == unix.RTM_DELROUTE:
		head[6] = unix.RT_SCOPE_NOWHERE // any
	case r.Prefix.Addr().Is4():
		head[6] = unix.RT_SCOPE_LINK
	}
	return netlink.Message{Header: netlink.Header{Type: kind}, Data: append(head, encoded(attributes)...)}
}

// dumpOwnRoutes reads the routes of this package's protocol number, in all tables.
func (r *requests) dumpOwnRoutes(links linkTable) ([]Route, error) {
	var routes []Route
	for _, f := range []byte{unix.AF_INET, unix.AF_INET6} {
		messages, err := r.dumpRoutes(f, 0, Protocol)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			read, ok := parseRoute(m)
			if !ok || read.protocol != Protocol || read.cloned {
				continue
			}
			for _, hop := range read.hops {
				routes = append(routes, Route{Device: links.name(hop.index), Prefix: read.prefix, NextHop: hop.gateway, Table: read.table, Metric: read.metric})
			}
		}
	}
	return routes, nil
}

// dumpRoutes reads the routes of a family; table and protocol, where not 0, select in the kernel. A table that does not exist is empty.
func (r *requests) dumpRoutes(family byte, table uint32, protocol byte) ([]netlink.Message, error) {
	head := make([]byte, rtmsgLen)
	head[0], head[5] = family, protocol
	attributes := netlink.NewAttributeEncoder()
	if table != 0 {
		attributes.Uint32(unix.RTA_TABLE, table)
	}
	messages, err := r.dump(unix.RTM_GETROUTE, append(head, encoded(attributes)...))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the routes of table %d: %w", table, err)
	}
	return messages, nil
}

// kernelRoute is a route as the kernel has it.
type kernelRoute struct {
	prefix   netip.Prefix
	table    uint32
	metric   uint32
	protocol byte
	kind     byte // RTN_UNICAST, RTN_LOCAL and so on
	tos      byte
	cloned   bool // an entry of the IPv6 route cache
	hops     []hop
}

type hop struct {
	index   int
	gateway netip.Addr
	flags   uint32 // RTNH_F_…
}

// parseRoute reads a route of IPv4 or IPv6. Anything else is not ok.
func parseRoute(m netlink.Message) (r kernelRoute, ok bool) {
	if len(m.Data) < rtmsgLen {
		return r, false
	}
	head := m.Data[:rtmsgLen]
	flags := binary.NativeEndian.Uint32(head[8:])
	r = kernelRoute{tos: head[3], table: uint32(head[4]), protocol: head[5], kind: head[7], cloned: flags&unix.RTM_F_CLONED != 0}
	var address netip.Addr
	switch head[0] {
	case unix.AF_INET:
		address = netip.IPv4Unspecified()
	case unix.AF_INET6:
		address = netip.IPv6Unspecified()
	default:
		return r, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[rtmsgLen:])
	if err != nil {
		return r, false
	}
	only := hop{flags: flags}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.RTA_DST:
			address, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_TABLE:
			r.table = attributes.Uint32()
		case unix.RTA_PRIORITY:
			r.metric = attributes.Uint32()
		case unix.RTA_OIF:
			only.index = int(attributes.Uint32())
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			only.gateway = gateway(attributes.Type(), attributes.Bytes())
		case unix.RTA_MULTIPATH:
			r.hops = parseHops(attributes.Bytes())
		}
	}
	if r.hops == nil {
		r.hops = []hop{only}
	}
	r.prefix = netip.PrefixFrom(address, int(head[1]))
	return r, attributes.Err() == nil && r.prefix.IsValid()
}

// parseHops reads the next hops of a multipath route: each a struct rtnexthop followed by its attributes.
func parseHops(b []byte) []hop {
	const rtnexthopLen = 8
	var hops []hop
	for len(b) >= rtnexthopLen {
		length := int(binary.NativeEndian.Uint16(b))
		if length < rtnexthopLen || length > len(b) {
			break
		}
		h := hop{flags: uint32(b[2]), index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
		if attributes, err := netlink.NewAttributeDecoder(b[rtnexthopLen:length]); err == nil {
			for attributes.Next() {
				if t := attributes.Type(); t == unix.RTA_GATEWAY || t == unix.RTA_VIA {
					h.gateway = gateway(t, attributes.Bytes())
				}
			}
		}
		hops = append(hops, h)
		b = b[min((length+3)&^3, len(b)):]
	}
	return hops
}

// gateway reads a next hop. RTA_VIA, a next hop of another family than the prefix, has the family before the address.
func gateway(attribute uint16, b []byte) netip.Addr {
	if attribute == unix.RTA_VIA && len(b) > 2 {
		b = b[2:]
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
