package kernel

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkFlags is the head of a request that changes a link: the link's index (0: a new one), and the flags (unix.IFF_…) to set and clear.
type linkFlags struct {
	index int
	set   uint32
	clear uint32
}

func (r *requests) setLink(how netlink.HeaderFlags, f linkFlags, attributes *netlink.AttributeEncoder) error {
	head := make([]byte, ifinfomsgLen)
	binary.NativeEndian.PutUint32(head[4:], uint32(f.index))
	binary.NativeEndian.PutUint32(head[8:], f.set)
	binary.NativeEndian.PutUint32(head[12:], f.set|f.clear)
	if attributes != nil {
		head = append(head, encoded(attributes)...)
	}
	_, err := r.ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Acknowledge | how},
		Data:   head,
	})
	return err
}

func (r *requests) setAlias(index int, alias string) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFLA_IFALIAS, []byte(alias))
	return r.setLink(0, linkFlags{index: index}, attributes)
}

func (r *requests) setMTU(index, mtu int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_MTU, uint32(mtu))
	return r.setLink(0, linkFlags{index: index}, attributes)
}

func (r *requests) setARP(index int) error {
	return r.setLink(0, linkFlags{index: index, clear: unix.IFF_NOARP}, nil)
}

func (r *requests) setUp(index int) error {
	return r.setLink(0, linkFlags{index: index, set: unix.IFF_UP}, nil)
}

func (r *requests) deleteLink(index int) error {
	head := make([]byte, ifinfomsgLen)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	_, err := r.ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELLINK, Flags: netlink.Acknowledge},
		Data:   head,
	})
	return err
}
