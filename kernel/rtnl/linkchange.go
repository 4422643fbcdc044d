package rtnl

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkFlags names the link that a request changes, and the flags that the request changes.
type linkFlags struct {
	index int    // of the link; 0: the request creates a link
	set   uint32 // flags to set, unix.IFF_…
	clear uint32 // flags to clear
}

// setLink changes flags and attributes of a link; the attributes may be nil. how holds further
// flags of the request, such as netlink.Create.
func (r *Conn) setLink(
	how netlink.HeaderFlags, f linkFlags, attributes *netlink.AttributeEncoder,
) error {
	head := make([]byte, linkHeaderLen)
	binary.NativeEndian.PutUint32(head[4:], uint32(f.index))
	binary.NativeEndian.PutUint32(head[8:], f.set)
	binary.NativeEndian.PutUint32(head[12:], f.set|f.clear)
	if attributes != nil {
		head = append(head, Encode(attributes)...)
	}
	_, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Acknowledge | how},
		Data:   head,
	})
	return err
}

// SetAlias sets the alias of a link, which `ip link` shows.
func (r *Conn) SetAlias(index int, alias string) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFLA_IFALIAS, []byte(alias))
	return r.setLink(0, linkFlags{index: index}, attributes)
}

// SetMTU sets the MTU of a link, in bytes.
func (r *Conn) SetMTU(index, mtu int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_MTU, uint32(mtu))
	return r.setLink(0, linkFlags{index: index}, attributes)
}

// SetBroadcast sets the link-layer address to which a GRE link over IPv4 sends packets for groups.
// The kernel then forgets all neighbours on the link, permanent ones too.
func (r *Conn) SetBroadcast(index int, broadcast netip.Addr) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFLA_BROADCAST, broadcast.AsSlice())
	return r.setLink(0, linkFlags{index: index}, attributes)
}

// SetARP has the kernel resolve neighbours on a link: it clears IFF_NOARP.
func (r *Conn) SetARP(index int) error {
	return r.setLink(0, linkFlags{index: index, clear: unix.IFF_NOARP}, nil)
}

// SetMulticast tells programs that a link carries multicast: it sets IFF_MULTICAST. Some routing
// daemons, BIRD among them, use no groups on a link without that flag.
func (r *Conn) SetMulticast(index int) error {
	return r.setLink(0, linkFlags{index: index, set: unix.IFF_MULTICAST}, nil)
}

// Operational states of a link (linux/if.h, RFC 2863 §3.1.12).
const (
	operDormant = 5
	operUp      = 6
)

// SetDormant sets the operational state of a link to dormant, or to up. The kernel makes only a
// link dormant that is up, and sets the state to up itself when the link goes down and up.
func (r *Conn) SetDormant(index int, dormant bool) error {
	state := uint8(operUp)
	if dormant {
		state = operDormant
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint8(unix.IFLA_OPERSTATE, state)
	return r.setLink(0, linkFlags{index: index}, attributes)
}

// SetAliasUp sets the alias of a link and sets the link up, with one message.
func (r *Conn) SetAliasUp(index int, alias string) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFLA_IFALIAS, []byte(alias))
	return r.setLink(0, linkFlags{index: index, set: unix.IFF_UP}, attributes)
}

// SetUp sets a link up.
func (r *Conn) SetUp(index int) error {
	return r.setLink(0, linkFlags{index: index, set: unix.IFF_UP}, nil)
}

// SetDown sets a link down. The kernel then forgets its routes and neighbours.
func (r *Conn) SetDown(index int) error {
	return r.setLink(0, linkFlags{index: index, clear: unix.IFF_UP}, nil)
}

// SetMaster puts a link into a VRF, bridge or bond. A link that is up goes down and up for a VRF,
// so that the kernel forgets its routes, its IPv6 addresses and all its neighbours, permanent ones
// too.
func (r *Conn) SetMaster(index, master int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_MASTER, uint32(master))
	return r.setLink(0, linkFlags{index: index}, attributes)
}

// DeleteLink removes a link, with its addresses, neighbours and routes.
func (r *Conn) DeleteLink(index int) error {
	head := make([]byte, linkHeaderLen)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	_, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELLINK, Flags: netlink.Acknowledge},
		Data:   head,
	})
	return err
}
