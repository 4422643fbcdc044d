package tunnel

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// UnderlayConfig says what the configuration has of a tunnel's underlay.
type UnderlayConfig struct {
	Device string     // that the tunnel sends from; empty: Local and Local6
	Local  netip.Addr // IPv4 address that the tunnel sends from; zero: that of Device
	Local6 netip.Addr // the same for IPv6
	Table  uint32     // the table of the underlay's routes; 0: that of VRF
	VRF    string     // that the underlay is in; empty: none
}

// Underlay is what an underlay with routes of its own has on this host.
type Underlay struct {
	NoAddress bool // the configured device has no address now, or does not exist

	VRFMissing bool   // there is no VRF of the configured name
	Outside    string // the device that the tunnel sends from, if it is not in the VRF
	VRFTable   uint32 // the VRF's table; 0: no VRF

	// V4 and V6 are the routes of each IP version.
	V4, V6 UnderlayRoutes

	// AcceptsVRF says that UDP sockets that are bound to no VRF take packets that come in by one
	// (net.ipv4.udp_l3mdev_accept).
	AcceptsVRF bool

	IKE IKESockets // the sockets on IKE's port
}

// UnderlayRoutes is what the table of an underlay has for one IP version.
type UnderlayRoutes struct {
	// Used reports whether the tunnel uses the IP version: it sends from an address of it, and
	// over IPv6 also has a peer to reach or nothing else. All else is zero if not.
	Used bool

	Default bool // the table has a default route that leads somewhere

	// Barred says that the table ends in a route that refuses what no other route of the table
	// leads to. Without it, such packets take the routes of the main table.
	Barred bool

	// Unrouted holds the outer addresses that no route of the table leads to.
	Unrouted []netip.Addr
}

// IKESockets says where the sockets on IKE's port are.
type IKESockets int

// Where the sockets on IKE's port are.
const (
	IKEUnknown IKESockets = iota // the kernel does not tell
	IKENone                      // there are none
	IKEInVRF                     // at least one is bound to the VRF
	IKEOutside                   // none is bound to the VRF
)

// FindUnderlay returns what the host has of an underlay. outer holds the outer addresses that the
// tunnel has to reach.
func FindUnderlay(c UnderlayConfig, outer []netip.Addr) (Underlay, error) {
	r, err := rtnl.Open()
	if err != nil {
		return Underlay{}, err
	}
	defer r.Close()
	var u Underlay
	local := rtnl.Underlay{V4: c.Local, V6: c.Local6}
	if c.Device != "" {
		local, _ = r.UnderlayAddresses(c.Device, rtnl.Underlay{})
		u.NoAddress = local == (rtnl.Underlay{})
	}
	if c.VRF != "" {
		if err := u.findVRF(r, c); err != nil || u.VRFMissing {
			return u, err
		}
	}
	table := cmp.Or(u.VRFTable, c.Table)
	if local.V4.IsValid() || u.NoAddress {
		if u.V4, err = findRoutes(r, unix.AF_INET, table, outer); err != nil {
			return u, err
		}
	}
	over6 := slices.ContainsFunc(outer, netip.Addr.Is6)
	if local.V6.IsValid() && (over6 || c.Local6.IsValid() || !local.V4.IsValid()) {
		u.V6, err = findRoutes(r, unix.AF_INET6, table, outer)
	}
	return u, err
}

// findVRF looks at the VRF, at the device in it, and at what charon needs.
func (u *Underlay) findVRF(r *rtnl.Conn, c UnderlayConfig) error {
	vrf, err := r.LinkByName(c.VRF)
	if err != nil {
		return err
	}
	if vrf == nil || vrf.Kind != rtnl.KindVRF {
		u.VRFMissing = true
		return nil
	}
	u.VRFTable = vrf.VRFTable
	device, err := underlayDevice(r, c)
	if err != nil {
		return err
	}
	if device != nil && device.Index != vrf.Index && device.Master != vrf.Index {
		u.Outside = device.Name
	}
	accept, err := sysctl.Read("net/ipv4/udp_l3mdev_accept")
	u.AcceptsVRF = err == nil && accept == "1"
	u.IKE = ikeSockets(vrf.Index)
	return nil
}

// underlayDevice returns the device that the tunnel sends from, or nil if there is none now.
func underlayDevice(r *rtnl.Conn, c UnderlayConfig) (*rtnl.Link, error) {
	if c.Device != "" {
		return r.LinkByName(c.Device)
	}
	index, err := deviceWith(r, cmp.Or(c.Local, c.Local6), 0)
	if err != nil || index == 0 {
		return nil, err
	}
	return r.LinkByIndex(index)
}

// findRoutes looks at the routes of one IP version in the underlay's table.
func findRoutes(
	r *rtnl.Conn, family byte, table uint32, outer []netip.Addr,
) (found UnderlayRoutes, err error) {
	found.Used = true
	messages, err := r.Routes(family, table, 0)
	if err != nil {
		return found, err
	}
	var leading []netip.Prefix
	for _, m := range messages {
		route, ok := rtnl.ParseRoute(m)
		if !ok || route.Table != table || route.TOS != 0 {
			continue
		}
		switch whole := route.Prefix.Bits() == 0; route.Kind {
		case unix.RTN_UNICAST, unix.RTN_LOCAL:
			found.Default = found.Default || whole
			leading = append(leading, route.Prefix)
		case unix.RTN_UNREACHABLE, unix.RTN_BLACKHOLE, unix.RTN_PROHIBIT:
			found.Barred = found.Barred || whole
		}
	}
	for _, a := range outer {
		if rtnl.Family(a) == family && !slices.ContainsFunc(leading, func(p netip.Prefix) bool {
			return p.Contains(a)
		}) {
			found.Unrouted = append(found.Unrouted, a)
		}
	}
	return found, nil
}

// portIKE is the UDP port of IKE (RFC 7296 §2).
const portIKE = 500

// ikeSockets says where the sockets on IKE's port are. It asks the kernel for all UDP sockets
// (sock_diag(7)), because the files in /proc do not have the device that a socket is bound to.
func ikeSockets(vrf int) IKESockets {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return IKEUnknown
	}
	defer conn.Close()
	found := IKENone
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		// struct inet_diag_req_v2: family, protocol, extensions, padding, states, and an empty
		// struct inet_diag_sockid.
		const requestLen, sockByFamily = 56, 20
		request := make([]byte, requestLen)
		request[0], request[1] = family, unix.IPPROTO_UDP
		binary.NativeEndian.PutUint32(request[4:], ^uint32(0))
		answers, err := conn.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  sockByFamily,
				Flags: netlink.Request | netlink.Dump,
			},
			Data: request,
		})
		if err != nil {
			return IKEUnknown
		}
		for _, m := range answers {
			switch port, device, ok := parseSocket(m.Data); {
			case !ok || port != portIKE:
			case device == vrf:
				return IKEInVRF
			default:
				found = IKEOutside
			}
		}
	}
	return found
}

// parseSocket reads a struct inet_diag_msg: the local port of a socket, and the index of the device
// that the socket is bound to.
func parseSocket(b []byte) (port uint16, device int, ok bool) {
	const portAt, deviceAt = 4, 40
	if len(b) < deviceAt+4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(b[portAt:]), int(binary.NativeEndian.Uint32(b[deviceAt:])), true
}
