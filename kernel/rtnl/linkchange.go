package rtnl

import (
	"encoding/binary"

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

// SetARP has the kernel resolve neighbours on a link: it clears IFF_NOARP.
func (r *Conn) SetARP(index int) error {
	return r.setLink(0, linkFlags{index: index, clear: unix.IFF_NOARP}, nil)
}

// SetUp sets a link up.
func (r *Conn) SetUp(index int) error {
	return r.setLink(0, linkFlags{index: index, set: unix.IFF_UP}, nil)
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
